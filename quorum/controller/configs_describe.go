package controller

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/config"
	"kvorum/metadatalog/describe"
)

// createdConfigs are the configs of a new topic as CreateTopics returns them
// from version 5 on (KIP-525): all keys, sorted, with where each comes from.
func createdConfigs(layers config.Layers, values map[string]string) []kmsg.CreateTopicsResponseTopicConfig {
	entries := layers.DescribeTopic(values)
	out := make([]kmsg.CreateTopicsResponseTopicConfig, 0, len(entries))
	for _, e := range entries {
		kv := kmsg.NewCreateTopicsResponseTopicConfig()
		value, source := layers.Topic(values, e.Name)
		kv.Name, kv.Source, kv.IsSensitive = e.Name, int8(source), e.Sensitive
		if !e.Sensitive {
			text := value.String()
			kv.Value = &text
		}
		out = append(out, kv)
	}
	slices.SortFunc(out, func(a, b kmsg.CreateTopicsResponseTopicConfig) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

// DescribeConfigs answers DescribeConfigs (key 32, versions 1 to 4) as a
// controller can: topics, client metrics and groups from the image, and of
// nodes this one and the default for all.
func DescribeConfigs(in Input, req *kmsg.DescribeConfigsRequest) *kmsg.DescribeConfigsResponse {
	return describe.Configs(in.Image, describe.Node{
		ID: int32(in.Settings.NodeID), Layers: in.layers(),
		May: func(resourceType int8, name string) bool { return in.Caller.may(opDescribeConfigs, resourceType, name) },
	}, req)
}

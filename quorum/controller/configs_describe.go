package controller

import (
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/config"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
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
// nodes this one and the default for all (ConfigHelper.describeConfigs).
func DescribeConfigs(in Input, req *kmsg.DescribeConfigsRequest) *kmsg.DescribeConfigsResponse {
	res := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	for i := range req.Resources {
		asked := &req.Resources[i]
		r := image.Resource{Type: image.ResourceType(asked.ResourceType), Name: asked.ResourceName}
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = asked.ResourceType, asked.ResourceName
		out.Configs = []kmsg.DescribeConfigsResponseResourceConfig{}
		err := mayDescribeConfig(in.Caller, r)
		var entries []config.Entry
		if err == nil {
			entries, err = describeResource(in, r)
		}
		for j := range entries {
			if len(asked.ConfigNames) == 0 || slices.Contains(asked.ConfigNames, entries[j].Name) {
				out.Configs = append(out.Configs, describedConfig(req, &entries[j]))
			}
		}
		out.ErrorCode, out.ErrorMessage = report(err)
		res.Resources = append(res.Resources, out)
	}
	return res
}

func mayDescribeConfig(c Caller, r image.Resource) *errors.Error {
	switch r.Type {
	case image.ResourceBroker, image.ResourceBrokerLogger, image.ResourceClientMetrics:
		if !c.may(opDescribeConfigs, resourceCluster, clusterName) {
			return plain(errors.ClusterAuthorizationFailed)
		}
	case image.ResourceTopic:
		if !c.may(opDescribeConfigs, resourceTopic, r.Name) {
			return plain(errors.TopicAuthorizationFailed)
		}
	case image.ResourceGroup:
		if !c.may(opDescribeConfigs, resourceGroup, r.Name) {
			return plain(errors.GroupAuthorizationFailed)
		}
	default:
		return errors.New(errors.InvalidRequest, "Unexpected resource type %d for resource %s", r.Type, r.Name)
	}
	return nil
}

func describeResource(in Input, r image.Resource) ([]config.Entry, *errors.Error) {
	values := configValues(in.Image, r)
	switch r.Type {
	case image.ResourceTopic:
		if err := checkTopicName(r.Name); err != nil {
			return nil, err
		}
		if in.Image.TopicByName(r.Name) == nil {
			return nil, bare(errors.UnknownTopicOrPartition)
		}
		return in.layers().DescribeTopic(values), nil
	case image.ResourceBroker:
		return describeNode(in, r, values)
	case image.ResourceClientMetrics:
		if r.Name == "" {
			return nil, errors.New(errors.InvalidRequest, "Client metrics subscription name must not be empty")
		}
		return config.DescribeClientMetrics(values), nil
	case image.ResourceGroup:
		if r.Name == "" {
			return nil, errors.New(errors.InvalidRequest, "Group name must not be empty")
		}
		return in.layers().DescribeGroup(values), nil
	}
	// A node of kvorum has no loggers whose level could be asked for.
	_, err := ownNode(in, r.Name, false)
	return nil, err
}

func describeNode(in Input, r image.Resource, values map[string]string) ([]config.Entry, *errors.Error) {
	if r.Name == "" {
		return config.DescribeCluster(values), nil
	}
	if _, err := ownNode(in, r.Name, true); err != nil {
		return nil, err
	}
	return in.layers().DescribeBroker(), nil
}

// ownNode checks that name is this node's id.
func ownNode(in Input, name string, orEmpty bool) (id int, err *errors.Error) {
	id, bad := strconv.Atoi(name)
	own := int(in.Settings.NodeID)
	switch {
	case name == "":
		return 0, errors.New(errors.InvalidRequest, "Broker id must not be empty")
	case bad != nil:
		return 0, errors.New(errors.InvalidRequest, "Broker id must be an integer, but it is: %s", name)
	case id != own && orEmpty:
		return 0, errors.New(errors.InvalidRequest,
			"Unexpected broker id, expected %d or empty string, but received %s", own, name)
	case id != own:
		return 0, errors.New(errors.InvalidRequest, "Unexpected broker id, expected %d but received %s", own, name)
	}
	return id, nil
}

func describedConfig(req *kmsg.DescribeConfigsRequest, e *config.Entry) kmsg.DescribeConfigsResponseResourceConfig {
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	c.Name, c.Value, c.Source = e.Name, e.Value, kmsg.ConfigSource(e.Source)
	c.IsDefault = e.Source == config.FromDefault
	c.ReadOnly, c.IsSensitive, c.ConfigType = e.ReadOnly, e.Sensitive, kmsg.ConfigType(e.Type)
	if req.IncludeSynonyms {
		for _, s := range e.Synonyms {
			out := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			out.Name, out.Value, out.Source = s.Name, s.Value, kmsg.ConfigSource(s.Source)
			c.ConfigSynonyms = append(c.ConfigSynonyms, out)
		}
	}
	if req.IncludeDocumentation {
		c.Documentation = &e.Doc
	}
	return c
}

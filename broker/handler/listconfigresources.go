package handler

import (
	"context"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// The config resources that can be listed, in the order of Apache's answer.
var listedResources = []image.ResourceType{
	image.ResourceGroup, image.ResourceClientMetrics, image.ResourceBrokerLogger, image.ResourceBroker, image.ResourceTopic,
}

// ListConfigResources (key 74, versions 0 and 1; KIP-1142,
// KafkaApis.handleListConfigResources): v0 lists client metrics alone, v1 the
// types that are asked for, or all. Groups and client metrics are listed that
// have configs.
func (h *Handlers) listConfigResources(_ context.Context, c *call, req *kmsg.ListConfigResourcesRequest) kmsg.Response {
	res := req.ResponseKind().(*kmsg.ListConfigResourcesResponse)
	res.ConfigResources = []kmsg.ListConfigResourcesResponseConfigResource{}
	served := listedResources
	if req.Version == 0 {
		served = []image.ResourceType{image.ResourceClientMetrics}
	}
	for _, t := range req.ResourceTypes {
		if req.Version > 0 && !slices.Contains(served, image.ResourceType(t)) {
			res.ErrorCode = int16(errors.UnsupportedVersion)
			return res
		}
	}
	add := func(t image.ResourceType, name string) {
		res.ConfigResources = append(res.ConfigResources, kmsg.ListConfigResourcesResponseConfigResource{Name: name, Type: int8(t)})
	}
	for _, t := range served {
		if len(req.ResourceTypes) == 0 || req.Version == 0 || slices.Contains(req.ResourceTypes, int8(t)) {
			c.listResources(t, add)
		}
	}
	return res
}

func (c *call) listResources(t image.ResourceType, add func(image.ResourceType, string)) {
	switch t {
	case image.ResourceTopic:
		for topic := range c.image.Topics() {
			add(t, topic.Name)
		}
	case image.ResourceBroker, image.ResourceBrokerLogger:
		for b := range c.reachable(true) {
			add(t, strconv.Itoa(int(b.ID)))
		}
	default:
		for r := range c.image.Configs() {
			if r.Resource.Type == t {
				add(t, r.Resource.Name)
			}
		}
	}
}

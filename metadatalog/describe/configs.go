package describe

import (
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/config"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// The resource types of access control entries that have configs
// (ResourceType).
const (
	resourceTopic   int8 = 2
	resourceGroup   int8 = 3
	resourceCluster int8 = 4
)

// clusterName is the only name of the CLUSTER resource.
const clusterName = "kafka-cluster"

// Node is who answers DescribeConfigs.
type Node struct {
	ID int32
	// Layers are the node keys in effect there.
	Layers config.Layers
	// May reports whether the client may describe the configs of a resource, by the
	// type and name of its access control entries.
	May func(resourceType int8, name string) bool
}

// Configs answers DescribeConfigs (key 32, versions 1 to 4): topics, client
// metrics and groups from the image, and of nodes the one that answers and the
// default for all (ConfigHelper.describeConfigs).
func Configs(im *image.Image, node Node, req *kmsg.DescribeConfigsRequest) *kmsg.DescribeConfigsResponse {
	res := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	for i := range req.Resources {
		asked := &req.Resources[i]
		r := image.Resource{Type: image.ResourceType(asked.ResourceType), Name: asked.ResourceName}
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = asked.ResourceType, asked.ResourceName
		out.Configs = []kmsg.DescribeConfigsResponseResourceConfig{}
		err := node.may(r)
		var entries []config.Entry
		if err == nil {
			entries, err = node.describe(im, r)
		}
		for j := range entries {
			if len(asked.ConfigNames) == 0 || slices.Contains(asked.ConfigNames, entries[j].Name) {
				out.Configs = append(out.Configs, describedConfig(req, &entries[j]))
			}
		}
		out.ErrorCode, out.ErrorMessage = Outcome(err)
		if out.ErrorMessage == nil {
			out.ErrorMessage = new(string) // Apache's default, not null
		}
		res.Resources = append(res.Resources, out)
	}
	return res
}

func (n *Node) may(r image.Resource) *errors.Error {
	switch r.Type {
	case image.ResourceBroker, image.ResourceBrokerLogger, image.ResourceClientMetrics:
		if !n.May(resourceCluster, clusterName) {
			return &errors.Error{Code: errors.ClusterAuthorizationFailed, Message: errors.ClusterAuthorizationFailed.Message()}
		}
	case image.ResourceTopic:
		if !n.May(resourceTopic, r.Name) {
			return &errors.Error{Code: errors.TopicAuthorizationFailed, Message: errors.TopicAuthorizationFailed.Message()}
		}
	case image.ResourceGroup:
		if !n.May(resourceGroup, r.Name) {
			return &errors.Error{Code: errors.GroupAuthorizationFailed, Message: errors.GroupAuthorizationFailed.Message()}
		}
	default:
		return errors.New(errors.InvalidRequest, "Unexpected resource type %d for resource %s", r.Type, r.Name)
	}
	return nil
}

func (n *Node) describe(im *image.Image, r image.Resource) ([]config.Entry, *errors.Error) {
	var values map[string]string
	if c := im.Config(r); c != nil {
		values = c.Values()
	}
	switch r.Type {
	case image.ResourceTopic:
		if err := TopicName(r.Name); err != nil {
			return nil, err
		}
		if im.TopicByName(r.Name) == nil {
			return nil, &errors.Error{Code: errors.UnknownTopicOrPartition}
		}
		return n.Layers.DescribeTopic(values), nil
	case image.ResourceBroker:
		return n.describeNode(r, values)
	case image.ResourceClientMetrics:
		if r.Name == "" {
			return nil, errors.New(errors.InvalidRequest, "Client metrics subscription name must not be empty")
		}
		return config.DescribeClientMetrics(values), nil
	case image.ResourceGroup:
		if r.Name == "" {
			return nil, errors.New(errors.InvalidRequest, "Group name must not be empty")
		}
		return n.Layers.DescribeGroup(values), nil
	}
	// A node of kvorum has no loggers whose level could be asked for.
	return nil, n.own(r.Name, false)
}

func (n *Node) describeNode(r image.Resource, values map[string]string) ([]config.Entry, *errors.Error) {
	if r.Name == "" {
		return config.DescribeCluster(values), nil
	}
	if err := n.own(r.Name, true); err != nil {
		return nil, err
	}
	return n.Layers.DescribeBroker(), nil
}

// ownNode checks that name is this node's id.
func (n *Node) own(name string, orEmpty bool) *errors.Error {
	id, bad := strconv.Atoi(name)
	own := int(n.ID)
	switch {
	case name == "":
		return errors.New(errors.InvalidRequest, "Broker id must not be empty")
	case bad != nil:
		return errors.New(errors.InvalidRequest, "Broker id must be an integer, but it is: %s", name)
	case id != own && orEmpty:
		return errors.New(errors.InvalidRequest,
			"Unexpected broker id, expected %d or empty string, but received %s", own, name)
	case id != own:
		return errors.New(errors.InvalidRequest, "Unexpected broker id, expected %d but received %s", own, name)
	}
	return nil
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

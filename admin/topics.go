package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

// Topics administers the topics of a cluster through its brokers.
type Topics struct {
	client    *kafka.Client
	bootstrap string // for errors
}

// NewTopics returns an administrator that asks the brokers at bootstrap
// (HOST:PORT, separated by commas). timeout bounds each request.
func NewTopics(bootstrap string, timeout time.Duration) (*Topics, error) {
	if bootstrap == "" {
		return nil, errors.New("no brokers are named: use --bootstrap-server HOST:PORT")
	}
	return &Topics{&kafka.Client{Addr: kafka.TCP(strings.Split(bootstrap, ",")...), Timeout: timeout}, bootstrap}, nil
}

// Topic is what describe and list tell of a topic.
type Topic struct {
	Name       string            `json:"name"`
	Internal   bool              `json:"internal"`
	Partitions []Partition       `json:"partitions"`
	Configs    map[string]string `json:"configs,omitempty"` // only those that were set for the topic
}

// Partition is one partition of a Topic. Leader is -1 if it has none.
type Partition struct {
	ID       int   `json:"partition"`
	Leader   int   `json:"leader"`
	Replicas []int `json:"replicas"`
	ISR      []int `json:"isr"`
	Offline  []int `json:"offline_replicas,omitempty"`
}

// NewTopic asks for a topic. Partitions and ReplicationFactor are -1 for the
// cluster's defaults.
type NewTopic struct {
	Name              string
	Partitions        int
	ReplicationFactor int
	Configs           map[string]string
}

// Create creates topics, or with dryRun only checks that it could. The error
// joins those of all topics that failed.
func (t *Topics) Create(ctx context.Context, topics []NewTopic, dryRun bool) error {
	req := &kafka.CreateTopicsRequest{ValidateOnly: dryRun}
	for _, n := range topics {
		c := kafka.TopicConfig{Topic: n.Name, NumPartitions: n.Partitions, ReplicationFactor: n.ReplicationFactor}
		for _, key := range slices.Sorted(maps.Keys(n.Configs)) {
			c.ConfigEntries = append(c.ConfigEntries, kafka.ConfigEntry{ConfigName: key, ConfigValue: n.Configs[key]})
		}
		req.Topics = append(req.Topics, c)
	}
	resp, err := t.client.CreateTopics(ctx, req)
	if err != nil {
		return fmt.Errorf("create topics through %s: %w", t.bootstrap, err)
	}
	return joinTopicErrors("create", resp.Errors)
}

// Delete deletes topics. It cannot be undone.
func (t *Topics) Delete(ctx context.Context, names []string) error {
	resp, err := t.client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: names})
	if err != nil {
		return fmt.Errorf("delete topics through %s: %w", t.bootstrap, err)
	}
	return joinTopicErrors("delete", resp.Errors)
}

// AddPartitions raises the number of partitions of a topic to total. dryRun only
// checks that it could.
func (t *Topics) AddPartitions(ctx context.Context, name string, total int32, dryRun bool) error {
	resp, err := t.client.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{
		Topics:       []kafka.TopicPartitionsConfig{{Name: name, Count: total}},
		ValidateOnly: dryRun,
	})
	if err != nil {
		return fmt.Errorf("add partitions to topic %s through %s: %w", name, t.bootstrap, err)
	}
	return joinTopicErrors("add partitions to", resp.Errors)
}

// AlterConfigs sets and removes configs of a topic. dryRun only checks that it
// could.
func (t *Topics) AlterConfigs(ctx context.Context, name string, set map[string]string, remove []string, dryRun bool) error {
	resource := kafka.IncrementalAlterConfigsRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: name}
	for _, key := range slices.Sorted(maps.Keys(set)) {
		resource.Configs = append(resource.Configs, kafka.IncrementalAlterConfigsRequestConfig{Name: key, Value: set[key], ConfigOperation: kafka.ConfigOperationSet})
	}
	for _, key := range remove {
		resource.Configs = append(resource.Configs, kafka.IncrementalAlterConfigsRequestConfig{Name: key, ConfigOperation: kafka.ConfigOperationDelete})
	}
	resp, err := t.client.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{resource}, ValidateOnly: dryRun,
	})
	if err != nil {
		return fmt.Errorf("alter configs of topic %s through %s: %w", name, t.bootstrap, err)
	}
	for _, r := range resp.Resources {
		if r.Error != nil {
			return fmt.Errorf("alter configs of topic %s: %w", name, r.Error)
		}
	}
	return nil
}

// List returns all topics by name, internal ones only if asked.
func (t *Topics) List(ctx context.Context, internal bool) ([]Topic, error) {
	topics, err := t.metadata(ctx, nil)
	if err != nil || internal {
		return topics, err
	}
	return slices.DeleteFunc(topics, func(t Topic) bool { return t.Internal }), nil
}

// Describe returns the named topics with the configs that were set for them. A
// topic that does not exist is an error.
func (t *Topics) Describe(ctx context.Context, names []string) ([]Topic, error) {
	topics, err := t.metadata(ctx, names)
	if err != nil {
		return nil, err
	}
	req := &kafka.DescribeConfigsRequest{}
	for _, topic := range topics {
		req.Resources = append(req.Resources, kafka.DescribeConfigRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic.Name})
	}
	resp, err := t.client.DescribeConfigs(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("describe configs through %s: %w", t.bootstrap, err)
	}
	for i := range topics {
		if err := addConfigs(&topics[i], resp); err != nil {
			return nil, err
		}
	}
	return topics, nil
}

// dynamicTopicConfig is the source of a config that was set for the topic
// itself (DescribeConfigsResponse.ConfigSource).
const dynamicTopicConfig = 1

func addConfigs(topic *Topic, resp *kafka.DescribeConfigsResponse) error {
	for _, r := range resp.Resources {
		if r.ResourceName != topic.Name {
			continue
		}
		if r.Error != nil {
			return fmt.Errorf("describe configs of topic %s: %w", topic.Name, r.Error)
		}
		for _, e := range r.ConfigEntries {
			if e.ConfigSource == dynamicTopicConfig {
				if topic.Configs == nil {
					topic.Configs = map[string]string{}
				}
				topic.Configs[e.ConfigName] = e.ConfigValue
			}
		}
	}
	return nil
}

func (t *Topics) metadata(ctx context.Context, names []string) ([]Topic, error) {
	resp, err := t.client.Metadata(ctx, &kafka.MetadataRequest{Topics: names})
	if err != nil {
		return nil, fmt.Errorf("read the cluster's metadata through %s: %w", t.bootstrap, err)
	}
	topics := []Topic{} // JSON shows an empty list, not null
	for _, m := range resp.Topics {
		if m.Error != nil {
			return nil, fmt.Errorf("topic %s: %w", m.Name, m.Error)
		}
		topic := Topic{Name: m.Name, Internal: m.Internal}
		for _, p := range m.Partitions {
			topic.Partitions = append(topic.Partitions, partitionOf(p))
		}
		slices.SortFunc(topic.Partitions, func(a, b Partition) int { return a.ID - b.ID })
		topics = append(topics, topic)
	}
	slices.SortFunc(topics, func(a, b Topic) int { return strings.Compare(a.Name, b.Name) })
	return topics, nil
}

func partitionOf(p kafka.Partition) Partition {
	ids := func(brokers []kafka.Broker) []int {
		out := make([]int, len(brokers))
		for i, b := range brokers {
			out[i] = b.ID
		}
		return out
	}
	out := Partition{ID: p.ID, Leader: p.Leader.ID, Replicas: ids(p.Replicas), ISR: ids(p.Isr), Offline: ids(p.OfflineReplicas)}
	if errors.Is(p.Error, kafka.LeaderNotAvailable) || p.Leader.Host == "" {
		out.Leader = -1
	}
	return out
}

// joinTopicErrors makes one error of those by topic, in order of name.
func joinTopicErrors(verb string, byTopic map[string]error) error {
	var all []error
	for _, name := range slices.Sorted(maps.Keys(byTopic)) {
		if err := byTopic[name]; err != nil {
			all = append(all, fmt.Errorf("%s topic %s: %w", verb, name, err))
		}
	}
	return errors.Join(all...)
}

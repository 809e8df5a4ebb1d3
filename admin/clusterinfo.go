package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ClusterInfo is a cluster at a glance.
type ClusterInfo struct {
	ClusterID string `json:"cluster_id"`
	// Controller is the broker that answers for the controllers, as Kafka's
	// Metadata has it: any live broker, which forwards.
	Controller int32        `json:"controller"`
	Brokers    []BrokerInfo `json:"brokers"`
	Features   []Feature    `json:"features"`
	// FeaturesEpoch is the metadata offset of the last change of a feature.
	FeaturesEpoch int64 `json:"features_epoch"`
	Topics        int   `json:"topics"`
	Partitions    int   `json:"partitions"`
	Replicas      int   `json:"replicas"`
}

// BrokerInfo is one broker.
type BrokerInfo struct {
	ID      int32  `json:"id"`
	Host    string `json:"host"`
	Port    int32  `json:"port"`
	Rack    string `json:"rack,omitempty"`
	Leaders int    `json:"leaders"`
	// Replicas counts the partitions that it has a copy of.
	Replicas int `json:"replicas"`
}

// Feature is a finalized feature, and what brokers support.
type Feature struct {
	Name  string `json:"name"`
	Level int16  `json:"level"`
	Min   int16  `json:"supported_min"`
	Max   int16  `json:"supported_max"`
}

// metadata asks for the whole cluster.
func (c *Cluster) metadata(ctx context.Context) (kadm.Metadata, error) {
	ctx, cancel := c.within(ctx)
	defer cancel()
	m, err := c.admin.Metadata(ctx)
	if err != nil {
		return m, fmt.Errorf("read the cluster's metadata: %w", err)
	}
	return m, nil
}

// Info tells of the cluster and its brokers.
func (c *Cluster) Info(ctx context.Context) (*ClusterInfo, error) {
	m, err := c.metadata(ctx)
	if err != nil {
		return nil, err
	}
	info := &ClusterInfo{ClusterID: m.Cluster, Controller: m.Controller, Topics: len(m.Topics), Features: []Feature{}}
	leaders, replicas := map[int32]int{}, map[int32]int{}
	m.Topics.EachPartition(func(p kadm.PartitionDetail) {
		info.Partitions++
		info.Replicas += len(p.Replicas)
		leaders[p.Leader]++
		for _, r := range p.Replicas {
			replicas[r]++
		}
	})
	for _, b := range m.Brokers {
		one := BrokerInfo{ID: b.NodeID, Host: b.Host, Port: b.Port, Leaders: leaders[b.NodeID], Replicas: replicas[b.NodeID]}
		if b.Rack != nil {
			one.Rack = *b.Rack
		}
		info.Brokers = append(info.Brokers, one)
	}
	return info, c.features(ctx, info)
}

// features asks one broker for them; all brokers have the finalized ones of the
// metadata log.
func (c *Cluster) features(ctx context.Context, info *ClusterInfo) error {
	ctx, cancel := c.within(ctx)
	defer cancel()
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = clientID, "1"
	resp, err := req.RequestWith(ctx, c.client)
	if err != nil {
		return fmt.Errorf("ask for the features: %w", err)
	}
	info.FeaturesEpoch = resp.FinalizedFeaturesEpoch
	for _, f := range resp.FinalizedFeatures {
		feature := Feature{Name: f.Name, Level: f.MaxVersionLevel}
		for _, s := range resp.SupportedFeatures {
			if s.Name == f.Name {
				feature.Min, feature.Max = s.MinVersion, s.MaxVersion
			}
		}
		info.Features = append(info.Features, feature)
	}
	slices.SortFunc(info.Features, func(a, b Feature) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// LogDir is one log directory of a broker.
type LogDir struct {
	Broker int32  `json:"broker"`
	Dir    string `json:"dir"`
	Error  string `json:"error,omitempty"`
	// TotalBytes and UsableBytes are of the disk, -1 where that is not known.
	TotalBytes  int64         `json:"total_bytes"`
	UsableBytes int64         `json:"usable_bytes"`
	Bytes       int64         `json:"bytes"` // of all partitions
	Partitions  int           `json:"partitions"`
	Topics      []LogDirTopic `json:"topics"`
}

// LogDirTopic is what a topic takes of a directory.
type LogDirTopic struct {
	Topic      string `json:"topic"`
	Partitions int    `json:"partitions"`
	Bytes      int64  `json:"bytes"`
	// Moving counts the partitions that move into this directory from another one.
	Moving int `json:"moving,omitempty"`
	// Lag is that of the partition that is furthest behind, in records.
	Lag int64 `json:"lag"`
}

// LogDirs describes the log directories of some brokers, nil for all. kafka-go has
// no DescribeLogDirs.
func (c *Cluster) LogDirs(ctx context.Context, brokers []int32) ([]LogDir, error) {
	ctx, cancel := c.within(ctx)
	defer cancel()
	all, err := c.admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("describe the log directories: %w", err)
	}
	for _, b := range brokers {
		if _, ok := all[b]; !ok {
			return nil, fmt.Errorf("there is no live broker %d: `kvorum cluster brokers` shows those there are", b)
		}
	}
	dirs := []LogDir{}
	for _, d := range all.Sorted() {
		if len(brokers) == 0 || slices.Contains(brokers, d.Broker) {
			dirs = append(dirs, logDirOf(d))
		}
	}
	return dirs, nil
}

func logDirOf(d kadm.DescribedLogDir) LogDir {
	dir := LogDir{Broker: d.Broker, Dir: d.Dir, TotalBytes: d.TotalBytes, UsableBytes: d.UsableBytes, Topics: []LogDirTopic{}}
	if d.Err != nil {
		dir.Error = d.Err.Error()
	}
	for _, topic := range slices.Sorted(maps.Keys(d.Topics)) {
		t := LogDirTopic{Topic: topic}
		for _, p := range d.Topics[topic] {
			t.Partitions++
			t.Bytes += p.Size
			t.Lag = max(t.Lag, p.OffsetLag)
			if p.IsFuture {
				t.Moving++
			}
		}
		dir.Bytes += t.Bytes
		dir.Partitions += t.Partitions
		dir.Topics = append(dir.Topics, t)
	}
	return dir
}

// BrokerConfig is one config of a broker or of all of them.
type BrokerConfig struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	// Source says where it was set: DYNAMIC_BROKER_CONFIG for this broker,
	// DYNAMIC_DEFAULT_BROKER_CONFIG for all, STATIC_BROKER_CONFIG in
	// server.properties, or DEFAULT_CONFIG.
	Source string `json:"source"`
	// Default is Kafka's, if it is known and another one counts.
	Default   string `json:"default,omitempty"`
	Sensitive bool   `json:"sensitive,omitempty"`
}

// BrokerConfigs describes the configs of a broker, or with a negative id those
// that are set for all brokers.
func (c *Cluster) BrokerConfigs(ctx context.Context, broker int32) ([]BrokerConfig, error) {
	ctx, cancel := c.within(ctx)
	defer cancel()
	all, err := c.admin.DescribeBrokerConfigs(ctx, oneBroker(broker)...)
	if err != nil {
		return nil, fmt.Errorf("describe the configs of %s: %w", nameOf(broker), err)
	}
	configs := []BrokerConfig{}
	for _, resource := range all {
		if resource.Err != nil {
			return nil, fmt.Errorf("describe the configs of %s: %w: %s", nameOf(broker), resource.Err, resource.ErrMessage)
		}
		for _, f := range resource.Configs {
			configs = append(configs, brokerConfig(f))
		}
	}
	slices.SortFunc(configs, func(a, b BrokerConfig) int { return strings.Compare(a.Key, b.Key) })
	return configs, nil
}

func brokerConfig(f kadm.Config) BrokerConfig {
	b := BrokerConfig{Key: f.Key, Value: f.MaybeValue(), Source: f.Source.String(), Sensitive: f.Sensitive}
	for _, s := range f.Synonyms {
		if s.Key == f.Key && s.Source == kmsg.ConfigSourceDefaultConfig && s.Value != nil && *s.Value != b.Value {
			b.Default = *s.Value
		}
	}
	return b
}

// AlterBrokerConfigs sets and removes configs of a broker, or with a negative id
// of all of them. dryRun only checks that it could.
func (c *Cluster) AlterBrokerConfigs(ctx context.Context, broker int32, set map[string]string, remove []string, dryRun bool) error {
	var changes []kadm.AlterConfig
	for _, key := range slices.Sorted(maps.Keys(set)) {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: kadm.StringPtr(set[key])})
	}
	for _, key := range remove {
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: key})
	}
	ctx, cancel := c.within(ctx)
	defer cancel()
	alter := c.admin.AlterBrokerConfigs
	if dryRun {
		alter = c.admin.ValidateAlterBrokerConfigs
	}
	answers, err := alter(ctx, changes, oneBroker(broker)...)
	if err != nil {
		return fmt.Errorf("alter the configs of %s: %w", nameOf(broker), err)
	}
	var all []error
	for _, a := range answers {
		if a.Err != nil {
			all = append(all, fmt.Errorf("alter the configs of %s: %w: %s", nameOf(broker), a.Err, a.ErrMessage))
		}
	}
	return errors.Join(all...)
}

func oneBroker(id int32) []int32 {
	if id < 0 {
		return nil
	}
	return []int32{id}
}

func nameOf(broker int32) string {
	if broker < 0 {
		return "all brokers"
	}
	return fmt.Sprintf("broker %d", broker)
}

package znode

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"kvorum/internal/kafka"
)

// maxTopicName is the longest name of a topic (Topic.MAX_NAME_LENGTH).
const maxTopicName = 249

// topics reads every topic that is not to be deleted, its configuration and its
// partitions.
func (d *decoder) topics() {
	d.s.Deletions = d.t.Children(DeleteTopicsPath)
	owners := map[kafka.TopicID]string{}
	for _, name := range d.t.Children(TopicsPath) {
		if slices.Contains(d.s.Deletions, name) {
			continue
		}
		decode := func(data []byte) (Topic, error) { return DecodeTopic(name, data) }
		v := read(d, TopicPath(name), decode)
		if v == nil {
			continue
		}
		if err := checkTopic(&v.Value, owners); err != nil {
			d.problem(TopicPath(name), Blocking, err)
			continue
		}
		owners[v.Value.ID] = name
		d.topic(v.Value)
	}
	for _, name := range d.t.Children(TopicConfigsPath) {
		if _, ok := d.t.Get(TopicPath(name)); !ok {
			d.problem(TopicConfigPath(name), Orphan, errors.New("there is no topic of this name; the configuration is not converted"))
		}
	}
}

// checkTopic refuses what cannot become a topic of the metadata log.
func checkTopic(t *Topic, owners map[kafka.TopicID]string) error {
	if !legalTopicName(t.Name) {
		return fmt.Errorf("%q is no legal name of a topic", shorten([]byte(t.Name)))
	}
	if t.ID.IsZero() {
		return errors.New("the topic has no id: its controller must run with inter.broker.protocol.version 2.8 or later, which gives every topic one")
	}
	if other, ok := owners[t.ID]; ok {
		return fmt.Errorf("the topic id %v belongs to the topic %s as well", t.ID, other)
	}
	if len(t.Partitions) == 0 {
		return errors.New("the topic has no partitions")
	}
	return nil
}

func legalTopicName(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > maxTopicName {
		return false
	}
	return strings.IndexFunc(name, func(c rune) bool { return c > 127 || !plain(byte(c)) }) < 0
}

// topic reads the configuration and the partitions of a topic.
func (d *decoder) topic(t Topic) {
	node := TopicNode{Topic: t, States: make(map[kafka.PartitionID]State, len(t.Partitions))}
	if v := read(d, TopicConfigPath(t.Name), DecodeConfig); v != nil {
		node.Config = v.Value
	}
	for _, id := range t.IDs() {
		if s, ok := d.state(t.Name, id, t.Partitions[id]); ok {
			node.States[id] = s
		}
	}
	for _, name := range d.t.Children(PartitionsPath(t.Name)) {
		id, err := ParsePartition(name)
		if _, ok := t.Partitions[id]; err != nil || !ok {
			d.problem(PartitionsPath(t.Name)+"/"+name, Orphan, errors.New("the topic has no such partition; the node is not converted"))
		}
	}
	d.s.Topics = append(d.s.Topics, node)
}

// state reads the state of a partition.
func (d *decoder) state(topic string, id kafka.PartitionID, a Assignment) (State, bool) {
	path := StatePath(topic, id)
	if n, ok := d.t.Get(path); !ok || len(n.Data) == 0 {
		return State{PartitionState: PartitionState{Leader: a.Replicas[0], ISR: slices.Clone(a.Replicas)}}, true
	}
	v := read(d, path, DecodePartitionState)
	if v == nil {
		return State{}, false
	}
	s := v.Value
	if s.Leader != kafka.NoLeader && !slices.Contains(a.Replicas, s.Leader) {
		d.problem(path, Blocking, fmt.Errorf("broker %d leads but is no replica of %v", s.Leader, a.Replicas))
		return State{}, false
	}
	for _, b := range s.ISR {
		if !slices.Contains(a.Replicas, b) {
			d.problem(path, Blocking, fmt.Errorf("broker %d is in the ISR but is no replica of %v", b, a.Replicas))
			return State{}, false
		}
	}
	return State{PartitionState: s, Epoch: kafka.PartitionEpoch(v.Version), Found: true}, true
}

package znode

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"kvorum/internal/kafka"
)

// Topic is /brokers/topics/NAME: the assignment of a topic.
type Topic struct {
	Name string
	// ID is zero if the node has none: versions 1 and 2, from before Kafka 2.8.
	ID         kafka.TopicID
	Partitions map[kafka.PartitionID]Assignment
}

// Assignment is the replicas of a partition, the preferred leader first. In a
// reassignment Replicas has old and new ones, Adding and Removing say which.
type Assignment struct {
	Replicas, Adding, Removing []kafka.BrokerID
}

// IDs are the topic's partitions in ascending order.
func (t *Topic) IDs() []kafka.PartitionID { return slices.Sorted(maps.Keys(t.Partitions)) }

// DecodeTopic reads the node of a topic.
func DecodeTopic(name string, data []byte) (Topic, error) {
	o, err := parse(data)
	if err != nil {
		return Topic{}, err
	}
	v, err := o.version(1, 3)
	if err != nil {
		return Topic{}, err
	}
	t := Topic{Name: name, Partitions: map[kafka.PartitionID]Assignment{}}
	if v >= 3 && o.has("topic_id") {
		text, err := get[string](o, "topic_id")
		if err != nil {
			return Topic{}, err
		}
		if t.ID, err = kafka.ParseUUID(text); err != nil {
			return Topic{}, fmt.Errorf("\"topic_id\": %w", err)
		}
	}
	return t, t.readAssignments(o)
}

func (t *Topic) readAssignments(o object) error {
	replicas, err := replicaMap(o, "partitions")
	if err != nil {
		return err
	}
	adding, err := replicaMap(o, "adding_replicas")
	if err != nil {
		return err
	}
	removing, err := replicaMap(o, "removing_replicas")
	if err != nil {
		return err
	}
	for id, r := range replicas {
		a := Assignment{Replicas: r, Adding: adding[id], Removing: removing[id]}
		if err := a.check(); err != nil {
			return fmt.Errorf("partition %d: %w", id, err)
		}
		t.Partitions[id] = a
	}
	if err := known(adding, replicas); err != nil {
		return fmt.Errorf("\"adding_replicas\": %w", err)
	}
	if err := known(removing, replicas); err != nil {
		return fmt.Errorf("\"removing_replicas\": %w", err)
	}
	return nil
}

// check refuses what no controller writes and no image could hold.
func (a Assignment) check() error {
	if len(a.Replicas) == 0 {
		return errors.New("it has no replicas")
	}
	if err := distinct(a.Replicas); err != nil {
		return err
	}
	for _, list := range [][]kafka.BrokerID{a.Adding, a.Removing} {
		if err := distinct(list); err != nil {
			return err
		}
		for _, id := range list {
			if !slices.Contains(a.Replicas, id) {
				return fmt.Errorf("broker %d is added or removed but is no replica of %v", id, a.Replicas)
			}
		}
	}
	return nil
}

// distinct refuses negative broker ids and those that occur twice.
func distinct(ids []kafka.BrokerID) error {
	for i, id := range ids {
		if id < 0 {
			return fmt.Errorf("%d is no broker id", id)
		}
		if slices.Contains(ids[:i], id) {
			return fmt.Errorf("broker %d occurs twice in %v", id, ids)
		}
	}
	return nil
}

// known refuses lists of partitions that the topic does not have.
func known(lists, replicas map[kafka.PartitionID][]kafka.BrokerID) error {
	for id := range lists {
		if _, ok := replicas[id]; !ok {
			return fmt.Errorf("the topic has no partition %d", id)
		}
	}
	return nil
}

// replicaMap reads a member that maps partition numbers, as text, to brokers.
func replicaMap(o object, name string) (map[kafka.PartitionID][]kafka.BrokerID, error) {
	texts, err := getOr(o, name, map[string][]kafka.BrokerID{})
	if err != nil {
		return nil, err
	}
	if name == "partitions" && !o.has(name) {
		return nil, fmt.Errorf("%q is missing", name)
	}
	out := make(map[kafka.PartitionID][]kafka.BrokerID, len(texts))
	for text, brokers := range texts {
		id, err := ParsePartition(text)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		out[id] = brokers
	}
	return out, nil
}

// ParsePartition reads a partition number, as node names and assignments have it.
func ParsePartition(text string) (kafka.PartitionID, error) {
	v, err := strconv.ParseInt(text, 10, 32)
	if err != nil || v < 0 || strconv.FormatInt(v, 10) != text {
		return 0, fmt.Errorf("%q is no partition number", shorten([]byte(text)))
	}
	return kafka.PartitionID(v), nil
}

// Encode writes the node of a topic, at version 3.
func (t Topic) Encode() []byte {
	lists := func(pick func(Assignment) []kafka.BrokerID, empty bool) map[string][]kafka.BrokerID {
		out := map[string][]kafka.BrokerID{}
		for id, a := range t.Partitions {
			if list := pick(a); empty || len(list) > 0 {
				out[strconv.Itoa(int(id))] = notNil(list)
			}
		}
		return out
	}
	return encode(struct {
		Partitions map[string][]kafka.BrokerID `json:"partitions"`
		ID         string                      `json:"topic_id"`
		Adding     map[string][]kafka.BrokerID `json:"adding_replicas"`
		Removing   map[string][]kafka.BrokerID `json:"removing_replicas"`
		Version    int                         `json:"version"`
	}{
		lists(func(a Assignment) []kafka.BrokerID { return a.Replicas }, true), t.ID.String(),
		lists(func(a Assignment) []kafka.BrokerID { return a.Adding }, false),
		lists(func(a Assignment) []kafka.BrokerID { return a.Removing }, false), 3,
	})
}

// PartitionState is /brokers/topics/NAME/partitions/N/state. The partition epoch
// is not in the data: it is the version of the node.
type PartitionState struct {
	ControllerEpoch kafka.LeaderEpoch
	Leader          kafka.BrokerID // kafka.NoLeader if there is none
	LeaderEpoch     kafka.LeaderEpoch
	ISR             []kafka.BrokerID
	// RecoveryState is KIP-704's: 0 recovered, 1 recovering; 3.9 writes only 1.
	RecoveryState int8
}

// DecodePartitionState reads the state of a partition.
func DecodePartitionState(data []byte) (PartitionState, error) {
	o, err := parseVersion(data, 1, 1)
	if err != nil {
		return PartitionState{}, err
	}
	var numbers [3]int32
	for i, name := range []string{"controller_epoch", "leader", "leader_epoch"} {
		if numbers[i], err = o.id(name); err != nil {
			return PartitionState{}, err
		}
	}
	s := PartitionState{
		ControllerEpoch: kafka.LeaderEpoch(numbers[0]), Leader: kafka.BrokerID(numbers[1]), LeaderEpoch: kafka.LeaderEpoch(numbers[2]),
	}
	if s.ISR, err = get[[]kafka.BrokerID](o, "isr"); err != nil {
		return PartitionState{}, err
	}
	if s.RecoveryState, err = getOr[int8](o, "leader_recovery_state", 0); err != nil {
		return PartitionState{}, err
	}
	return s, s.check()
}

func (s *PartitionState) check() error {
	switch {
	case s.Leader < kafka.NoLeader:
		return fmt.Errorf("the leader %d is no broker id", s.Leader)
	case s.LeaderEpoch < 0:
		return fmt.Errorf("the leader epoch is %d", s.LeaderEpoch)
	case s.RecoveryState != 0 && s.RecoveryState != 1:
		return fmt.Errorf("the leader recovery state is %d: 0 and 1 are known", s.RecoveryState)
	}
	if err := distinct(s.ISR); err != nil {
		return fmt.Errorf("\"isr\": %w", err)
	}
	return nil
}

// Encode writes the state of a partition.
func (s PartitionState) Encode() []byte {
	v := struct {
		ControllerEpoch kafka.LeaderEpoch `json:"controller_epoch"`
		Leader          kafka.BrokerID    `json:"leader"`
		Version         int               `json:"version"`
		LeaderEpoch     kafka.LeaderEpoch `json:"leader_epoch"`
		ISR             []kafka.BrokerID  `json:"isr"`
		Recovery        int8              `json:"leader_recovery_state,omitempty"`
	}{s.ControllerEpoch, s.Leader, 1, s.LeaderEpoch, notNil(s.ISR), s.RecoveryState}
	return encode(v)
}

// notNil makes an empty list [] and not null.
func notNil(list []kafka.BrokerID) []kafka.BrokerID {
	if list == nil {
		return []kafka.BrokerID{}
	}
	return list
}

// sortedKeys are the keys of a map in ascending order, nil for none.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	if len(m) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(m))
}

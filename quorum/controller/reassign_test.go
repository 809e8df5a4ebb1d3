package controller

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// reassign asks for replicas of partition 0; none cancels.
func (w *world) reassign(topic string, target ...int32) errors.Code {
	w.t.Helper()
	d, code := w.decideReassignment(1, true, topic, 0, target)
	w.apply(d)
	return code
}

func (w *world) decideReassignment(version int16, mayResize bool, topic string, id int32, target []int32) (Decision, errors.Code) {
	w.t.Helper()
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.Version, req.AllowReplicationFactorChange = version, mayResize
	req.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{
		Topic: topic, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: id, Replicas: target}},
	}}
	d, resp := AlterPartitionReassignments(w.in, req)
	if resp.ErrorCode != 0 || resp.ErrorMessage != nil || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		w.t.Fatalf("%+v", resp)
	}
	return d, errors.Code(resp.Topics[0].Partitions[0].ErrorCode)
}

func TestReassignmentIsRefused(t *testing.T) {
	for _, test := range []struct {
		name      string
		topic     string
		id        int32
		target    []int32
		version   int16
		mayResize bool
		want      errors.Code
	}{
		{"unknown topic", "b", 0, []int32{1}, 1, true, errors.UnknownTopicOrPartition},
		{"unknown partition", "a", 3, []int32{1}, 1, true, errors.UnknownTopicOrPartition},
		{"unknown broker", "a", 0, []int32{1, 9}, 1, true, errors.InvalidReplicaAssignment},
		{"broker twice", "a", 0, []int32{1, 1}, 1, true, errors.InvalidReplicaAssignment},
		{"no broker", "a", 0, []int32{}, 1, true, errors.InvalidReplicaAssignment},
		{"nothing to cancel", "a", 0, nil, 1, true, errors.NoReassignmentInProgress},
		{"another size is not allowed", "a", 0, []int32{1}, 1, false, errors.InvalidReplicationFactor},
		{"another size is allowed", "a", 0, []int32{1}, 1, true, errors.None},
		{"another size, before v1", "a", 0, []int32{1}, 0, false, errors.None},
		{"the same size", "a", 0, []int32{3, 1}, 1, false, errors.None},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, image.MV39IV0, nil)
			w.start(1, 2, 3)
			w.topic(1, "a", nil, []kafka.BrokerID{1, 2})
			d, code := w.decideReassignment(test.version, test.mayResize, test.topic, test.id, test.target)
			if code != test.want || (len(d.Records) > 0) != (test.want == errors.None) {
				t.Errorf("%s instead of %s, wrote %s", code, test.want, picture(w.in.Image, d.Records))
			}
		})
	}
}

func TestReassignmentStages(t *testing.T) {
	ids := func(ids ...kafka.BrokerID) []kafka.BrokerID { return ids }
	for _, test := range []struct {
		name                                string
		target                              []int32
		replicas, adding, removing, wantISR []kafka.BrokerID
		leader                              kafka.BrokerID
	}{
		{"nothing changes", []int32{1, 2}, ids(1, 2), nil, nil, ids(1, 2), 1},
		{"another order", []int32{2, 1}, ids(2, 1), nil, nil, ids(1, 2), 1},
		{"a new replica", []int32{1, 2, 3}, ids(1, 2, 3), ids(3), nil, ids(1, 2), 1},
		{"one moves", []int32{3, 1}, ids(3, 1, 2), ids(3), ids(2), ids(1, 2), 1},
		{"all move", []int32{4, 3}, ids(4, 3, 1, 2), ids(3, 4), ids(1, 2), ids(1, 2), 1},
		{"a follower goes", []int32{1}, ids(1), nil, nil, ids(1), 1},
		{"the leader goes", []int32{2}, ids(2), nil, nil, ids(2), 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, image.MV39IV0, nil)
			w.start(1, 2, 3, 4)
			w.topic(1, "a", nil, []kafka.BrokerID{1, 2})
			if code := w.reassign("a", test.target...); code != errors.None {
				t.Fatal(code)
			}
			p := w.partition("a", 0)
			if !slices.Equal(p.Replicas, test.replicas) || !slices.Equal(p.Adding, test.adding) || !slices.Equal(p.Removing, test.removing) ||
				!slices.Equal(p.ISR, test.wantISR) || p.Leader != test.leader || len(p.Directories) != len(p.Replicas) {
				t.Error(partitionText(p))
			}
			if lost := !containsAll(p.Replicas, ids(1, 2)); lost != (p.LeaderEpoch == 1) {
				t.Errorf("%s: a removed replica and only that needs a new leader epoch here", partitionText(p))
			}
		})
	}
}

func TestCancelledReassignment(t *testing.T) {
	setup := func(configs map[string]string) *world {
		w := newWorld(t, image.MV39IV0, nil)
		w.start(1, 2, 3, 4)
		w.topic(1, "a", configs, []kafka.BrokerID{1, 2})
		w.reassign("a", 3, 4)
		return w
	}
	t.Run("before the new ones are in sync", func(t *testing.T) {
		w := setup(nil)
		if code := w.reassign("a"); code != errors.None {
			t.Fatal(code)
		}
		if p := w.partition("a", 0); p.Reassigning() || !slices.Equal(p.Replicas, []kafka.BrokerID{1, 2}) || p.Leader != 1 {
			t.Error(partitionText(p))
		}
	})
	// Old replicas fell out of the ISR; 3 leads alone.
	alone := func(configs map[string]string) *world {
		w := setup(configs)
		for _, isr := range [][]kafka.BrokerID{{1, 2, 3}, {1, 3}} {
			req, _ := alterRequest(w, 1, "a", isr...)
			d, _ := AlterPartition(w.in, req)
			w.apply(d)
		}
		beat := w.beat(1)
		beat.WantFence = true
		w.heartbeat(beat)
		if p := w.partition("a", 0); p.Leader != 3 || !slices.Equal(p.ISR, []kafka.BrokerID{3}) {
			t.Fatal(partitionText(p))
		}
		return w
	}
	t.Run("only a new one is in sync", func(t *testing.T) {
		w := alone(nil)
		if code := w.reassign("a"); code != errors.InvalidReplicaAssignment {
			t.Error(code)
		}
	})
	t.Run("only a new one is in sync, unclean elections allowed", func(t *testing.T) {
		w := alone(map[string]string{"unclean.leader.election.enable": "true"})
		if code := w.reassign("a"); code != errors.None {
			t.Error(code)
		}
		if p := w.partition("a", 0); p.Leader != 2 || !slices.Equal(p.ISR, []kafka.BrokerID{2}) || p.Recovery != image.Recovering {
			t.Error(partitionText(p))
		}
	})
}

func TestListPartitionReassignments(t *testing.T) {
	w := newWorld(t, image.MV39IV0, nil)
	w.start(1, 2, 3)
	w.topic(1, "b", nil, []kafka.BrokerID{1, 2}, []kafka.BrokerID{1, 2})
	w.topic(2, "a", nil, []kafka.BrokerID{1, 2})
	w.topic(3, "c", nil, []kafka.BrokerID{1, 2})
	w.reassign("a", 1, 3)
	w.reassign("b", 3, 2)
	list := func(topics []kmsg.ListPartitionReassignmentsRequestTopic) *kmsg.ListPartitionReassignmentsResponse {
		req := kmsg.NewPtrListPartitionReassignmentsRequest()
		req.Topics = topics
		return ListPartitionReassignments(w.in, req)
	}
	all := list(nil)
	if len(all.Topics) != 2 || all.Topics[0].Topic != "a" || all.Topics[1].Topic != "b" || len(all.Topics[1].Partitions) != 1 {
		t.Fatalf("%+v", all)
	}
	if p := all.Topics[1].Partitions[0]; !slices.Equal(p.Replicas, []int32{3, 2, 1}) || !slices.Equal(p.AddingReplicas, []int32{3}) || !slices.Equal(p.RemovingReplicas, []int32{1}) {
		t.Errorf("%+v", p)
	}
	some := list([]kmsg.ListPartitionReassignmentsRequestTopic{{Topic: "b", Partitions: []int32{1, 0, 9}}, {Topic: "c", Partitions: []int32{0}}, {Topic: "none"}})
	if len(some.Topics) != 1 || some.Topics[0].Partitions[0].Partition != 0 || len(some.Topics[0].Partitions) != 1 {
		t.Errorf("%+v", some)
	}
	w.in.Caller.Allowed = func(int8, int8, string) bool { return false }
	if denied := list(nil); errors.Code(denied.ErrorCode) != errors.ClusterAuthorizationFailed || denied.Topics != nil {
		t.Errorf("%+v", denied)
	}
}

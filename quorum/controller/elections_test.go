package controller

import (
	"fmt"
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

func (w *world) fence(id kafka.BrokerID) {
	w.t.Helper()
	req := w.beat(id)
	req.WantFence = true
	if resp := w.heartbeat(req); !resp.IsFenced {
		w.t.Fatalf("%+v", resp)
	}
}

func (w *world) unfence(id kafka.BrokerID) {
	w.t.Helper()
	if resp := w.heartbeat(w.beat(id)); resp.IsFenced {
		w.t.Fatalf("%+v", resp)
	}
}

func electOne(in Input, kind int8, topic string, id int32) (Decision, errors.Code) {
	req := kmsg.NewPtrElectLeadersRequest()
	req.Version, req.ElectionType = 2, kind
	req.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: topic, Partitions: []int32{id}}}
	d, resp := ElectLeaders(in, req)
	if resp.ErrorCode != 0 {
		return d, errors.Code(resp.ErrorCode)
	}
	return d, errors.Code(resp.Topics[0].Partitions[0].ErrorCode)
}

func TestElectLeaders(t *testing.T) {
	// good-0: led by its preferred replica; moved-0: led by 2 although 1 is in
	// sync again; behind-0: led by 2, 1 not in sync; down-0: no leader, 2 could.
	w := newWorld(t, image.MV39IV0, nil)
	w.start(1, 2, 3)
	w.topic(1, "good", nil, []kafka.BrokerID{2, 1})
	w.topic(2, "moved", nil, []kafka.BrokerID{1, 2})
	w.topic(3, "behind", nil, []kafka.BrokerID{1, 2})
	w.topic(4, "down", nil, []kafka.BrokerID{3, 2})
	w.topic(5, "dead", nil, []kafka.BrokerID{3})
	w.fence(1)
	w.unfence(1)
	req, _ := alterRequest(w, 2, "moved", 2, 1)
	d, _ := AlterPartition(w.in, req)
	w.apply(d)
	req, _ = alterRequest(w, 3, "down", 3)
	d, _ = AlterPartition(w.in, req)
	w.apply(d)
	w.fence(3)
	if !anyPartition(w.in.Image, leaderless) || !anyPartition(w.in.Image, imbalanced) {
		t.Error("there are leaderless and imbalanced partitions")
	}
	for _, test := range []struct {
		kind  int8
		topic string
		id    int32
		want  errors.Code
	}{
		{askPreferred, "good", 0, errors.ElectionNotNeeded},
		{askPreferred, "moved", 0, errors.None},
		{askPreferred, "behind", 0, errors.PreferredLeaderNotAvailable},
		{askPreferred, "down", 0, errors.PreferredLeaderNotAvailable},
		{askUnclean, "moved", 0, errors.ElectionNotNeeded},
		{askUnclean, "down", 0, errors.None},
		{askUnclean, "dead", 0, errors.EligibleLeadersNotAvailable},
		{askUnclean, "none", 0, errors.UnknownTopicOrPartition},
		{askUnclean, "down", 4, errors.UnknownTopicOrPartition},
		{2, "down", 0, errors.InvalidRequest},
	} {
		d, code := electOne(w.in, test.kind, test.topic, test.id)
		if code != test.want || (len(d.Records) == 1) != (code == errors.None) {
			t.Errorf("%d %s-%d: %s", test.kind, test.topic, test.id, code)
		}
	}
	denied := w.in
	denied.Caller.Allowed = func(int8, int8, string) bool { return false }
	if _, code := electOne(denied, askPreferred, "moved", 0); code != errors.ClusterAuthorizationFailed {
		t.Error(code)
	}
	t.Run("all", func(t *testing.T) {
		req := kmsg.NewPtrElectLeadersRequest()
		req.Version, req.ElectionType = 2, askUnclean
		d, resp := ElectLeaders(w.in, req)
		got := map[string]errors.Code{}
		for _, topic := range resp.Topics {
			for _, p := range topic.Partitions {
				got[fmt.Sprint(topic.Topic, "-", p.Partition)] = errors.Code(p.ErrorCode)
			}
		}
		if len(got) != 2 || got["down-0"] != errors.None || got["dead-0"] != errors.EligibleLeadersNotAvailable || len(d.Records) != 1 {
			t.Errorf("%v", got)
		}
		w.apply(d)
		if p := w.partition("down", 0); p.Leader != 2 || p.Recovery != image.Recovering {
			t.Error(partitionText(p))
		}
	})
}

func TestPeriodicElectionsAreBounded(t *testing.T) {
	const partitions = maxElections + 5
	w := newWorld(t, image.MV39IV0, nil)
	w.start(1, 2)
	id := worldTopicID(1)
	records := []record.Message{message(&record.TopicRecord{Name: "a", TopicID: id})}
	for i := range partitions {
		r := record.NewPartitionRecord()
		r.TopicID, r.PartitionID, r.Replicas, r.ISR, r.Leader, r.LeaderEpoch, r.PartitionEpoch = id, kafka.PartitionID(i), []kafka.BrokerID{1, 2}, []kafka.BrokerID{1, 2}, 2, 0, 0
		r.Directories = make([]kafka.DirectoryID, 2)
		records = append(records, record.Message{Record: r, Version: 1})
	}
	w.apply(Decision{Records: records})
	for _, want := range []int{maxElections, 5, 0} {
		d, more := BalanceLeaders(w.in)
		if len(d.Records) != want || more != (want == maxElections) {
			t.Fatalf("%d elections, more=%v, want %d", len(d.Records), more, want)
		}
		w.apply(d)
	}
	if anyPartition(w.in.Image, imbalanced) {
		t.Error("still imbalanced")
	}
}

func TestUncleanElectionIsForTopicsThatAllowIt(t *testing.T) {
	value := func(w *world, kind int8, name, v string) {
		w.apply(Decision{Records: []record.Message{message(&record.ConfigRecord{ResourceType: kind, ResourceName: name, Name: "unclean.leader.election.enable", Value: &v})}})
	}
	for _, test := range []struct {
		name string
		set  func(*world)
		want kafka.BrokerID
	}{
		{"nowhere", func(*world) {}, kafka.NoLeader},
		{"topic", func(w *world) { value(w, 2, "a", "true") }, 2},
		{"another topic", func(w *world) { value(w, 2, "b", "true") }, kafka.NoLeader},
		{"this controller", func(w *world) { value(w, 4, "1", "true") }, 2},
		{"another node", func(w *world) { value(w, 4, "2", "true") }, kafka.NoLeader},
		{"cluster", func(w *world) { value(w, 4, "", "TRUE") }, 2},
		{"cluster, but not the topic", func(w *world) { value(w, 4, "", "true"); value(w, 2, "a", "false") }, kafka.NoLeader},
		{"file", func(w *world) { w.in.Settings.Static["unclean.leader.election.enable"] = "true" }, 2},
		{"file, but not the cluster", func(w *world) {
			w.in.Settings.Static["unclean.leader.election.enable"] = "true"
			value(w, 4, "", "false")
		}, kafka.NoLeader},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, image.MV39IV0, nil)
			w.start(1, 2)
			w.topic(1, "a", nil, []kafka.BrokerID{1, 2})
			req, _ := alterRequest(w, 1, "a", 1)
			d, _ := AlterPartition(w.in, req)
			w.apply(d)
			w.fence(1)
			if w.partition("a", 0).Leader != kafka.NoLeader {
				t.Fatal("there is a leader already")
			}
			test.set(w)
			d, _ = ElectUnclean(w.in)
			w.apply(d)
			if p := w.partition("a", 0); p.Leader != test.want || (p.Recovery == image.Recovering) != (test.want >= 0) {
				t.Error(partitionText(p))
			}
		})
	}
}

// A partition whose leader fails while it recovers stays in recovery: the
// record does not say so again.
func TestUncleanElectionWhileRecovering(t *testing.T) {
	w := newWorld(t, image.MV39IV0, nil)
	w.start(1, 2)
	w.topic(1, "a", map[string]string{"unclean.leader.election.enable": "true"}, []kafka.BrokerID{1, 2})
	req, _ := alterRequest(w, 1, "a", 1)
	d, _ := AlterPartition(w.in, req)
	w.apply(d)
	w.fence(1) // 2 is elected uncleanly
	w.unfence(1)
	before := len(w.log)
	w.fence(2)
	if p := w.partition("a", 0); p.Leader != 1 || p.Recovery != image.Recovering {
		t.Error(partitionText(p))
	}
	want := "PartitionChange v1 a-0 leader=1 isr=[1]\nBrokerRegistrationChange v0 2 epoch=6 fenced=1 shutdown=0\n"
	if got := picture(w.in.Image, w.log[before:]); got != want {
		t.Errorf("wrote\n%swant\n%s", got, want)
	}
}

func TestMinInSyncReplicas(t *testing.T) {
	w := newWorld(t, image.MV39IV0, nil)
	for value, want := range map[string]int{"2": 2, " 3 ": 3, "many": 1, "": 1} {
		w.in.Settings.Static["min.insync.replicas"] = value
		if got := minInSyncReplicas(w.in.Image, w.in.Settings, "a"); got != want {
			t.Errorf("%q: %d", value, got)
		}
	}
}

func TestAllocateProducerIDs(t *testing.T) {
	w := newWorld(t, image.MV39IV0, nil)
	w.start(1)
	req := kmsg.NewPtrAllocateProducerIDsRequest()
	req.BrokerID, req.BrokerEpoch = 1, int64(w.in.Image.Broker(1).Epoch)
	for _, want := range []int64{0, 1000, 2000} {
		d, resp := AllocateProducerIDs(w.in, req)
		if w.apply(d); resp.ErrorCode != 0 || resp.ProducerIDStart != want || resp.ProducerIDLen != 1000 || len(d.Records) != 1 {
			t.Errorf("%+v", resp)
		}
	}
	stale := *req
	stale.BrokerEpoch++
	if d, resp := AllocateProducerIDs(w.in, &stale); errors.Code(resp.ErrorCode) != errors.StaleBrokerEpoch || d.Records != nil {
		t.Errorf("%+v", resp)
	}
	last := kafka.ProducerID(math.MaxInt64 - 999)
	w.apply(Decision{Records: []record.Message{message(&record.ProducerIDsRecord{NextProducerID: last})}})
	if d, resp := AllocateProducerIDs(w.in, req); errors.Code(resp.ErrorCode) != errors.UnknownServerError || d.Records != nil {
		t.Errorf("%+v", resp)
	}
}

func imbalanced(p *image.Partition) bool { return !hasPreferredLeader(p) }

func anyPartition(img *image.Image, holds func(*image.Partition) bool) bool {
	for _, part := range partitionsOf(img, kafka.NoLeader) {
		if holds(part) {
			return true
		}
	}
	return false
}

package handler

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/coordinator"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

func named(names ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	for _, n := range names {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &n})
	}
	return req
}

func topicNames(res *kmsg.MetadataResponse) (out []string) {
	for _, t := range res.Topics {
		out = append(out, *t.Topic)
	}
	return out
}

func TestMetadataOfAllTopics(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("a"), partition("a", 0, self, other), partition("a", 1, other, self), topic("__consumer_offsets"), partition("__consumer_offsets", 0, self))
	for version := int16(0); version <= 13; version++ {
		req := kmsg.NewPtrMetadataRequest()
		if version == 0 {
			req.Topics = []kmsg.MetadataRequestTopic{}
		}
		res := ask[*kmsg.MetadataResponse](w, version, req)
		if got := topicNames(res); len(got) != 2 || !slices.Contains(got, "a") {
			t.Fatalf("v%d: topics %q", version, got)
		}
		if len(res.Brokers) != 2 || res.Brokers[0].Host != "b1" || res.Brokers[1].Port != 9092 {
			t.Errorf("v%d: brokers %+v", version, res.Brokers)
		}
		for _, topic := range res.Topics {
			if internal := *topic.Topic == "__consumer_offsets"; version >= 1 && topic.IsInternal != internal {
				t.Errorf("v%d: %s internal is %v", version, *topic.Topic, topic.IsInternal)
			}
			if version >= 10 && kafka.TopicID(topic.TopicID) != topicID(*topic.Topic) {
				t.Errorf("v%d: id %x", version, topic.TopicID)
			}
			if version >= 8 && topic.AuthorizedOperations != noOperations {
				t.Errorf("v%d: operations %d", version, topic.AuthorizedOperations)
			}
		}
	}
	empty := named()
	empty.Topics = []kmsg.MetadataRequestTopic{}
	if res := ask[*kmsg.MetadataResponse](w, 1, empty); len(res.Topics) != 0 {
		t.Errorf("v1 with no topics: %+v", res.Topics)
	}
}

// A listener that only broker 1 has: its clients cannot reach broker 2.
func TestMetadataByListener(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("a"), partition("a", 0, self, other), partition("a", 1, other, self))
	for _, c := range []struct {
		version int16
		leader  errors.Code
	}{{0, errors.LeaderNotAvailable}, {5, errors.LeaderNotAvailable}, {6, errors.ListenerNotFound}, {13, errors.ListenerNotFound}} {
		res := askAs[*kmsg.MetadataResponse](w, "INSIDE", "c", c.version, named("a"))
		if len(res.Brokers) != 1 || res.Brokers[0].Host != "inside" || res.Brokers[0].Port != 9093 {
			t.Errorf("v%d: brokers %+v", c.version, res.Brokers)
		}
		led, lost := res.Topics[0].Partitions[0], res.Topics[0].Partitions[1]
		if code(lost.ErrorCode) != c.leader || lost.Leader != -1 {
			t.Errorf("v%d: %+v", c.version, lost)
		}
		if c.version == 0 {
			if code(led.ErrorCode) != errors.ReplicaNotAvailable || len(led.Replicas) != 1 {
				t.Errorf("v0: %+v", led)
			}
			continue
		}
		if led.ErrorCode != 0 || led.Leader != 1 || len(led.Replicas) != 2 {
			t.Errorf("v%d: %+v", c.version, led)
		}
		if c.version >= 5 && !slices.Equal(led.OfflineReplicas, []int32{2}) {
			t.Errorf("v%d: offline %v", c.version, led.OfflineReplicas)
		}
	}
}

func TestMetadataLeavesOutFencedBrokers(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("a"), partition("a", 0, other, self), broker(other, fenced))
	res := ask[*kmsg.MetadataResponse](w, 12, named("a"))
	if len(res.Brokers) != 1 || res.ControllerID != 1 {
		t.Errorf("brokers %+v, controller %d", res.Brokers, res.ControllerID)
	}
	if p := res.Topics[0].Partitions[0]; !slices.Equal(p.OfflineReplicas, []int32{2}) {
		t.Errorf("%+v", p)
	}
	gone := partition("a", 0, other, self)
	gone.Leader = kafka.NoLeader
	w.publish(gone)
	if p := ask[*kmsg.MetadataResponse](w, 12, named("a")).Topics[0].Partitions[0]; code(p.ErrorCode) != errors.LeaderNotAvailable {
		t.Errorf("%+v", p)
	}
}

func TestMetadataCreatesTopics(t *testing.T) {
	for _, c := range []struct {
		name    string
		version int16
		allow   bool
		enabled bool
		topic   string
		made    bool
		code    errors.Code
	}{
		{"allowed", 12, true, true, "new", true, errors.None},
		{"forbidden by the client", 12, false, true, "new", false, errors.UnknownTopicOrPartition},
		{"a version that cannot forbid", 3, false, true, "new", true, errors.None},
		{"forbidden by the broker", 12, true, false, "new", false, errors.UnknownTopicOrPartition},
		{"an invalid name", 12, true, true, "a/b", false, errors.InvalidTopicException},
		{"a dot", 12, true, true, "..", false, errors.InvalidTopicException},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(cfg *Config) { cfg.Broker.AutoCreateTopics = c.enabled })
			w.makes = true
			req := named(c.topic, c.topic)
			req.AllowAutoTopicCreation = c.allow
			res := ask[*kmsg.MetadataResponse](w, c.version, req)
			if len(res.Topics) != 1 || code(res.Topics[0].ErrorCode) != c.code {
				t.Fatalf("%+v", res.Topics)
			}
			if made := len(w.created) == 1; made != c.made {
				t.Errorf("created %q", w.created)
			}
		})
	}
}

func TestMetadataByID(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("a"), partition("a", 0, self))
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = true
	other := "b"
	req.Topics = []kmsg.MetadataRequestTopic{{TopicID: topicID("a")}, {TopicID: topicID("none")}, {Topic: &other}}
	res := ask[*kmsg.MetadataResponse](w, 12, req)
	if len(res.Topics) != 2 || *res.Topics[0].Topic != "a" || code(res.Topics[1].ErrorCode) != errors.UnknownTopicID || res.Topics[1].Topic != nil {
		t.Errorf("%+v", res.Topics)
	}
	if len(w.created) != 0 {
		t.Errorf("created %q", w.created)
	}
	res = ask[*kmsg.MetadataResponse](w, 10, &kmsg.MetadataRequest{Topics: []kmsg.MetadataRequestTopic{{Topic: &other, TopicID: topicID("a")}}})
	if code(res.Topics[0].ErrorCode) != errors.InvalidRequest {
		t.Errorf("an id in v10: %+v", res.Topics)
	}
}

// The bits are those that Apache answers without an authorizer.
func TestAuthorizedOperations(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("a"), partition("a", 0, self))
	req := named("a")
	req.IncludeClusterAuthorizedOperations, req.IncludeTopicAuthorizedOperations = true, true
	if res := ask[*kmsg.MetadataResponse](w, 9, req); res.AuthorizedOperations != 8096 || res.Topics[0].AuthorizedOperations != 3576 {
		t.Errorf("cluster %d, topic %d", res.AuthorizedOperations, res.Topics[0].AuthorizedOperations)
	}
	cluster := kmsg.NewPtrDescribeClusterRequest()
	cluster.IncludeClusterAuthorizedOperations = true
	if res := ask[*kmsg.DescribeClusterResponse](w, 0, cluster); res.ClusterAuthorizedOperations != 8096 {
		t.Errorf("%+v", res)
	}
}

func TestDescribeCluster(t *testing.T) {
	w := newWorld(t)
	w.publish(broker(other, fenced))
	req := kmsg.NewPtrDescribeClusterRequest()
	res := ask[*kmsg.DescribeClusterResponse](w, 1, req)
	if len(res.Brokers) != 1 || res.ClusterID != "cluster" || res.EndpointType != 1 {
		t.Errorf("%+v", res)
	}
	req.IncludeFencedBrokers = true
	res = ask[*kmsg.DescribeClusterResponse](w, 2, req)
	if len(res.Brokers) != 2 || !res.Brokers[1].IsFenced {
		t.Errorf("%+v", res)
	}
	for kind, want := range map[int8]errors.Code{2: errors.MismatchedEndpointType, 9: errors.UnsupportedEndpointType} {
		req.EndpointType = kind
		if res := ask[*kmsg.DescribeClusterResponse](w, 1, req); code(res.ErrorCode) != want {
			t.Errorf("type %d: %+v", kind, res)
		}
	}
}

func TestDescribeTopicPartitions(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("a"), partition("a", 0, self), partition("a", 1, self), partition("a", 2, self), topic("b"), partition("b", 0, self), topic("c"), partition("c", 0, self))
	// Pages of two partitions walk through everything once.
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = 2
	var got []string
	for range 10 {
		res := ask[*kmsg.DescribeTopicPartitionsResponse](w, 0, req)
		for _, topic := range res.Topics {
			for _, p := range topic.Partitions {
				got = append(got, kafka.TopicPartition{Topic: *topic.Topic, Partition: kafka.PartitionID(p.Partition)}.String())
			}
		}
		if res.NextCursor == nil {
			break
		}
		req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: res.NextCursor.Topic, Partition: res.NextCursor.Partition}
	}
	if want := []string{"a-0", "a-1", "a-2", "b-0", "c-0"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	req = kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = 100
	req.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "none"}, {Topic: "b"}, {Topic: "b"}, {Topic: "?"}}
	res := ask[*kmsg.DescribeTopicPartitionsResponse](w, 0, req)
	var codes []errors.Code
	for _, topic := range res.Topics {
		codes = append(codes, code(topic.ErrorCode))
	}
	if want := []errors.Code{errors.InvalidTopicException, errors.None, errors.UnknownTopicOrPartition}; !slices.Equal(codes, want) {
		t.Errorf("%v", codes)
	}
	req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "a"}
	if res := ask[*kmsg.DescribeTopicPartitionsResponse](w, 0, req); code(res.Topics[0].ErrorCode) != errors.InvalidRequest {
		t.Errorf("%+v", res)
	}
}

func TestFindCoordinator(t *testing.T) {
	w := newWorld(t)
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKey, req.CoordinatorKeys = "g", []string{"g"}
	for _, version := range []int16{0, 3} {
		if res := ask[*kmsg.FindCoordinatorResponse](w, version, req); code(res.ErrorCode) != errors.CoordinatorNotAvailable || res.NodeID != -1 {
			t.Errorf("v%d: %+v", version, res)
		}
	}
	if !slices.Equal(w.created, []string{coordinator.Topic, coordinator.Topic}) {
		t.Errorf("created %q", w.created)
	}
	w.makes = true
	if res := ask[*kmsg.FindCoordinatorResponse](w, 2, req); res.ErrorCode != 0 || res.Host != "b1" || *res.ErrorMessage != "NONE" {
		t.Errorf("%+v", res)
	}
	if res := ask[*kmsg.FindCoordinatorResponse](w, 6, req); len(res.Coordinators) != 1 || res.Coordinators[0].NodeID != 1 || res.Coordinators[0].Key != "g" {
		t.Errorf("%+v", res)
	}
	req.CoordinatorType = coordinatorTransaction
	if res := ask[*kmsg.FindCoordinatorResponse](w, 6, req); code(res.Coordinators[0].ErrorCode) != errors.CoordinatorNotAvailable {
		t.Errorf("%+v", res)
	}
	req.CoordinatorType = coordinatorShare
	if res := ask[*kmsg.FindCoordinatorResponse](w, 5, req); code(res.Coordinators[0].ErrorCode) != errors.InvalidRequest {
		t.Errorf("%+v", res)
	}
}

// Who hears no controller does not know which of the others are gone: a client that is
// sent to one that is does not come back with what it wants.
func TestWhoIsAloneIsTheController(t *testing.T) {
	alone := true
	w := newWorld(t, func(c *Config) { c.Alone = func() bool { return alone } })
	named := func() map[int32]bool {
		ids := map[int32]bool{}
		for range 100 {
			ids[ask[*kmsg.MetadataResponse](w, 12, kmsg.NewPtrMetadataRequest()).ControllerID] = true
		}
		return ids
	}
	if got := named(); len(got) != 1 || !got[int32(self)] {
		t.Errorf("alone: %v", got)
	}
	w.publish(broker(self, fenced))
	if got := named(); len(got) != 1 || !got[int32(other)] {
		t.Errorf("alone and fenced, which clients do not find: %v", got)
	}
	alone = false
	w.publish(broker(self))
	if got := named(); len(got) != 2 {
		t.Errorf("among others: %v", got)
	}
}

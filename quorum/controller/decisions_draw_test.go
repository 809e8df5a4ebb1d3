package controller

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// How an episode draws names, ids and requests for what users ask for. About
// one in seven draws is wrong on purpose.

func (e *episode) chance(oneIn int) bool { return e.random.IntN(oneIn) == 0 }

func oneOf[T any](e *episode, from ...T) T { return from[e.random.IntN(len(from))] }

// topics are those of the current image, kept until it changes.
func (e *episode) topics() []*image.Topic {
	if e.lastTopics != e.in.Image {
		e.lastTopics, e.existing = e.in.Image, e.existing[:0]
		for t := range e.in.Image.Topics() {
			e.existing = append(e.existing, t)
		}
	}
	return e.existing
}

// topicOf draws a topic; nil if there is none.
func (e *episode) topicOf() *image.Topic {
	if len(e.topics()) == 0 {
		return nil
	}
	return oneOf(e, e.topics()...)
}

// topicName draws the name of a topic, now and then one that is not there.
func (e *episode) topicName() string {
	if t := e.topicOf(); t != nil && !e.chance(7) {
		return t.Name
	}
	return oneOf(e, "missing", "", "bad name", "__cluster_metadata")
}

// newName draws the name of a topic to create.
func (e *episode) newName() string {
	if e.chance(8) {
		return oneOf(e, "", ".", "bad name", "__cluster_metadata", "a.b", "a_b", e.topicName())
	}
	e.named++
	return fmt.Sprintf("t%s%d", oneOf(e, "", "-", ".", "_"), e.named)
}

func (e *episode) brokers() []kafka.BrokerID {
	var ids []kafka.BrokerID
	for b := range e.in.Image.Brokers() {
		ids = append(ids, b.ID)
	}
	return ids
}

// brokerID draws a registered broker, or now and then another number.
func (e *episode) brokerID() kafka.BrokerID {
	if ids := e.brokers(); len(ids) > 0 && !e.chance(12) {
		return oneOf(e, ids...)
	}
	return kafka.BrokerID(11 + e.random.IntN(12))
}

// replicas draws a list of brokers, now and then a bad one.
func (e *episode) drawReplicas(n int) []int32 {
	ids := e.brokers()
	e.random.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	ids = ids[:min(n, len(ids))]
	switch {
	case e.chance(20):
		ids = append(ids, 99)
	case e.chance(20) && len(ids) > 0:
		ids = append(ids, ids[0])
	}
	return kafka.Int32s(ids)
}

func (e *episode) room() int { return maxPartitions - e.in.Image.PartitionCount() }

func (e *episode) createTopics() (Decision, []int16, func()) {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.ValidateOnly = int16(2+e.random.IntN(6)), e.chance(10)
	for range 1 + e.random.IntN(3) {
		partitions := min(1+e.random.IntN(60), max(1, e.room()/3))
		t := newTopic(e.newName(), int32(partitions), int16(1+e.random.IntN(3)))
		switch {
		case e.chance(15):
			t.NumPartitions = oneOf[int32](e, -1, 0, -7, 300_000)
		case e.chance(15):
			t.ReplicationFactor = oneOf[int16](e, -1, 0, -2, 30)
		case e.chance(5):
			t.NumPartitions, t.ReplicationFactor = -1, -1
			n := 1 + e.random.IntN(3)
			for i := range 1 + e.random.IntN(4) {
				t.ReplicaAssignment = append(t.ReplicaAssignment,
					kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(i), Replicas: e.drawReplicas(n)})
			}
		}
		if e.chance(3) {
			key, value := e.topicConfig()
			t.Configs = append(t.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: key, Value: value})
		}
		req.Topics = append(req.Topics, t)
	}
	d, res := CreateTopics(e.in, req)
	var codes []int16
	for _, t := range res.Topics {
		codes = append(codes, t.ErrorCode)
	}
	return d, codes, nil
}

func (e *episode) createPartitions() (Decision, []int16, func()) {
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.Version, req.ValidateOnly = 3, e.chance(10)
	for range 1 + e.random.IntN(2) {
		t := morePartitions(e.topicName(), 1+e.random.Int32N(8))
		if topic := e.in.Image.TopicByName(t.Topic); topic != nil {
			more := 1 + e.random.IntN(4)
			if !e.chance(6) {
				t.Count = int32(topic.PartitionCount() + min(more, max(1, e.room())))
			}
			if e.chance(4) {
				for range more {
					t.Assignment = append(t.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{
						Replicas: e.drawReplicas(len(topic.Partition(0).Replicas)),
					})
				}
			}
		}
		req.Topics = append(req.Topics, t)
	}
	d, res := CreatePartitions(e.in, req)
	var codes []int16
	for _, t := range res.Topics {
		codes = append(codes, t.ErrorCode)
	}
	return d, codes, nil
}

func (e *episode) deleteTopics() (Decision, []int16, func()) {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version = 6
	n := 1
	if e.room() < maxPartitions/4 {
		n = 4
	}
	for range n {
		t := kmsg.NewDeleteTopicsRequestTopic()
		topic := e.topicOf()
		switch {
		case topic != nil && e.chance(2):
			t.TopicID = topic.ID
		case e.chance(20):
			t.TopicID = kafka.TopicID{0: 9}
		default:
			t.Topic = ptr(e.topicName())
		}
		req.Topics = append(req.Topics, t)
	}
	d, res := DeleteTopics(e.in, req)
	var codes []int16
	for _, t := range res.Topics {
		codes = append(codes, t.ErrorCode)
	}
	return d, codes, nil
}

// topicConfig draws a key and value for a topic.
func (e *episode) topicConfig() (string, *string) {
	if e.chance(10) {
		return oneOf(e, "no.such.key", "retention.ms"), oneOf(e, nil, ptr("soon"), ptr("-2"))
	}
	kv := oneOf(e, [2]string{"retention.ms", "1000"}, [2]string{"min.insync.replicas", "2"}, [2]string{"min.insync.replicas", "1"},
		[2]string{"cleanup.policy", "compact"}, [2]string{"unclean.leader.election.enable", "true"}, [2]string{"segment.bytes", "2000000"})
	return kv[0], &kv[1]
}

// configResource draws a resource and a key and value for it.
func (e *episode) configResource() (image.Resource, string, *string) {
	switch e.random.IntN(8) {
	case 0:
		key, value := "min.insync.replicas", ptr("1")
		if e.chance(2) {
			key, value = "message.max.bytes", ptr("1000")
		}
		return image.Resource{Type: image.ResourceBroker}, key, value
	case 1:
		name := fmt.Sprint(e.brokerID())
		return image.Resource{Type: image.ResourceBroker, Name: oneOf(e, name, name, name, "x", "-4")},
			oneOf(e, "log.retention.ms", "min.insync.replicas", "cordoned.log.dirs"), oneOf(e, ptr("2"), ptr("1"))
	case 2:
		return image.Resource{Type: image.ResourceClientMetrics, Name: oneOf(e, "m1", "m2", "")}, "interval.ms", oneOf(e, ptr("1000"), ptr("1"))
	case 3:
		return image.Resource{Type: image.ResourceGroup, Name: oneOf(e, "g1", "g2", "")}, "consumer.session.timeout.ms", oneOf(e, ptr("50000"), ptr("1"))
	case 4:
		if e.chance(3) {
			return image.Resource{Type: oneOf[image.ResourceType](e, 8, 7, 0), Name: "1"}, "x", ptr("1")
		}
	}
	key, value := e.topicConfig()
	return image.Resource{Type: image.ResourceTopic, Name: e.topicName()}, key, value
}

func (e *episode) incrementalAlterConfigs() (Decision, []int16, func()) {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version, req.ValidateOnly = 1, e.chance(10)
	for range 1 + e.random.IntN(2) {
		r, key, value := e.configResource()
		op := kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: key, Value: value}
		switch {
		case e.chance(4):
			op.Op = kmsg.IncrementalAlterConfigOpDelete
		case key == "cleanup.policy" && value != nil && e.chance(2):
			op.Op = oneOf(e, kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract)
		case e.chance(30):
			op.Op = oneOf[kmsg.IncrementalAlterConfigOp](e, 2, 9)
		}
		req.Resources = append(req.Resources, kmsg.IncrementalAlterConfigsRequestResource{
			ResourceType: kmsg.ConfigResourceType(r.Type), ResourceName: r.Name,
			Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{op},
		})
	}
	d, res := IncrementalAlterConfigs(e.in, req)
	var codes []int16
	for _, r := range res.Resources {
		codes = append(codes, r.ErrorCode)
	}
	return d, codes, nil
}

func (e *episode) alterConfigs() (Decision, []int16, func()) {
	req := kmsg.NewPtrAlterConfigsRequest()
	req.Version, req.ValidateOnly = 2, e.chance(10)
	r, key, value := e.configResource()
	asked := kmsg.AlterConfigsRequestResource{ResourceType: kmsg.ConfigResourceType(r.Type), ResourceName: r.Name}
	if !e.chance(4) {
		asked.Configs = []kmsg.AlterConfigsRequestResourceConfig{{Name: key, Value: value}}
	}
	req.Resources = append(req.Resources, asked)
	d, res := AlterConfigs(e.in, req)
	return d, []int16{res.Resources[0].ErrorCode}, nil
}

func (e *episode) describeConfigs() (Decision, []int16, func()) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version, req.IncludeSynonyms = 4, e.chance(2)
	r, _, _ := e.configResource()
	if r.Type == image.ResourceBroker && e.chance(2) {
		r.Name = "1"
	}
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceType(r.Type), ResourceName: r.Name}}
	res := DescribeConfigs(e.in, req)
	return Decision{}, []int16{res.Resources[0].ErrorCode}, nil
}

func (e *episode) alterClientQuotas() (Decision, []int16, func()) {
	req := kmsg.NewPtrAlterClientQuotasRequest()
	req.ValidateOnly = e.chance(10)
	for range 1 + e.random.IntN(2) {
		entry := kmsg.NewAlterClientQuotasRequestEntry()
		key := oneOf(e, "producer_byte_rate", "consumer_byte_rate", "request_percentage")
		for _, kind := range oneOf(e, []string{"user"}, []string{"client-id"}, []string{"user", "client-id"}, []string{"ip"}, []string{"ip", "user"}) {
			name := oneOf(e, nil, ptr("n1"), ptr("n2"), ptr("n3"))
			if kind == "ip" {
				key, name = "connection_creation_rate", oneOf(e, nil, ptr("10.0.0.1"), ptr("nowhere"))
			}
			entry.Entity = append(entry.Entity, kmsg.AlterClientQuotasRequestEntryEntity{Type: kind, Name: name})
		}
		entry.Ops = []kmsg.AlterClientQuotasRequestEntryOp{{Key: key, Value: oneOf(e, 1.0, 100, 1e6, 0.5, 0), Remove: e.chance(3)}}
		req.Entries = append(req.Entries, entry)
	}
	d, res := AlterClientQuotas(e.in, req)
	var codes []int16
	for _, r := range res.Entries {
		codes = append(codes, r.ErrorCode)
	}
	return d, codes, nil
}

func (e *episode) describeClientQuotas() (Decision, []int16, func()) {
	req := kmsg.NewPtrDescribeClientQuotasRequest()
	req.Strict = e.chance(2)
	req.Components = []kmsg.DescribeClientQuotasRequestComponent{{EntityType: oneOf(e, "user", "ip", "x"), MatchType: oneOf(e, kmsg.QuotasMatchTypeAny, kmsg.QuotasMatchTypeDefault)}}
	res := DescribeClientQuotas(e.in, req)
	return Decision{}, []int16{res.ErrorCode}, nil
}

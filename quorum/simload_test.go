package quorum

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/quorum/controller"
)

// request sends one to the active controller, or to whoever thinks to be it, and
// now and then to another.
func (s *sim) request() {
	var n *simNode
	for _, other := range s.nodes {
		if other.core.role == active {
			n = other
		}
	}
	if s.rnd.IntN(20) == 0 {
		n = s.nodes[s.rnd.IntN(len(s.nodes))]
	}
	if n != nil {
		s.ask(n, s.body(n))
	}
}

func (s *sim) ask(n *simNode, body kmsg.Request) {
	s.nextID++
	patience := int64(2000)
	if !s.told {
		patience = 1 + s.rnd.Int64N(3000)
	}
	q := &simAsked{id: s.nextID, node: n, body: body, open: true}
	s.asked[q.id] = q
	s.order = append(s.order, q)
	n.inbox = append(n.inbox, Request{
		ID: q.id, Caller: controller.Caller{Principal: "User:sim", Host: "127.0.0.1"},
		Body: body, DeadlineMs: s.now + patience,
	})
}

func (s *sim) body(n *simNode) kmsg.Request {
	broker := kafka.BrokerID(s.rnd.IntN(simBrokers))
	known := n.core.committed().Broker(broker)
	switch p := s.rnd.IntN(20); {
	case known == nil || p == 0:
		return s.registration(broker)
	case p < 6:
		return simHeartbeat(known.ID, known.Epoch, n.core.end(), s.rnd.IntN(15) == 0)
	case p < 10:
		name := fmt.Sprintf("t%d", s.rnd.IntN(6))
		if s.rnd.IntN(4) == 0 {
			return simCreate(name, 14+s.rnd.IntN(20)) // more than one batch holds
		}
		return simCreate(name, 1+s.rnd.IntN(3))
	case p < 12:
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version = 6
		name := fmt.Sprintf("t%d", s.rnd.IntN(6))
		topic := kmsg.NewDeleteTopicsRequestTopic()
		topic.Topic = &name
		req.Topics = append(req.Topics, topic)
		return req
	case p < 14:
		req := kmsg.NewPtrAllocateProducerIDsRequest()
		req.BrokerID, req.BrokerEpoch = int32(known.ID), int64(known.Epoch)
		return req
	case p < 16:
		return simAlter(fmt.Sprintf("t%d", s.rnd.IntN(6)), fmt.Sprint(1+s.rnd.IntN(1000)))
	case p < 18:
		return simDescribeQuorum()
	}
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	req.Version = 0
	return req
}

func (s *sim) registration(id kafka.BrokerID) kmsg.Request {
	return simRegistration(id, kafka.UUID{0: 5, 14: byte(s.rnd.IntN(3)), 15: byte(id)})
}

func simRegistration(id kafka.BrokerID, incarnation kafka.UUID) *kmsg.BrokerRegistrationRequest {
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.Version = 4
	req.BrokerID, req.ClusterID, req.IncarnationID = int32(id), "AAAAAAAAAAAAAAAAAAAAAQ", incarnation
	l := kmsg.NewBrokerRegistrationRequestListener()
	l.Name, l.Host, l.Port = "PLAINTEXT", "localhost", uint16(9092+id)
	req.Listeners = append(req.Listeners, l)
	req.LogDirs = append(req.LogDirs, kafka.DirectoryID{0: 2, 15: byte(id)})
	for _, r := range image.SupportedFeatures() {
		f := kmsg.NewBrokerRegistrationRequestFeature()
		f.Name, f.MinSupportedVersion, f.MaxSupportedVersion = r.Name, r.MinSupportedVersion, r.MaxSupportedVersion
		req.Features = append(req.Features, f)
	}
	return req
}

func simHeartbeat(id kafka.BrokerID, epoch kafka.BrokerEpoch, end kafka.Offset, fence bool) *kmsg.BrokerHeartbeatRequest {
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.Version = 1
	req.BrokerID, req.BrokerEpoch, req.CurrentMetadataOffset, req.WantFence = int32(id), int64(epoch), int64(end)-1, fence
	return req
}

func simCreate(name string, partitions int) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, int32(partitions), 1
	req.Topics = append(req.Topics, t)
	return req
}

func simAlter(topic, retention string) *kmsg.IncrementalAlterConfigsRequest {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = 1
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Value = "retention.ms", &retention
	r.Configs = append(r.Configs, c)
	req.Resources = append(req.Resources, r)
	return req
}

func simDescribeQuorum() *kmsg.DescribeQuorumRequest {
	req := kmsg.NewPtrDescribeQuorumRequest()
	req.Version = 2
	t := kmsg.NewDescribeQuorumRequestTopic()
	t.Topic = kafka.MetadataTopic
	t.Partitions = append(t.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	req.Topics = append(req.Topics, t)
	return req
}

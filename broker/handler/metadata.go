package handler

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/replica"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/describe"
	"kvorum/metadatalog/image"
	"kvorum/protocol"
	"kvorum/protocol/errors"
)

// Metadata (key 3, versions 0 to 13; KafkaApis.handleTopicMetadataRequest).
//
// It answers from the image with the endpoints of the listener that the client
// is connected to. v0 means all topics by an empty list, v1 and later by null.
// v4 can forbid auto-creation. v5 adds offline replicas, v7 leader epochs, v8
// authorized operations (the cluster's until v10), v10 topic ids in answers and
// v12 in questions. Up to v5 a leader without an endpoint here is
// LEADER_NOT_AVAILABLE, from v6 on LISTENER_NOT_FOUND. v0 leaves out replicas
// that cannot be reached and says REPLICA_NOT_AVAILABLE.
//
// Where Apache answers UNKNOWN_TOPIC_OR_PARTITION for a topic that it has just
// asked the controller to create, we wait a moment for it: most clients sleep
// for 100 ms and more before they ask again.
func (h *Handlers) metadata(ctx context.Context, c *call, req *kmsg.MetadataRequest) kmsg.Response {
	if err := checkMetadata(req); err != nil {
		return protocol.Failure(c.Request.Request, err)
	}
	res := req.ResponseKind().(*kmsg.MetadataResponse)
	for b, e := range c.reachable(false) {
		res.Brokers = append(res.Brokers, kmsg.MetadataResponseBroker{NodeID: int32(b.ID), Host: e.Host, Port: int32(e.Port), Rack: b.Rack})
	}
	res.ControllerID, res.ClusterID = c.aController(), &h.cfg.ClusterID
	all := req.Topics == nil || req.Version == 0 && len(req.Topics) == 0
	if !all {
		c.autoCreate(ctx, req)
	}
	// The topics, and before them the unknown ids.
	res.Topics = []kmsg.MetadataResponseTopic{}
	if all {
		for t := range c.image.Topics() {
			if c.mayTopic(kmsg.ACLOperationDescribe, t.Name) {
				res.Topics = append(res.Topics, c.topicMetadata(req, t))
			}
		}
	} else {
		res.Topics = c.askedTopics(req)
	}
	res.AuthorizedOperations = c.clusterOperations(req.Version >= 8 && req.Version <= 10 && req.IncludeClusterAuthorizedOperations)
	return res
}

// checkMetadata refuses what the versions before 12 cannot say.
func checkMetadata(req *kmsg.MetadataRequest) *errors.Error {
	for i := range req.Topics {
		switch t := &req.Topics[i]; {
		case req.Version >= 12:
		case t.Topic == nil:
			return errors.New(errors.InvalidRequest, "Topic name can not be null for version %d", req.Version)
		case !kafka.TopicID(t.TopicID).IsZero():
			return errors.New(errors.InvalidRequest, "Topic IDs are not supported in requests for version %d", req.Version)
		}
	}
	return nil
}

// askedTopics answers for the topics that a request names, each once. If one is
// named by id, names are not looked at.
func (c *call) askedTopics(req *kmsg.MetadataRequest) []kmsg.MetadataResponseTopic {
	out := make([]kmsg.MetadataResponseTopic, 0, len(req.Topics))
	if byID := askedIDs(req); len(byID) > 0 {
		for _, id := range byID {
			switch t := c.image.Topic(id); {
			case t == nil:
				out = append(out, absentTopic(nil, id, errors.UnknownTopicID))
			case !c.mayTopic(kmsg.ACLOperationDescribe, t.Name):
				out = append(out, absentTopic(nil, id, errors.TopicAuthorizationFailed))
			default:
				out = append(out, c.topicMetadata(req, t))
			}
		}
		return out
	}
	for _, name := range askedNames(req) {
		switch t := c.image.TopicByName(name); {
		case !c.mayTopic(kmsg.ACLOperationDescribe, name):
			out = append(out, absentTopic(&name, kafka.ZeroUUID, errors.TopicAuthorizationFailed))
		case t != nil:
			out = append(out, c.topicMetadata(req, t))
		case c.wantsCreation(req) && !c.mayCreate(name):
			out = append(out, absentTopic(&name, kafka.ZeroUUID, errors.TopicAuthorizationFailed))
		default:
			out = append(out, absentTopic(&name, kafka.ZeroUUID, unknownTopic(name)))
		}
	}
	return out
}

// askedIDs are the ids of a request, each once.
func askedIDs(req *kmsg.MetadataRequest) (list []kafka.TopicID) {
	seen := make(map[kafka.TopicID]bool)
	for i := range req.Topics {
		if id := kafka.TopicID(req.Topics[i].TopicID); !id.IsZero() && !seen[id] {
			seen[id] = true
			list = append(list, id)
		}
	}
	return list
}

// askedNames are the names of a request, each once.
func askedNames(req *kmsg.MetadataRequest) []string {
	list, seen := make([]string, 0, len(req.Topics)), make(map[string]bool, len(req.Topics))
	for i := range req.Topics {
		if name := req.Topics[i].Topic; name != nil && !seen[*name] {
			seen[*name] = true
			list = append(list, *name)
		}
	}
	return list
}

// creationWait is how long an answer waits for topics that it had made. Where
// the quorum is there, a topic takes a few milliseconds.
const creationWait = 500 * time.Millisecond

// autoCreate has the topics made that are not there, and answers from the image
// that has them.
func (c *call) autoCreate(ctx context.Context, req *kmsg.MetadataRequest) {
	if !c.wantsCreation(req) || len(askedIDs(req)) > 0 {
		return
	}
	var missing []string
	for _, name := range askedNames(req) {
		if c.image.TopicByName(name) == nil && describe.TopicName(name) == nil && c.mayTopic(kmsg.ACLOperationDescribe, name) && c.mayCreate(name) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, creationWait)
	defer cancel()
	c.cfg.AutoCreate.Create(ctx, missing)
	c.image = c.cfg.Image()
}

// wantsCreation reports whether unknown topics are to be made; versions before
// 4 cannot say no.
func (c *call) wantsCreation(req *kmsg.MetadataRequest) bool {
	return c.cfg.Broker.AutoCreateTopics && (req.AllowAutoTopicCreation || req.Version < 4)
}

func (c *call) mayCreate(topic string) bool {
	return c.mayCluster(kmsg.ACLOperationCreate) || c.mayTopic(kmsg.ACLOperationCreate, topic)
}

func absentTopic(name *string, id kafka.TopicID, code errors.Code) kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.Topic, t.TopicID, t.ErrorCode, t.AuthorizedOperations = name, id, int16(code), noOperations
	t.IsInternal = name != nil && replica.InternalTopic(*name)
	t.Partitions = []kmsg.MetadataResponseTopicPartition{}
	return t
}

func (c *call) topicMetadata(req *kmsg.MetadataRequest, topic *image.Topic) kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.Topic, t.TopicID, t.IsInternal, t.AuthorizedOperations = &topic.Name, topic.ID, replica.InternalTopic(topic.Name), noOperations
	if req.Version >= 8 && req.IncludeTopicAuthorizedOperations {
		t.AuthorizedOperations = c.operations(kmsg.ACLResourceTypeTopic, topic.Name)
	}
	t.Partitions = make([]kmsg.MetadataResponseTopicPartition, 0, topic.PartitionCount())
	for id, p := range topic.Partitions() {
		t.Partitions = append(t.Partitions, c.partitionMetadata(req.Version, id, p))
	}
	return t
}

func (c *call) partitionMetadata(version int16, id kafka.PartitionID, p *image.Partition) kmsg.MetadataResponseTopicPartition {
	out := kmsg.MetadataResponseTopicPartition{
		Partition: int32(id), Leader: int32(p.Leader), LeaderEpoch: int32(p.LeaderEpoch),
		Replicas: kafka.Int32s(p.Replicas), ISR: kafka.Int32s(p.ISR), OfflineReplicas: c.offline(p),
	}
	if version == 0 {
		out.Replicas, out.ISR = c.withEndpoint(p.Replicas), c.withEndpoint(p.ISR)
	}
	switch _, ok := c.endpoint(p.Leader); {
	case !ok && version >= 6 && c.image.Broker(p.Leader) != nil:
		out.ErrorCode, out.Leader = int16(errors.ListenerNotFound), int32(kafka.NoLeader)
	case !ok:
		out.ErrorCode, out.Leader = int16(errors.LeaderNotAvailable), int32(kafka.NoLeader)
	case len(out.Replicas) < len(p.Replicas) || len(out.ISR) < len(p.ISR):
		out.ErrorCode = int16(errors.ReplicaNotAvailable)
	}
	return out
}

// withEndpoint are the brokers that the client could connect to.
func (c *call) withEndpoint(brokers []kafka.BrokerID) []int32 {
	out := []int32{}
	for _, id := range brokers {
		if _, ok := c.endpoint(id); ok {
			out = append(out, int32(id))
		}
	}
	return out
}

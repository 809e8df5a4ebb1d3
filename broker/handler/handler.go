package handler

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/replica"
	"kvorum/config"
	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/listener"
	"kvorum/metadatalog/image"
	"kvorum/protocol"
	"kvorum/protocol/errors"
)

// Config is what the handlers of one broker work with.
type Config struct {
	Self      kafka.BrokerID
	ClusterID string
	// Broker are the settings of the broker that do not change while it runs.
	Broker *config.Broker

	// Image is the newest published image. It must be safe for concurrent use.
	Image func() *image.Image
	// Layers are the node keys in effect on this broker, without the topic's own.
	Layers func() config.Layers

	Replicas    Replicas
	LogDirs     LogDirs
	Groups      Groups
	Controllers Controllers
	AutoCreate  AutoCreate
	ProducerIDs ProducerIDs
	// Alone says that no controller answers this broker, so that nobody tells which others
	// are gone; nil: one always does.
	Alone func() bool
	// MetadataLog is served to brokers that reach no controller; nil serves nobody.
	MetadataLog MetadataLog

	// Authorizer decides what clients may do; nil: everything.
	Authorizer Authorizer

	Clock clock.Clock
	Log   *slog.Logger
}

// Replicas are the partitions of this broker (replica.Partitions).
type Replicas interface {
	Lookup(kafka.TopicPartition) (*replica.Partition, error)
	Produce(context.Context, replica.ProduceOptions, []replica.ProducePartition, []replica.ProduceResult) []replica.ProduceResult
	Fetch(context.Context, replica.FetchOptions, []replica.FetchPartition, []replica.FetchResult) []replica.FetchResult
	AlterLogDir(tp kafka.TopicPartition, path string) error
	DeleteRecords(context.Context, time.Duration, []replica.DeleteRecordsPartition, []replica.DeleteRecordsResult) []replica.DeleteRecordsResult
}

// Controllers is the way to the active controller. Both methods try until they
// have an answer of it or ctx ends.
type Controllers interface {
	// Do sends a request of the broker's own.
	Do(context.Context, kmsg.Request) (kmsg.Response, error)
	// Forward sends a client's request in an Envelope and returns the answer at
	// the request's version. The error is a wire error for the client.
	Forward(ctx context.Context, who protocol.Principal, from netip.Addr, r *protocol.Request) (kmsg.Response, error)
}

// AutoCreate makes topics that clients asked for by using them.
type AutoCreate interface {
	// Create asks the active controller for the topics, each as its name and the
	// broker's defaults want it, and returns when the image has those that could
	// be made, or when ctx ends. Topics that are being made already are not asked
	// for twice.
	Create(ctx context.Context, names []string)
}

// ProducerIDs hands out ids for idempotent producers, none of them twice in the
// life of the cluster.
type ProducerIDs interface {
	Next(context.Context) (kafka.ProducerID, error)
}

// Handlers answer for one broker. They are safe for concurrent use.
type Handlers struct {
	cfg      Config
	sessions *sessions
	steady   clock.Steady // what their age is reckoned by
	topics   *topicCounters
}

// New returns the handlers of a broker.
func New(cfg Config) *Handlers {
	return &Handlers{cfg: cfg, steady: clock.SteadyFrom(cfg.Clock.Now()), sessions: newSessions(cfg.Broker.FetchSessions), topics: newTopicCounters(cfg.Broker.TopicMetrics)}
}

// call is one request while it is answered: everything it looks at is of one
// image.
type call struct {
	*listener.Request
	image  *image.Image
	cfg    *Config
	topics *topicCounters
}

// Bind binds everything that a broker serves (KafkaApis) on a listener of this
// kind.
func (h *Handlers) Bind(kind protocol.ListenerSet) *protocol.Handlers[listener.Handler] {
	out := protocol.NewHandlers[listener.Handler](kind)
	for key, serve := range h.apis() {
		if key == kmsg.Fetch && kind&protocol.InterBroker != 0 && h.cfg.MetadataLog != nil {
			serve = h.fetchOrMetadata
		}
		out.Bind(protocol.Key(key.Int16()), h.guard(serve))
	}
	return out
}

// apis is every API that is served here, by key.
func (h *Handlers) apis() map[kmsg.Key]serve {
	served := map[kmsg.Key]serve{
		kmsg.Produce:                      h.produce,
		kmsg.Fetch:                        h.fetch,
		kmsg.ListOffsets:                  reply(h.listOffsets),
		kmsg.OffsetForLeaderEpoch:         reply(h.offsetForLeaderEpoch),
		kmsg.DeleteRecords:                reply(h.deleteRecords),
		kmsg.InitProducerID:               reply(h.initProducerID),
		kmsg.WriteTxnMarkers:              h.writeTxnMarkers,
		kmsg.DescribeProducers:            reply(h.describeProducers),
		kmsg.Metadata:                     reply(h.metadata),
		kmsg.DescribeTopicPartitions:      reply(h.describeTopicPartitions),
		kmsg.DescribeCluster:              reply(h.describeCluster),
		kmsg.FindCoordinator:              reply(h.findCoordinator),
		kmsg.JoinGroup:                    reply(h.joinGroup),
		kmsg.SyncGroup:                    reply(h.syncGroup),
		kmsg.Heartbeat:                    reply(h.heartbeat),
		kmsg.LeaveGroup:                   reply(h.leaveGroup),
		kmsg.OffsetCommit:                 reply(h.offsetCommit),
		kmsg.OffsetFetch:                  reply(h.offsetFetch),
		kmsg.OffsetDelete:                 reply(h.offsetDelete),
		kmsg.ListGroups:                   reply(h.listGroups),
		kmsg.DescribeGroups:               reply(h.describeGroups),
		kmsg.DeleteGroups:                 reply(h.deleteGroups),
		kmsg.DescribeConfigs:              reply(h.describeConfigs),
		kmsg.AlterConfigs:                 reply(h.alterConfigs),
		kmsg.IncrementalAlterConfigs:      reply(h.incrementalAlterConfigs),
		kmsg.ListConfigResources:          reply(h.listConfigResources),
		kmsg.DescribeACLs:                 reply(h.describeACLs),
		kmsg.DescribeClientQuotas:         reply(h.describeClientQuotas),
		kmsg.DescribeUserSCRAMCredentials: reply(h.describeScram),
		kmsg.DescribeLogDirs:              reply(h.describeLogDirs),
		kmsg.AlterReplicaLogDirs:          reply(h.alterReplicaLogDirs),
		kmsg.CreateDelegationToken:        h.tokenRequest,
		kmsg.RenewDelegationToken:         h.tokenRequest,
		kmsg.ExpireDelegationToken:        h.tokenRequest,
		kmsg.DescribeDelegationToken:      h.describeTokens,
	}
	for _, key := range forwarded {
		served[key] = h.forward
	}
	return served
}

// serve answers one request.
type serve func(context.Context, *call) (listener.Response, error)

// reply gives a function that always has an answer the shape of the table.
func reply[Q kmsg.Request](answer func(context.Context, *call, Q) kmsg.Response) serve {
	return func(ctx context.Context, c *call) (listener.Response, error) {
		return listener.Reply(answer(ctx, c, c.Body.(Q))), nil
	}
}

// guard checks the rule of the API table, where it is one that does not need to
// look into the request, and takes the image that the request is answered from.
func (h *Handlers) guard(next serve) listener.Handler {
	return func(ctx context.Context, r *listener.Request) (listener.Response, error) {
		c := &call{Request: r, image: h.cfg.Image(), cfg: &h.cfg, topics: h.topics}
		rule := r.API.Rule(protocol.Broker)
		if rule.Reason == "" && !c.may(rule.Operation, rule.Resource, clusterName) {
			return listener.Reply(protocol.Failure(r.Request, errors.ClusterAuthorizationFailed.Err())), nil
		}
		return next(ctx, c)
	}
}

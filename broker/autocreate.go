package broker

import (
	"context"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/coordinator"
	"kvorum/config"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

const (
	// maxCreating bounds the topics that are being made at a time because somebody
	// asked for them. Whoever asks for one more is told that it is not there.
	maxCreating = 1024
	// createTimeout bounds the making of topics, whoever waits for it.
	createTimeout = 30 * time.Second
	// deletedRest is how long the name of a deleted topic rests before using it
	// makes a topic of it again: a client that has not heard of the deletion yet
	// would bring the topic back at once.
	deletedRest = time.Second
	// maxResting bounds the names that rest; beyond it the rest is not observed.
	maxResting = 10_000
)

// autoCreate makes topics that are used before they are made
// (AutoTopicCreationManager). A topic that is being made is not asked for twice.
type autoCreate struct {
	client *Client
	node   *config.Node
	wait   func(context.Context, func(*image.Image) bool) error
	logger *slog.Logger

	mu     sync.Mutex
	making map[string]chan struct{} // closed when it is made, or was refused
	// resting has the topics that were deleted, and when each was.
	resting map[string]time.Time
}

// deleted lets the names of the topics that are gone rest.
func (a *autoCreate) deleted(c *image.Changes, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for t := range c.Topics() {
		if t.Old == nil || t.New != nil || len(a.resting) >= maxResting {
			continue
		}
		a.resting[t.Old.Name] = now
	}
}

// Create implements handler.AutoCreate.
func (a *autoCreate) Create(ctx context.Context, names []string) {
	mine, others := a.claim(names, time.Now())
	if len(mine) > 0 {
		a.create(ctx, mine)
	}
	for _, other := range others {
		select {
		case <-other:
		case <-ctx.Done():
		}
	}
}

// claim splits the names into those that the caller is to make and those that are
// being made. Names that rest, and those beyond maxCreating, are neither.
func (a *autoCreate) claim(names []string, now time.Time) (mine []string, others []chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.resting, func(_ string, at time.Time) bool { return now.Sub(at) >= deletedRest })
	for _, name := range names {
		if _, rests := a.resting[name]; rests {
			continue
		}
		if other, ok := a.making[name]; ok {
			others = append(others, other)
		} else if len(a.making) < maxCreating {
			a.making[name] = make(chan struct{})
			mine = append(mine, name)
		}
	}
	return mine, others
}

// create asks for the topics and waits until this broker knows those that were
// made.
func (a *autoCreate) create(ctx context.Context, names []string) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, name := range names {
			close(a.making[name])
			delete(a.making, name)
		}
	}()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(createTimeout.Milliseconds())
	for _, name := range names {
		req.Topics = append(req.Topics, a.topic(name))
	}
	body, err := a.client.Do(ctx, req)
	if err != nil {
		a.logger.Warn("topics that clients asked for could not be made", "topics", len(names), "error", err)
		return
	}
	for _, t := range body.(*kmsg.CreateTopicsResponse).Topics {
		switch code := errors.Code(t.ErrorCode); code {
		case errors.None, errors.TopicAlreadyExists:
			if a.wait(ctx, func(im *image.Image) bool { return im.TopicByName(t.Topic) != nil }) != nil {
				return
			}
		default:
			text := ""
			if t.ErrorMessage != nil {
				text = *t.ErrorMessage
			}
			a.logger.Warn("a topic that a client asked for could not be made", "topic", t.Topic, "error", code, "message", text)
		}
	}
}

// topic is a topic as its name and the broker's defaults want it
// (AutoTopicCreationManager.creatableTopic).
func (a *autoCreate) topic(name string) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, a.node.Cluster.NumPartitions, a.node.Cluster.DefaultReplicationFactor
	if name != coordinator.Topic {
		return t
	}
	offsets := a.node.Broker.Offsets
	t.NumPartitions, t.ReplicationFactor = offsets.Partitions, offsets.ReplicationFactor
	for _, c := range [][2]string{
		{"cleanup.policy", "compact"}, {"compression.type", "producer"}, {"segment.bytes", strconv.Itoa(int(offsets.SegmentBytes))},
	} {
		entry := kmsg.NewCreateTopicsRequestTopicConfig()
		entry.Name, entry.Value = c[0], &c[1]
		t.Configs = append(t.Configs, entry)
	}
	return t
}

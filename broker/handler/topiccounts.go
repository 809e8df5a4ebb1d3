package handler

import (
	"sync"
	"sync/atomic"

	"kvorum/metadatalog/image"
)

// TopicCounts are what was written to one topic and read from it here since this
// broker first saw it (BrokerTopicMetrics). Requests count once for each partition.
type TopicCounts struct {
	MessagesIn, BytesIn, BytesOut, BytesRejected atomic.Int64
	ProduceRequests, FailedProduceRequests       atomic.Int64
	FetchRequests, FailedFetchRequests           atomic.Int64
}

// topicCounters has the counters of each topic. To find those of a topic is to
// look into a map that does not change: no lock and no allocation.
//
// Names come from clients' requests, but only those of topics that this broker
// has a partition of get here, and of them at most max: what is beyond is counted
// together. Topics that are gone are forgotten when there is no more room, and by
// each reading.
type topicCounters struct {
	max   int
	known atomic.Pointer[map[string]*TopicCounts]
	rest  TopicCounts

	mu   sync.Mutex                  // of changing known
	full atomic.Pointer[image.Image] // with this one there was no room
}

func newTopicCounters(most int) *topicCounters {
	t := &topicCounters{max: most}
	t.known.Store(&map[string]*TopicCounts{})
	return t
}

// of returns a topic's counters, those of the rest where there are too many.
func (t *topicCounters) of(name string, im *image.Image) *TopicCounts {
	if c := (*t.known.Load())[name]; c != nil {
		return c
	}
	if t.full.Load() == im { // no topic can have gone
		return &t.rest
	}
	return t.add(name, im)
}

func (t *topicCounters) add(name string, im *image.Image) *TopicCounts {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := *t.known.Load()
	if c := known[name]; c != nil {
		return c
	}
	next := kept(known, im)
	if len(next) >= t.max {
		t.full.Store(im)
		return &t.rest
	}
	c := new(TopicCounts)
	next[name] = c
	t.known.Store(&next)
	return c
}

// kept are the counters of the topics that an image still has.
func kept(known map[string]*TopicCounts, im *image.Image) map[string]*TopicCounts {
	next := make(map[string]*TopicCounts, len(known)+1)
	for name, c := range known {
		if im.TopicByName(name) != nil {
			next[name] = c
		}
	}
	return next
}

// OtherTopics stands for the topics beyond the limit; no topic can have that name.
const OtherTopics = "(other)"

// EachTopic gives the counters of each topic that is still there, and at last those
// of OtherTopics if anything was counted for them.
func (h *Handlers) EachTopic(f func(name string, c *TopicCounts)) {
	t := h.topics
	t.mu.Lock()
	known := kept(*t.known.Load(), h.cfg.Image())
	t.known.Store(&known)
	t.mu.Unlock()
	for name, c := range known {
		f(name, c)
	}
	if r := &t.rest; r.ProduceRequests.Load()+r.FetchRequests.Load() > 0 {
		f(OtherTopics, r)
	}
}

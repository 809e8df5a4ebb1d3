package replica

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/listener/quota"
	"kvorum/metadatalog/image"
)

// throttle bounds the bytes a second that this broker sends to, or fetches for,
// replicas that are not in sync and are named by their topic's config (KIP-73,
// ReplicationQuotaManager). Replicas in the ISR are counted and never held back:
// a throttle must not cost a partition its replicas.
type throttle struct {
	clock clock.Clock
	// rateKey is the broker's config with the bound, listKey the topic's one with
	// the replicas.
	rateKey, listKey string
	// named is how many topics name replicas of this broker: without any, a read
	// costs one look at it, and not even the time is asked for.
	named atomic.Int32

	mu     sync.Mutex
	topics map[string]throttled // only those that name some of this broker
	meter  quota.Meter
}

// throttled are the partitions of a topic whose replicas here are throttled.
type throttled struct {
	all        bool
	partitions []kafka.PartitionID // ascending
}

func newThrottle(c clock.Clock, rateKey, listKey string, w quota.Window) *throttle {
	return &throttle{clock: c, rateKey: rateKey, listKey: listKey, topics: map[string]throttled{}, meter: quota.Meter{Window: w}}
}

// bound takes the broker's configs.
func (t *throttle) bound(set *settings) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.meter.Bound = float64(set.layers.Number(t.rateKey))
}

// take takes a topic's configs, nil where it has none any more.
func (t *throttle) take(topic string, c *image.ResourceConfig, self kafka.BrokerID) {
	var list throttled
	if c != nil {
		text, _ := c.Get(t.listKey)
		list = throttledHere(text, self)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if list.all || len(list.partitions) > 0 {
		t.topics[topic] = list
	} else {
		delete(t.topics, topic)
	}
	t.named.Store(int32(len(t.topics)))
}

// throttledHere reads the value of a list of throttled replicas, which was checked
// when it was set (TopicConfigHandler.parseThrottledPartitions).
func throttledHere(text string, self kafka.BrokerID) (list throttled) {
	for entry := range strings.SplitSeq(text, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "*" {
			return throttled{all: true}
		}
		partition, broker, _ := strings.Cut(entry, ":")
		if broker != strconv.Itoa(int(self)) {
			continue
		}
		if id, err := strconv.ParseInt(partition, 10, 32); err == nil {
			list.partitions = append(list.partitions, kafka.PartitionID(id))
		}
	}
	slices.Sort(list.partitions)
	return list
}

// names reports whether the replica of a partition here is throttled, under mu.
func (t *throttle) names(tp kafka.TopicPartition) bool {
	list, ok := t.topics[tp.Topic]
	if !ok {
		return false
	}
	_, found := slices.BinarySearch(list.partitions, tp.Partition)
	return list.all || found
}

// count counts bytes of a partition, if it is throttled; in sync or not.
func (t *throttle) count(tp kafka.TopicPartition, bytes int) {
	if t.named.Load() == 0 || bytes == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.names(tp) {
		t.meter.Record(float64(bytes), t.clock.Now())
	}
}

// exceeded is how long a replica that is not in sync must wait, 0 if it need not:
// until the rate is within its bound again, at most the length of a sample.
func (t *throttle) exceeded(tp kafka.TopicPartition) time.Duration {
	if t.named.Load() == 0 {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.names(tp) {
		return 0
	}
	return t.meter.Wait(t.clock.Now())
}

// throttle takes what an image changes.
func (ps *Partitions) throttle(c *image.Changes, set *settings) {
	for _, t := range []*throttle{ps.sending, ps.fetching} {
		t.bound(set)
		for r := range c.Configs() {
			if resource := r.Either().Resource; resource.Type == image.ResourceTopic {
				t.take(resource.Name, r.New, ps.self)
			}
		}
	}
}

package server_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// throttles notes for how long a client was told to be silent.
type throttles struct {
	mu    sync.Mutex
	times []time.Duration
}

func (h *throttles) OnBrokerThrottle(_ kgo.BrokerMetadata, wait time.Duration, _ bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.times = append(h.times, wait)
}

// expect checks that the client was throttled, and each time for so long.
func (h *throttles) expect(t *testing.T, least, most time.Duration) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.times) == 0 {
		t.Error("the client was not throttled")
	}
	for _, wait := range h.times {
		if wait < least || wait > most {
			t.Errorf("throttled for %v of %v, want %v to %v", wait, h.times, least, most)
		}
	}
}

// setQuota does what kafka-configs does for a client id; nil takes the quota away.
func setQuota(ctx context.Context, t *testing.T, c *kgo.Client, clientID, key string, value float64) {
	t.Helper()
	req := kmsg.NewPtrAlterClientQuotasRequest()
	e := kmsg.NewAlterClientQuotasRequestEntry()
	e.Entity = []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "client-id", Name: &clientID}}
	e.Ops = []kmsg.AlterClientQuotasRequestEntryOp{{Key: key, Value: value}}
	req.Entries = append(req.Entries, e)
	res, err := req.RequestWith(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(res.Entries[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
}

func createTopic(ctx context.Context, t *testing.T, c *kgo.Client, name string, partitions int32) (throttle time.Duration, err error) {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	req.Topics = append(req.Topics, topic)
	res, err := req.RequestWith(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(res.ThrottleMillis) * time.Millisecond, kerr.ErrorForCode(res.Topics[0].ErrorCode)
}

// TestQuotas: quotas that are set while the node runs hold its clients back by the
// times that Kafka's formula gives, and change nothing but the pace.
func TestQuotas(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	address, stop := run(t, combined(t))
	operator := client(t, address)
	setQuota(ctx, t, operator, "writer", "producer_byte_rate", 10_000)
	setQuota(ctx, t, operator, "reader", "consumer_byte_rate", 10_000)
	setQuota(ctx, t, operator, "admin", "controller_mutation_rate", 10)
	if wait, err := createTopic(ctx, t, operator, "orders", 1); err != nil || wait != 0 {
		t.Fatal(err, wait)
	}

	// 112,000 bytes and their headers in the window of 10 s are 11,200 a second: over
	// by about 12%, which 1.2 s of silence make good.
	held := &throttles{}
	writer := client(t, address, kgo.ClientID("writer"), kgo.WithHooks(held), kgo.DefaultProduceTopic("orders"),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0))
	for range 4 {
		if err := writer.ProduceSync(ctx, kgo.StringRecord(strings.Repeat("x", 28_000))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	held.expect(t, 500*time.Millisecond, 4*time.Second)

	held = &throttles{}
	reader := client(t, address, kgo.ClientID("reader"), kgo.WithHooks(held), kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for n := 0; n < 4; {
		fetches := reader.PollFetches(ctx)
		if err := errors.Join(fetches.Err(), ctx.Err()); err != nil {
			t.Fatal(err)
		}
		n += fetches.NumRecords()
	}
	held.expect(t, 100*time.Millisecond, 4*time.Second)

	// 110 tokens: the first request may overdraw them, the second must wait until
	// there are some again.
	admin := client(t, address, kgo.ClientID("admin"))
	if wait, err := createTopic(ctx, t, admin, "wide", 120); err != nil || wait != 0 {
		t.Error(err, wait)
	}
	wait, err := createTopic(ctx, t, admin, "more", 1)
	if !errors.Is(err, kerr.ThrottlingQuotaExceeded) || wait <= 0 || wait > time.Second {
		t.Error("beyond the quota:", err, wait)
	}
	if wait, err := createTopic(ctx, t, operator, "others", 1); err != nil || wait != 0 {
		t.Error("somebody without a quota:", err, wait)
	}
	for deadline := time.Now().Add(patience); err != nil; _, err = createTopic(ctx, t, admin, "more", 1) {
		if time.Now().After(deadline) {
			t.Fatal("silence does not pay:", err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

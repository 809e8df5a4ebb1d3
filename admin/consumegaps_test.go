package admin_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/admin"
	"kvorum/broker/kvorumtest"
)

// records writes ten records of one key and one of another, each in a segment of
// its own, to a topic that is compacted.
func records(ctx context.Context, t *testing.T, c *admin.Cluster, topic string) {
	t.Helper()
	value := func(s string) *string { return &s }
	client, a := c.Admin()
	_, err := a.CreateTopic(ctx, 1, 1, map[string]*string{
		"cleanup.policy": value("compact,delete"), "segment.ms": value("1"), "min.cleanable.dirty.ratio": value("0"),
		"message.timestamp.type": value("CreateTime"), "retention.ms": value("-1"),
	}, topic)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now().Add(-time.Hour)
	for n := range 11 {
		key := "a"
		if n == 10 {
			key = "b"
		}
		// One at a time, so that each is a batch.
		r := &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(strconv.Itoa(n)), Timestamp: start.Add(time.Duration(n) * time.Second)}
		if err := client.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func connected(ctx context.Context, t *testing.T) *admin.Cluster {
	t.Helper()
	broker := kvorumtest.Start(t, kvorumtest.Property("log.cleaner.backoff.ms", "50"))
	c, err := admin.Connect(ctx, admin.Access{Brokers: []string{broker}, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestGap asks a broker for offsets that compaction took.
func TestGap(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := connected(ctx, t)
	records(ctx, t, c, "compacted")
	empty := func(from, to int64, committed bool) bool {
		is, err := c.Gap(ctx, "compacted", from, to, committed)
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	for !empty(0, 9, false) { // until the cleaner was there
		time.Sleep(20 * time.Millisecond)
	}
	for _, g := range []struct {
		from, to int64
		empty    bool
	}{{0, 10, false}, {3, 9, true}, {9, 10, false}, {10, 11, false}, {11, 12, false}} {
		for _, committed := range []bool{false, true} {
			if got := empty(g.from, g.to, committed); got != g.empty {
				t.Errorf("offsets %d to %d (committed %v) are empty: %v", g.from, g.to, committed, got)
			}
		}
	}
}

// TestDeletedMeanwhile deletes all records after the ends of a read were settled.
func TestDeletedMeanwhile(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := connected(ctx, t)
	records(ctx, t, c, "deleted")
	end := admin.EndOfPartition
	o := &admin.Consume{Topics: []string{"deleted"}, Span: admin.Span{To: &end}}
	err := c.ConsumeAfter(ctx, o, func() {
		var offsets kadm.Offsets
		offsets.AddOffset("deleted", 0, 11, -1)
		_, a := c.Admin()
		if deleted, err := a.DeleteRecords(ctx, offsets); err != nil || deleted.Error() != nil {
			t.Error(err, deleted.Error())
		}
	}, func(_ *kgo.FetchPartition, r *kgo.Record) error {
		t.Errorf("record %d was read", r.Offset)
		return nil
	})
	if err != nil || ctx.Err() != nil {
		t.Error("the read did not end:", err, ctx.Err())
	}
}

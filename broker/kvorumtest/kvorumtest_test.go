package kvorumtest_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"kvorum/broker/kvorumtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStart: two nodes in one process know nothing of each other, and each takes
// and gives a record.
func TestStart(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, value := range []string{"one", "two"} {
		address := kvorumtest.Start(t, kvorumtest.Property("num.partitions", "2"))
		c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.AllowAutoTopicCreation(),
			kgo.DefaultProduceTopic("words"), kgo.ConsumeTopics("words"))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr(); err != nil {
			t.Fatal(err)
		}
		got := c.PollFetches(ctx).Records()
		c.Close()
		if len(got) != 1 || string(got[0].Value) != value {
			t.Errorf("read %v, want %s", got, value)
		}
	}
}

// BenchmarkStart is from nothing to serving; the end of the node is not measured.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		t := &turn{B: b}
		kvorumtest.Start(t)
		b.StopTimer()
		t.end()
		b.StartTimer()
	}
}

// turn is one turn of a benchmark, with an end of its own.
type turn struct {
	*testing.B
	cleanups []func()
}

func (t *turn) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (t *turn) end() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}

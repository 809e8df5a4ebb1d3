package replica

import (
	"context"
	"testing"
	"time"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

func (w *world) partition(name string) *Partition {
	w.t.Helper()
	p, err := w.ps.Lookup(tp(name, 0))
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func TestListOffset(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("orders"), partition("orders", 0, self, other))
	w.mustProduce("orders", 3) // at 1000 ms
	w.follow(other, from("orders", 0, 2))
	p := w.partition("orders")
	for name, c := range map[string]struct {
		query OffsetQuery
		want  OffsetAnswer
	}{
		"latest, to a consumer":   {OffsetQuery{TimestampMs: Latest, Consumer: true}, OffsetAnswer{2, -1, 0}},
		"latest, to a broker":     {OffsetQuery{TimestampMs: Latest}, OffsetAnswer{3, -1, 0}},
		"earliest":                {OffsetQuery{TimestampMs: Earliest, Consumer: true}, OffsetAnswer{0, -1, 0}},
		"of a time":               {OffsetQuery{TimestampMs: 1000, Consumer: true}, OffsetAnswer{0, 1000, 0}},
		"of a time that is ahead": {OffsetQuery{TimestampMs: 1001, Consumer: true}, noAnswer},
		"of the largest time":     {OffsetQuery{TimestampMs: MaxTimestamp, Consumer: true}, OffsetAnswer{0, 1000, 0}},
		"in remote storage":       {OffsetQuery{TimestampMs: LatestTiered, Consumer: true}, noAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			c.query.LeaderEpoch = kafka.NoEpoch
			got, err := p.ListOffset(c.query)
			if err != nil || got != c.want {
				t.Fatalf("got %+v and %v, want %+v", got, err, c.want)
			}
		})
	}
}

func TestAfterAnElectionTheEndIsNotKnown(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("orders"), partition("orders", 0, self, other))
	w.mustProduce("orders", 3)
	w.publish(elect("orders", 0, self))
	p := w.partition("orders")
	latest := OffsetQuery{TimestampMs: Latest, Consumer: true, LeaderEpoch: kafka.NoEpoch}
	_, err := p.ListOffset(latest)
	wantCode(t, err, errors.OffsetNotAvailable)
	w.follow(other, from("orders", 0, 3))
	if got, err := p.ListOffset(latest); err != nil || got.Offset != 3 || got.Epoch != 1 {
		t.Fatalf("got %+v and %v", got, err)
	}
}

func TestEpochEnds(t *testing.T) {
	w := newWorld(t)
	w.alone("orders", 1)
	w.mustProduce("orders", 3)
	w.publish(elect("orders", 0, self))
	w.publish(elect("orders", 0, self))
	w.mustProduce("orders", 2)
	p := w.partition("orders")
	for wanted, want := range map[kafka.LeaderEpoch]kafka.EpochOffset{
		0: {Epoch: 0, Offset: 3}, 1: {Epoch: 0, Offset: 3}, 2: {Epoch: 2, Offset: 5}, 3: {Epoch: kafka.NoEpoch, Offset: kafka.NoOffset},
	} {
		got, err := p.EpochEnd(kafka.NoEpoch, wanted)
		if err != nil || got != want {
			t.Errorf("epoch %d ends at %+v (%v), want %+v", wanted, got, err, want)
		}
	}
	in := from("orders", 0, 5)
	in.LastEpoch = 1 // a reader with records 3 and 4 of an epoch that was never led here
	if r := w.follow(other, in); errors.CodeOf(r.Err) != errors.NotLeaderOrFollower {
		t.Fatalf("a broker without a replica got %+v", r)
	}
	r := w.fetch(consume(0), in)[0]
	if r.Err != nil || r.Diverging != (kafka.EpochOffset{Epoch: 0, Offset: 3}) || r.Records.Len() != 0 {
		t.Fatalf("got %+v", r)
	}
}

func TestDeleteRecords(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("orders"), partition("orders", 0, self, other), topic("compacted"), partition("compacted", 0, self),
		setting1("compacted", "cleanup.policy", "compact"))
	w.mustProduce("orders", 3)
	w.follow(other, from("orders", 0, 3))
	remove := func(name string, offset kafka.Offset, timeout time.Duration) DeleteRecordsResult {
		return w.ps.DeleteRecords(context.Background(), timeout, []DeleteRecordsPartition{{tp(name, 0), offset}}, nil)[0]
	}
	wantCode(t, remove("orders", 4, 0).Err, errors.OffsetOutOfRange)
	wantCode(t, remove("compacted", 0, 0).Err, errors.PolicyViolation)
	wantCode(t, remove("__consumer_offsets", 0, 0).Err, errors.InvalidTopicException)
	wantCode(t, remove("nobody's", 0, 0).Err, errors.UnknownTopicOrPartition)
	wantCode(t, remove("orders", 1, time.Millisecond).Err, errors.RequestTimedOut)

	done := make(chan DeleteRecordsResult)
	go func() { done <- remove("orders", ToHighWatermark, patience) }()
	w.whenAsleep("orders", 0)
	in := from("orders", 0, 3)
	in.LogStart = 3
	w.follow(other, in)
	if r := <-done; r.Err != nil || r.LowWatermark != 3 {
		t.Fatalf("got %+v", r)
	}
	wantCode(t, w.fetch(consume(0), from("orders", 0, 2))[0].Err, errors.OffsetOutOfRange)
}

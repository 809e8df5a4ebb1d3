package replica

import (
	"context"
	"testing"
	"time"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

func TestProduceAndFetchAlone(t *testing.T) {
	w := newWorld(t)
	w.alone("orders", 1)
	r := w.produce(ProduceOptions{Acks: -1, Timeout: patience}, "orders", 3)
	if r.Err != nil || r.First != 0 || r.Last != 2 {
		t.Fatalf("produced %+v", r)
	}
	if at := w.mustProduce("orders", 2); at != 3 {
		t.Fatalf("the second batch is at %d", at)
	}
	got := w.fetch(consume(0), from("orders", 0, 0))[0]
	if got.Err != nil || got.HighWatermark != 5 || got.LastStable != 5 || got.LogStart != 0 {
		t.Fatalf("fetched %+v", got)
	}
	if n := count(t, got.Records); n != 5 {
		t.Fatalf("fetched %d records, want 5", n)
	}
}

func TestWhoIsToldWhat(t *testing.T) {
	w := newWorld(t)
	w.alone("orders", 1)
	w.publish(topic("elsewhere"), partition("elsewhere", 0, other),
		topic("followed"), partition("followed", 0, other, self))
	broken := partition("broken", 0, self)
	broken.Directories = []kafka.DirectoryID{{9}} // one that this broker does not have
	w.publish(topic("broken"), broken)
	one := func(name string) error {
		return w.ps.Produce(context.Background(), ProduceOptions{Acks: 1}, []ProducePartition{{TopicPartition: tp(name, 0), Records: someRecords(1)}}, nil)[0].Err
	}
	for name, want := range map[string]errors.Code{
		"orders":             errors.None,
		"nobody's":           errors.UnknownTopicOrPartition,
		"elsewhere":          errors.NotLeaderOrFollower,
		"followed":           errors.NotLeaderOrFollower,
		"broken":             errors.KafkaStorageError,
		"__consumer_offsets": errors.InvalidTopicException,
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, one(name), want) })
	}
	wantCode(t, w.produce(ProduceOptions{Acks: 2}, "orders", 1).Err, errors.InvalidRequiredAcks)
	hint := w.produce(ProduceOptions{Acks: 1}, "followed", 1).Leader
	if hint != (CurrentLeader{ID: other, Epoch: 0}) {
		t.Fatalf("the client is pointed to %+v", hint)
	}
	wrong := from("orders", 0, 0)
	wrong.TopicID = topicID("elsewhere")
	wantCode(t, w.fetch(consume(0), wrong)[0].Err, errors.InconsistentTopicID)
}

func TestLeaderEpochsAreFenced(t *testing.T) {
	w := newWorld(t)
	w.alone("orders", 1)
	w.publish(elect("orders", 0, self), elect("orders", 0, self))
	for epoch, want := range map[kafka.LeaderEpoch]errors.Code{
		kafka.NoEpoch: errors.None, 0: errors.FencedLeaderEpoch, 1: errors.FencedLeaderEpoch, 2: errors.None, 3: errors.UnknownLeaderEpoch,
	} {
		in := from("orders", 0, 0)
		in.LeaderEpoch = epoch
		wantCode(t, w.fetch(consume(0), in)[0].Err, want)
	}
}

func TestOffsetsOutOfTheLog(t *testing.T) {
	w := newWorld(t)
	w.alone("orders", 1)
	w.mustProduce("orders", 4)
	wantCode(t, w.fetch(consume(0), from("orders", 0, 4))[0].Err, errors.None)
	wantCode(t, w.fetch(consume(0), from("orders", 0, 5))[0].Err, errors.OffsetOutOfRange)
	wantCode(t, w.fetch(consume(0), from("orders", 0, -1))[0].Err, errors.OffsetOutOfRange)
}

func TestTheFirstBatchComesWhateverItsSize(t *testing.T) {
	w := newWorld(t)
	w.alone("orders", 2)
	w.mustProduce("orders", 5)
	o := consume(0)
	o.MaxBytes = 1
	got := w.fetch(o, from("orders", 1, 0), from("orders", 0, 0))
	if n := count(t, got[1].Records); n != 5 {
		t.Fatalf("got %d records, want one batch of 5", n)
	}
	o.HardMaxBytes = true
	if got := w.fetch(o, from("orders", 0, 0)); got[0].Records.Len() != 0 {
		t.Fatalf("got %d bytes where 1 is allowed", got[0].Records.Len())
	}
}

func TestALongPollIsWokenByAnAppend(t *testing.T) {
	w := newWorld(t)
	w.alone("orders", 2)
	done := make(chan []FetchResult)
	go func() { done <- w.fetch(consume(patience), from("orders", 1, 0), from("orders", 0, 0)) }()
	w.whenAsleep("orders", 0)
	w.mustProduce("orders", 2)
	got := <-done
	if n := count(t, got[1].Records); n != 2 {
		t.Fatalf("woken with %d records", n)
	}
	if p, _ := w.ps.Lookup(tp("orders", 0)); p.fetches.head != nil {
		t.Fatal("the wait is still in the list")
	}
}

func TestALongPollWaitsForMinBytes(t *testing.T) {
	w := newWorld(t)
	w.alone("orders", 1)
	one := len(someRecords(1))
	done := make(chan []FetchResult)
	o := consume(patience)
	o.MinBytes = 3 * one
	go func() { done <- w.fetch(o, from("orders", 0, 0)) }()
	w.whenAsleep("orders", 0)
	for range 3 {
		w.mustProduce("orders", 1)
	}
	if n := count(t, (<-done)[0].Records); n != 3 {
		t.Fatalf("woken with %d records, want 3", n)
	}
	o.MaxWait = time.Millisecond
	o.MinBytes = 100 * one
	if n := count(t, w.fetch(o, from("orders", 0, 0))[0].Records); n != 3 {
		t.Fatalf("timed out with %d records, want the 3 that are there", n)
	}
}

func TestALongPollEndsWithThePartition(t *testing.T) {
	w := newWorld(t)
	w.alone("orders", 1)
	done := make(chan []FetchResult)
	go func() { done <- w.fetch(consume(patience), from("orders", 0, 0)) }()
	w.whenAsleep("orders", 0)
	w.publish(&record.RemoveTopicRecord{TopicID: topicID("orders")})
	wantCode(t, (<-done)[0].Err, errors.UnknownTopicOrPartition)
}

// whenAsleep returns when somebody sleeps on a partition.
func (w *world) whenAsleep(name string, p int) {
	w.t.Helper()
	part, err := w.ps.Lookup(tp(name, p))
	if err != nil {
		w.t.Fatal(err)
	}
	w.eventually("somebody sleeps on "+name, func() bool {
		part.mu.Lock()
		defer part.mu.Unlock()
		return part.fetches.head != nil || part.commits.head != nil
	})
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("it never came that %s", what)
		}
	}
}

func TestAcksAllWaitsForTheFollower(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("orders"), partition("orders", 0, self, other))
	done := make(chan ProduceResult)
	go func() { done <- w.produce(ProduceOptions{Acks: -1, Timeout: patience}, "orders", 2) }()
	w.whenAsleep("orders", 0)
	if got := w.fetch(consume(0), from("orders", 0, 0))[0]; got.HighWatermark != 0 || got.Records.Len() != 0 {
		t.Fatalf("a consumer sees %+v before the follower has it", got)
	}
	if got := w.follow(other, from("orders", 0, 0)); got.Err != nil || count(t, got.Records) != 2 {
		t.Fatalf("the follower got %+v", got)
	}
	if got := w.follow(other, from("orders", 0, 2)); got.Err != nil {
		t.Fatal(got.Err)
	}
	if r := <-done; r.Err != nil || r.Waited <= 0 {
		t.Fatalf("%v after a wait of %v for the follower", r.Err, r.Waited)
	}
	if got := w.fetch(consume(0), from("orders", 0, 0))[0]; got.HighWatermark != 2 || count(t, got.Records) != 2 {
		t.Fatalf("a consumer sees %+v", got)
	}
	r := w.produce(ProduceOptions{Acks: -1, Timeout: time.Millisecond}, "orders", 1)
	wantCode(t, r.Err, errors.RequestTimedOut)
	stranger := w.follow(third, from("orders", 0, 2))
	wantCode(t, stranger.Err, errors.NotLeaderOrFollower)
}

func TestADeposedLeaderAcknowledgesNothing(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("orders"), partition("orders", 0, self, other))
	done := make(chan ProduceResult)
	go func() { done <- w.produce(ProduceOptions{Acks: -1, Timeout: patience}, "orders", 2) }()
	w.whenAsleep("orders", 0)
	w.publish(elect("orders", 0, other))
	w.publish(elect("orders", 0, self))
	r := <-done
	wantCode(t, r.Err, errors.NotLeaderOrFollower)
}

// TestTheHighWatermarkOfAnEpoch: who has appended as a leader does not take for its own
// what is committed after it has followed.
func TestTheHighWatermarkOfAnEpoch(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("orders"), partition("orders", 0, self, other))
	w.mustProduce("orders", 1)
	w.follow(other, from("orders", 0, 1))
	p, err := w.ps.Lookup(tp("orders", 0))
	if err != nil {
		t.Fatal(err)
	}
	epoch, _ := p.LeaderEpoch()
	if hw, err := p.CommittedUpTo(epoch); hw != 1 || err != nil {
		t.Errorf("committed up to %d, %v", hw, err)
	}
	w.publish(elect("orders", 0, other))
	_, err = p.CommittedUpTo(epoch)
	wantCode(t, err, errors.FencedLeaderEpoch)
	_, err = p.CommittedUpTo(epoch + 1)
	wantCode(t, err, errors.NotLeaderOrFollower)
}

func TestMinISR(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("orders"), partition("orders", 0, self, other), setting1("orders", "min.insync.replicas", "2"))
	w.publish(isr("orders", 0, self))
	wantCode(t, w.produce(ProduceOptions{Acks: -1, Timeout: patience}, "orders", 1).Err, errors.NotEnoughReplicas)
	w.mustProduce("orders", 1)
	if got := w.fetch(consume(0), from("orders", 0, 0))[0]; got.HighWatermark != 0 {
		t.Fatalf("committed to %d under min.insync.replicas", got.HighWatermark)
	}
	w.publish(setting1("orders", "min.insync.replicas", "1"))
	if got := w.fetch(consume(0), from("orders", 0, 0))[0]; got.HighWatermark != 1 {
		t.Fatalf("committed to %d, want 1", got.HighWatermark)
	}
}

func TestAnISRThatShrinksAfterTheAppend(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("orders"), partition("orders", 0, self, other, third), setting1("orders", "min.insync.replicas", "2"))
	done := make(chan ProduceResult)
	go func() { done <- w.produce(ProduceOptions{Acks: -1, Timeout: patience}, "orders", 2) }()
	w.whenAsleep("orders", 0)
	p, err := w.ps.Lookup(tp("orders", 0))
	if err != nil {
		t.Fatal(err)
	}
	// Both at once, as far as the sleeper can see: committed, then shrunk.
	w.follow(other, from("orders", 0, 2))
	p.mu.Lock()
	hw := p.leader.HighWatermark()
	p.mu.Unlock()
	if hw != 0 {
		t.Fatalf("committed to %d without the third", hw)
	}
	w.publish(isr("orders", 0, self))
	w.follow(third, from("orders", 0, 2))
	select {
	case r := <-done:
		t.Fatalf("acknowledged under min.insync.replicas: %+v", r)
	default:
	}
	w.publish(isr("orders", 0, self, other))
	if r := <-done; r.Err != nil {
		t.Fatal(r.Err)
	}
}

// TestFetchOfManyFiles: a fetch of more partitions than files may be open reads as many
// as there may, and the next ones the rest.
func TestFetchOfManyFiles(t *testing.T) {
	const partitions = 3 * openFiles
	w := newWorld(t)
	w.alone("orders", partitions)
	left := map[kafka.PartitionID]bool{}
	for p := range partitions {
		in := []ProducePartition{{TopicPartition: tp("orders", p), Records: someRecords(1)}}
		if r := w.ps.Produce(t.Context(), ProduceOptions{Acks: 1, NowMs: time.Now().UnixMilli()}, in, nil)[0]; r.Err != nil {
			t.Fatal(r.Err)
		}
		left[kafka.PartitionID(p)] = true
	}
	for fetches := 0; len(left) > 0; fetches++ {
		if fetches == 4 {
			t.Fatalf("%d partitions were not read by %d fetches", len(left), fetches)
		}
		var in []FetchPartition
		for p := range partitions {
			if left[kafka.PartitionID(p)] {
				in = append(in, from("orders", p, 0))
			}
		}
		results := w.fetch(consume(0), in...)
		held := 0
		for i, r := range results {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			if r.Records.Len() > 0 {
				held++
				delete(left, in[i].Partition)
			}
		}
		if held > openFiles+1 {
			t.Errorf("a fetch holds %d files, of which %d may be open", held, openFiles)
		}
		ReleaseAll(results)
	}
}

package replica

import (
	"context"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"kvorum/broker/replica/core"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// A leader is killed after the controllers have taken a follower into its ISR and
// before it has heard of it. It leads on from the image that it has, in the same
// epoch: nothing is committed without that follower (the bug class of a zombie
// that acknowledges what its successor has not).
func TestAKilledLeaderWaitsForWhomItHadProposed(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.publish(topic("orders"), partition("orders", 0, self, other), isr("orders", 0, self), setting1("orders", "min.insync.replicas", "1"))
	end := w.mustProduce("orders", 3) + 3
	w.follow(other, from("orders", 0, end))
	if asked := w.answer(errors.UnknownServerError); !slices.Equal(asked.NewISR, []int32{1, 2}) {
		t.Fatalf("asked %+v", asked)
	}
	w.restart(w.image)
	w.mustProduce("orders", 2)
	p, err := w.ps.Lookup(tp("orders", 0))
	if err != nil {
		t.Fatal(err)
	}
	if hw := p.HighWatermark(); hw > end {
		t.Fatalf("the high watermark is %d without the follower that may be in the ISR, which has %d", hw, end)
	}
	if change := w.ps.isrs.proposals[p]; change == nil || !change.Has(other) {
		t.Fatalf("%+v is proposed again", change)
	}
	// The image says that it was not taken in and can no longer be.
	w.publish(elect("orders", 0, self))
	if hw := p.HighWatermark(); hw != end+2 {
		t.Fatalf("the high watermark is %d of %d", hw, end+2)
	}
	w.ps.journal.tidy()
	data, err := readJournal(w.fs, "/logs/"+journalName)
	if err != nil || string(data) != "0\n0\n" {
		t.Fatalf("the journal holds %q, %v", data, err)
	}
}

// A leader is killed after its proposal was refused and more was committed without the
// follower in it. It leads on in the same epoch: a proposal that it finds again would
// put somebody into the ISR who does not have what is committed.
func TestAKilledLeaderForgetsWhoWasRefused(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.publish(topic("orders"), partition("orders", 0, self, other), isr("orders", 0, self), setting1("orders", "min.insync.replicas", "1"))
	end := w.mustProduce("orders", 3) + 3
	w.follow(other, from("orders", 0, end))
	w.answer(errors.IneligibleReplica)
	w.publish(broker(other, true))
	p, err := w.ps.Lookup(tp("orders", 0))
	if err != nil {
		t.Fatal(err)
	}
	w.mustProduce("orders", 2)
	w.eventually("the leader goes on without it", func() bool { return p.HighWatermark() == end+2 })
	w.restart(w.image)
	if p, err = w.ps.Lookup(tp("orders", 0)); err != nil {
		t.Fatal(err)
	}
	if change := w.ps.isrs.proposals[p]; change != nil {
		t.Fatalf("%+v is proposed again", change)
	}
	if hw := p.HighWatermark(); hw != end+2 {
		t.Fatalf("the high watermark is %d of %d", hw, end+2)
	}
}

// A refusal that the journal cannot note is none: the leader waits for the follower
// and asks again.
func TestNoRefusalWithoutTheJournal(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("orders"), partition("orders", 0, self, other), isr("orders", 0, self))
	w.follow(other, from("orders", 0, 0))
	p, err := w.ps.Lookup(tp("orders", 0))
	if err != nil {
		t.Fatal(err)
	}
	w.ps.isrs.mu.Lock()
	batch := maps.Clone(w.ps.isrs.proposals)
	w.ps.isrs.mu.Unlock()
	if failed := w.ps.journal.record(batch); failed != nil {
		t.Fatal(failed)
	}
	refused := map[partitionKey]core.Answered{{p.topicID, 0}: {Outcome: core.Refused}}
	whole := w.ps.journal.fs
	w.ps.journal.fs = refusingFS{w.fs}
	if w.ps.answer(batch, refused) || !p.proposes(batch[p]) {
		t.Fatal("the proposal is over, and the journal has it still")
	}
	w.ps.journal.fs = whole
	if !w.ps.answer(batch, refused) || p.proposes(batch[p]) {
		t.Fatal("the proposal is not over")
	}
	if data, err := readJournal(w.fs, "/logs/"+journalName); err != nil || string(data) != "0\n0\n" {
		t.Fatalf("the journal holds %q, %v", data, err)
	}
}

// What is not journaled is not sent.
func TestNoProposalWithoutItsJournal(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("orders"), partition("orders", 0, self, other), isr("orders", 0, self))
	w.ps.journal.fs, w.ps.controller = refusingFS{w.fs}, refusingController{t}
	w.follow(other, from("orders", 0, 0))
	w.ps.isrs.mu.Lock()
	batch := maps.Clone(w.ps.isrs.proposals)
	w.ps.isrs.mu.Unlock()
	if len(batch) != 1 {
		t.Fatalf("%d partitions propose", len(batch))
	}
	if w.ps.sendISRs(t.Context(), batch) {
		t.Fatal("nothing is to be sent again")
	}
}

// refusingFS makes no files.
type refusingFS struct{ vfs.FS }

func (refusingFS) Create(string, vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, os.ErrPermission
}

// refusingController must not be asked.
type refusingController struct{ t *testing.T }

func (c refusingController) Do(_ context.Context, req kmsg.Request) (kmsg.Response, error) {
	c.t.Errorf("asked %+v", req)
	return nil, os.ErrPermission
}

func drawChanges(t *rapid.T) map[partitionKey]*core.Proposal {
	out := map[partitionKey]*core.Proposal{}
	for range rapid.IntRange(0, 5).Draw(t, "entries") {
		key := partitionKey{kafka.TopicID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "topic")), kafka.PartitionID(rapid.Int32().Draw(t, "partition"))}
		c := &core.Proposal{LeaderEpoch: kafka.LeaderEpoch(rapid.Int32().Draw(t, "leader epoch")), PartitionEpoch: kafka.PartitionEpoch(rapid.Int32().Draw(t, "partition epoch"))}
		for range rapid.IntRange(1, 4).Draw(t, "members") {
			c.ISR = append(c.ISR, core.Member{ID: kafka.BrokerID(rapid.Int32().Draw(t, "id")), Epoch: kafka.BrokerEpoch(rapid.Int64().Draw(t, "epoch"))})
		}
		c.Old = rapid.IntRange(0, len(c.ISR)).Draw(t, "old")
		out[key] = c
	}
	return out
}

func TestJournalReadsWhatItWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawChanges(t)
		got, err := parseJournal(appendJournal(nil, want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("read %v, %v; wrote %v", got, err, want)
		}
	})
}

func TestDamagedJournals(t *testing.T) {
	for _, text := range []string{"1\n0\n", "0\n", "0\n1\n", "0\nx\n", "0\n1\nAAAAAAAAAAAAAAAAAAAAAA 0 0 0 1\n",
		"0\n1\nnotauuid 0 0 0 1 1:1\n", "0\n1\nAAAAAAAAAAAAAAAAAAAAAA 0 0 0 1 1:\n", "0\n1\nAAAAAAAAAAAAAAAAAAAAAA 0 0 0 99999999999 1:1\n"} {
		if got, err := parseJournal([]byte(text)); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

// FuzzJournal: bytes are refused, or read and written alike.
func FuzzJournal(f *testing.F) {
	f.Add([]byte("0\n1\n3Xq0FQ6xQ4qk1YfEHk2Fog 4 12 31 1 101:5021,102:5077\n"))
	f.Add([]byte("0\n0\n"))
	f.Add([]byte("0\n1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := parseJournal(data)
		if err != nil {
			return
		}
		again, err := parseJournal(appendJournal(nil, first))
		if err != nil || !reflect.DeepEqual(first, again) {
			t.Fatalf("%v, then %v, %v", first, again, err)
		}
	})
}

package producer

import (
	"encoding/binary"
	"math"
	"testing"

	"pgregory.net/rapid"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

const day = 24 * 60 * 60 * 1000

// data is the header of a data batch; the state looks at nothing else.
type data struct {
	id            kafka.ProducerID
	epoch         int16
	seq           int32
	offset        kafka.Offset
	count         int32
	at            int64
	transactional bool
}

func (d data) view() batch.View {
	if d.count == 0 {
		d.count = 1
	}
	b := make([]byte, batch.HeaderSize)
	binary.BigEndian.PutUint64(b, uint64(d.offset))
	binary.BigEndian.PutUint32(b[8:], batch.HeaderSize-batch.LogOverhead)
	b[16] = 2
	if d.transactional {
		b[22] = 0x10
	}
	binary.BigEndian.PutUint32(b[23:], uint32(d.count-1))
	binary.BigEndian.PutUint64(b[27:], uint64(d.at))
	binary.BigEndian.PutUint64(b[35:], uint64(d.at))
	binary.BigEndian.PutUint64(b[43:], uint64(d.id))
	binary.BigEndian.PutUint16(b[51:], uint16(d.epoch))
	binary.BigEndian.PutUint32(b[53:], uint32(d.seq))
	binary.BigEndian.PutUint32(b[57:], uint32(d.count))
	v, _, err := batch.Next(b)
	if err != nil {
		panic(err)
	}
	return v
}

// end is a control batch with the end of a transaction.
type end struct {
	id          kafka.ProducerID
	epoch       int16
	coordinator int32
	offset      kafka.Offset
	at          int64
	commit      bool
}

func (m end) view() batch.View {
	key, value := []byte{0, 0, 0, 0}, make([]byte, 6)
	if m.commit {
		key[3] = 1
	}
	binary.BigEndian.PutUint32(value[2:], uint32(m.coordinator))
	v := batch.View(batch.AppendControl(nil, m.offset, 0, m.at, []batch.ControlRecord{{Key: key, Value: value}}))
	v[22] |= 0x10
	binary.BigEndian.PutUint64(v[43:], uint64(m.id))
	binary.BigEndian.PutUint16(v[51:], uint16(m.epoch))
	return v
}

// feed appends one batch, as a log does.
func feed(s *State, origin Origin, v batch.View, version int16) (dup bool, done []Completed, err error) {
	s.Begin(origin)
	if _, dup, err = s.Add(v, version); dup || err != nil {
		return dup, nil, err
	}
	return false, s.Commit(v.EndOffset()), nil
}

func must(t testing.TB, s *State, origin Origin, v batch.View) []Completed {
	t.Helper()
	dup, done, err := feed(s, origin, v, 0)
	if err != nil || dup {
		t.Fatalf("append at %d: duplicate %v, %v", v.BaseOffset(), dup, err)
	}
	return done
}

func TestSequences(t *testing.T) {
	known := []data{{id: 7, epoch: 3, seq: 0, offset: 0, count: 5}, {id: 7, epoch: 3, seq: 5, offset: 5, count: 5}}
	for name, c := range map[string]struct {
		before []data
		next   data
		origin Origin
		code   errors.Code
		dup    bool
	}{
		"the next":                             {known, data{id: 7, epoch: 3, seq: 10}, Client, errors.None, false},
		"a gap":                                {known, data{id: 7, epoch: 3, seq: 11}, Client, errors.OutOfOrderSequenceNumber, false},
		"the last again":                       {known, data{id: 7, epoch: 3, seq: 5, count: 5}, Client, errors.None, true},
		"one before again":                     {known, data{id: 7, epoch: 3, seq: 0, count: 5}, Client, errors.None, true},
		"the last again, cut otherwise":        {known, data{id: 7, epoch: 3, seq: 5, count: 4}, Client, errors.OutOfOrderSequenceNumber, false},
		"the last again of an older epoch":     {known, data{id: 7, epoch: 2, seq: 5, count: 5}, Client, errors.InvalidProducerEpoch, false},
		"a new epoch from 0":                   {known, data{id: 7, epoch: 4, seq: 0}, Client, errors.None, false},
		"a new epoch from elsewhere":           {known, data{id: 7, epoch: 4, seq: 10}, Client, errors.OutOfOrderSequenceNumber, false},
		"unknown from 0":                       {nil, data{id: 7, epoch: 0, seq: 0}, Client, errors.None, false},
		"unknown from elsewhere":               {nil, data{id: 7, epoch: 5, seq: 100}, Client, errors.None, false},
		"replicated gap":                       {known, data{id: 7, epoch: 3, seq: 99}, Replication, errors.None, false},
		"replicated old epoch":                 {known, data{id: 7, epoch: 1, seq: 0}, Replication, errors.None, false},
		"replicated duplicate":                 {known, data{id: 7, epoch: 3, seq: 5, count: 5}, Replication, errors.None, false},
		"a coordinator without sequence":       {known, data{id: 7, epoch: 3, seq: NoSequence}, Coordinator, errors.None, false},
		"a coordinator with an old epoch":      {known, data{id: 7, epoch: 2, seq: NoSequence}, Coordinator, errors.InvalidProducerEpoch, false},
		"wrap to 0":                            {[]data{{id: 7, seq: math.MaxInt32 - 1, count: 2}}, data{id: 7, seq: 0}, Client, errors.None, false},
		"wrap within a batch":                  {[]data{{id: 7, seq: math.MaxInt32 - 1, count: 4}}, data{id: 7, seq: 2}, Client, errors.None, false},
		"wrapped duplicate":                    {[]data{{id: 7, seq: math.MaxInt32 - 1, count: 4}}, data{id: 7, seq: math.MaxInt32 - 1, count: 4}, Client, errors.None, true},
		"0 again without wrap":                 {known, data{id: 7, epoch: 3, seq: 0}, Client, errors.OutOfOrderSequenceNumber, false},
		"another producer":                     {known, data{id: 8, epoch: 0, seq: 0}, Client, errors.None, false},
		"no producer":                          {known, data{id: -1, epoch: -1, seq: -1}, Client, errors.None, false},
		"the sixth batch back is forgotten":    {sixBatches(), data{id: 7, seq: 0}, Client, errors.OutOfOrderSequenceNumber, false},
		"the fifth batch back is remembered":   {sixBatches(), data{id: 7, seq: 1}, Client, errors.None, true},
		"after a coordinator's unnumbered one": {[]data{{id: 7, seq: NoSequence}}, data{id: 7, seq: 0}, Client, errors.None, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(0, day)
			var at kafka.Offset
			for _, d := range c.before {
				d.offset = at
				must(t, s, Replication, d.view())
				at = d.view().EndOffset()
			}
			c.next.offset = at
			before := s.Snapshot()
			dup, _, err := feed(s, c.origin, c.next.view(), 0)
			if errors.CodeOf(err) != c.code || dup != c.dup {
				t.Fatalf("got duplicate %v, %v; want %v, %v", dup, err, c.dup, c.code)
			}
			if changed := string(before) != string(s.Snapshot()); changed != (c.code == errors.None && !dup && c.next.id >= 0) {
				t.Errorf("state changed: %v", changed)
			}
		})
	}
}

func sixBatches() []data {
	var all []data
	for i := range int32(6) {
		all = append(all, data{id: 7, seq: i})
	}
	return all
}

func TestDuplicateNamesTheEarlierBatch(t *testing.T) {
	s := New(0, day)
	must(t, s, Client, data{id: 1, seq: 0, offset: 10, count: 3, at: 77}.view())
	must(t, s, Client, data{id: 1, seq: 3, offset: 20, count: 1, at: 78}.view())
	s.Begin(Client)
	b, dup, err := s.Add(data{id: 1, seq: 0, offset: 99, count: 3}.view(), 0)
	if want := (Batch{LastSequence: 2, OffsetDelta: 2, LastOffset: 12, TimestampMs: 77}); !dup || err != nil || b != want || b.FirstOffset() != 10 {
		t.Fatalf("got %+v %v %v", b, dup, err)
	}
}

func TestMarkers(t *testing.T) {
	for name, c := range map[string]struct {
		open    bool
		marker  end
		version int16
		origin  Origin
		code    errors.Code
	}{
		"commits":                           {true, end{epoch: 2, coordinator: 5}, 0, Coordinator, errors.None},
		"old epoch":                         {true, end{epoch: 1, coordinator: 5}, 0, Coordinator, errors.InvalidProducerEpoch},
		"old epoch replicated":              {true, end{epoch: 1, coordinator: 5}, 0, Replication, errors.None},
		"bumped epoch":                      {true, end{epoch: 3, coordinator: 5}, 0, Coordinator, errors.None},
		"fenced coordinator":                {true, end{epoch: 2, coordinator: 3}, 0, Coordinator, errors.TransactionCoordinatorFenced},
		"fenced coordinator replicated":     {true, end{epoch: 2, coordinator: 3}, 0, Replication, errors.None},
		"version 2, the data's epoch":       {true, end{epoch: 2, coordinator: 5}, 2, Coordinator, errors.InvalidProducerEpoch},
		"version 2, the next epoch":         {true, end{epoch: 3, coordinator: 5}, 2, Coordinator, errors.None},
		"version 2, sent again":             {false, end{epoch: 2, coordinator: 5}, 2, Coordinator, errors.None},
		"version 2, older than sent again":  {false, end{epoch: 1, coordinator: 5}, 2, Coordinator, errors.InvalidProducerEpoch},
		"version 2, old epoch but no check": {true, end{epoch: 2, coordinator: 5}, 2, Replication, errors.None},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(0, day)
			must(t, s, Coordinator, end{id: 1, epoch: 1, coordinator: 4, offset: 0}.view())
			must(t, s, Client, data{id: 1, epoch: 2, offset: 1, transactional: c.open}.view())
			c.marker.id, c.marker.offset = 1, 2
			_, done, err := feed(s, c.origin, c.marker.view(), c.version)
			if errors.CodeOf(err) != c.code {
				t.Fatalf("got %v, want %v", err, c.code)
			}
			if ended := c.open && err == nil; ended != (len(done) == 1) {
				t.Errorf("completed %v", done)
			}
		})
	}
}

func TestLastMarkerEpochMayRepeat(t *testing.T) {
	s := New(0, day)
	must(t, s, Client, data{id: 1, epoch: maxEpoch, transactional: true}.view())
	if _, _, err := feed(s, Coordinator, end{id: 1, epoch: maxEpoch, offset: 1}.view(), 2); err != nil {
		t.Fatal(err)
	}
}

func TestTransactionsAndTheLastStableOffset(t *testing.T) {
	s := New(0, day)
	unstable := func(want kafka.Offset) {
		t.Helper()
		got, ok := s.FirstUnstable()
		if got != want || ok != (want != kafka.NoOffset) {
			t.Fatalf("first unstable offset is %d, want %d", got, want)
		}
	}
	unstable(-1)
	must(t, s, Client, data{id: 1, offset: 0, transactional: true, at: 5}.view())
	must(t, s, Client, data{id: 2, offset: 1, transactional: true, at: 6}.view())
	must(t, s, Client, data{id: 1, offset: 2, seq: 1, transactional: true, at: 7}.view())
	unstable(0)
	if got := s.OldestTransactionMs(); got != 7 {
		t.Errorf("oldest transaction wrote at %d, want 7", got)
	}
	if _, _, err := feed(s, Client, data{id: 1, offset: 3, seq: 2}.view(), 0); errors.CodeOf(err) != errors.InvalidTxnState {
		t.Errorf("a plain batch within a transaction: %v", err)
	}
	done := must(t, s, Coordinator, end{id: 1, offset: 3}.view())
	if want := (Completed{Producer: 1, First: 0, Last: 3, Aborted: true, LastStable: 1}); len(done) != 1 || done[0] != want {
		t.Fatalf("completed %+v, want %+v", done, want)
	}
	unstable(0) // its marker is not below the high watermark
	if o, _ := s.FirstUndecided(); o != 1 {
		t.Errorf("first undecided offset is %d, want 1", o)
	}
	s.HighWatermark(3)
	unstable(0)
	s.HighWatermark(4)
	unstable(1)
	done = must(t, s, Coordinator, end{id: 2, offset: 4, commit: true}.view())
	if want := (Completed{Producer: 2, First: 1, Last: 4, LastStable: 5}); len(done) != 1 || done[0] != want {
		t.Fatalf("completed %+v, want %+v", done, want)
	}
	s.HighWatermark(5)
	unstable(-1)
	if done := must(t, s, Coordinator, end{id: 2, offset: 5}.view()); len(done) != 0 {
		t.Errorf("an empty transaction completed as %v", done)
	}
}

// TestEmptyControlBatch: cleaning leaves the header of a marker behind.
func TestEmptyControlBatch(t *testing.T) {
	s := New(0, day)
	v := data{id: 4, epoch: 2, offset: 9}.view()
	v[22] |= 0x20
	binary.BigEndian.PutUint32(v[57:], 0)
	must(t, s, Replication, v)
	if s.Len() != 0 || s.End() != 10 {
		t.Fatalf("%d producers, end %d", s.Len(), s.End())
	}
}

func TestBadMarkersAreErrors(t *testing.T) {
	short := batch.View(batch.AppendControl(nil, 0, 0, 0, []batch.ControlRecord{{Key: []byte{0, 0}, Value: []byte{0}}}))
	other := batch.View(batch.AppendControl(nil, 0, 0, 0, []batch.ControlRecord{{Key: []byte{0, 0, 0, 2}, Value: make([]byte, 6)}}))
	for _, v := range []batch.View{short, other} {
		binary.BigEndian.PutUint64(v[43:], 1)
		if _, _, err := feed(New(0, day), Replication, v, 0); errors.CodeOf(err) != errors.CorruptMessage {
			t.Errorf("got %v", err)
		}
	}
}

func TestExpiry(t *testing.T) {
	s := New(0, 1000)
	must(t, s, Client, data{id: 1, offset: 0, at: 100}.view())
	must(t, s, Client, data{id: 2, offset: 1, at: 500, transactional: true}.view())
	must(t, s, Client, data{id: 3, offset: 2, at: 600}.view())
	if n := s.Expire(1099); n != 0 {
		t.Fatalf("%d expired too early", n)
	}
	if n := s.Expire(1100); n != 1 || s.Len() != 2 {
		t.Fatalf("%d expired, %d left", n, s.Len())
	}
	if n := s.Expire(1 << 40); n != 1 || s.Len() != 1 {
		t.Fatalf("%d expired, %d left: the open transaction stays", n, s.Len())
	}
	entries := s.Entries()
	s.Load([]Entry{entries[0], {ID: 9, TimestampMs: 1, TransactionFirst: kafka.NoOffset}}, 3, 5000)
	if _, ok := s.Get(9); ok || s.Len() != 1 {
		t.Error("an expired entry was loaded from a snapshot")
	}
	if o, ok := s.FirstUndecided(); !ok || o != 1 {
		t.Errorf("after a load the first undecided offset is %d", o)
	}
}

func TestBound(t *testing.T) {
	s := New(0, day)
	must(t, s, Client, data{id: 0, offset: 0, at: 1, transactional: true}.view())
	for i := range MaxIdle + 1 {
		must(t, s, Client, data{id: kafka.ProducerID(i + 1), offset: kafka.Offset(i + 1), at: int64(i)}.view())
	}
	if want := MaxIdle + 1 - MaxIdle/16 + 1; s.Len() != want {
		t.Fatalf("%d producers are remembered, want %d", s.Len(), want)
	}
	if _, ok := s.Get(0); !ok {
		t.Error("a producer with an open transaction was forgotten")
	}
	if _, ok := s.Get(1); ok {
		t.Error("the longest idle producer is still there")
	}
}

func TestNoAllocationForAKnownProducer(t *testing.T) {
	s := New(0, day)
	d := data{id: 1}
	v := d.view()
	next := func() {
		binary.BigEndian.PutUint64(v, uint64(d.offset))
		binary.BigEndian.PutUint32(v[53:], uint32(d.seq))
		s.Begin(Client)
		if _, dup, err := s.Add(v, 0); dup || err != nil {
			t.Fatal(dup, err)
		}
		s.Commit(d.offset + 1)
		d.offset, d.seq = d.offset+1, d.seq+1
	}
	next()
	if n := testing.AllocsPerRun(1000, next); n != 0 {
		t.Errorf("%v allocations an append", n)
	}
}

// TestReplayIsTheState: what a follower builds from the log with Replication is
// what the leader built while it checked clients and coordinators, and a snapshot
// anywhere plus the rest of the log gives the same, but for batches older than the
// snapshot's newest.
func TestReplayIsTheState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leader := New(0, day)
		var log []batch.View
		seq := map[kafka.ProducerID]int32{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := kafka.ProducerID(rapid.IntRange(1, 4).Draw(t, "id"))
			v, origin := step(t, leader, id, seq)
			if dup, _, err := feed(leader, origin, v, 0); err == nil && !dup {
				log = append(log, v)
			}
		}
		cut := rapid.IntRange(0, len(log)).Draw(t, "cut")
		follower, restarted := New(0, day), New(0, day)
		for i, v := range log {
			if i == cut {
				entries, err := ParseSnapshot(follower.Snapshot())
				if err != nil {
					t.Fatal(err)
				}
				restarted.Load(entries, follower.End(), 0)
			}
			_, _, err := feed(follower, Replication, v, 0)
			if err == nil && i >= cut {
				_, _, err = feed(restarted, Replication, v, 0)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if string(leader.Snapshot()) != string(follower.Snapshot()) {
			t.Fatalf("leader %+v\nfollower %+v", leader.Entries(), follower.Entries())
		}
		if cut < len(log) && string(leader.Snapshot()) != string(restarted.Snapshot()) {
			t.Fatalf("leader %+v\nrestarted %+v", leader.Entries(), restarted.Entries())
		}
		a, aok := leader.FirstUnstable()
		b, bok := follower.FirstUnstable()
		if a != b || aok != bok {
			t.Fatalf("first unstable offsets %d and %d", a, b)
		}
	})
}

func step(t *rapid.T, s *State, id kafka.ProducerID, seq map[kafka.ProducerID]int32) (batch.View, Origin) {
	e, _ := s.Get(id)
	epoch := max(e.Epoch, 0)
	if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
		return end{id: id, epoch: epoch, offset: s.End(), at: 1, commit: rapid.Bool().Draw(t, "commit")}.view(), Coordinator
	}
	if rapid.IntRange(0, 9).Draw(t, "bump") == 0 {
		epoch, seq[id] = epoch+1, 0
	}
	count := int32(rapid.IntRange(1, 3).Draw(t, "count"))
	d := data{id: id, epoch: epoch, seq: seq[id], offset: s.End(), count: count, at: 1, transactional: id%2 == 0}
	seq[id] += count
	return d.view(), Client
}

func BenchmarkAppend(b *testing.B) {
	s := New(0, day)
	v := data{id: 1}.view()
	b.ReportAllocs()
	for i := range b.N {
		binary.BigEndian.PutUint64(v, uint64(i))
		binary.BigEndian.PutUint32(v[53:], uint32(i)&math.MaxInt32)
		s.Begin(Client)
		if _, _, err := s.Add(v, 0); err != nil {
			b.Fatal(err)
		}
		s.Commit(kafka.Offset(i + 1))
	}
}

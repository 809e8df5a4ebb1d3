package fetchsession

import (
	"slices"
	"testing"

	"kvorum/broker/replica"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

const evictionMs = 120_000

// newCache has a number of slots and gives ids from 1 on.
func newCache(slots int) *Cache {
	next := uint32(0)
	return NewCache(Options{Slots: slots, EvictionMs: evictionMs, MaxPartitions: 100, Random: func() uint32 { next += 2; return next }})
}

// parts are partitions of one topic, from offset 0.
func parts(numbers ...int) (all []replica.FetchPartition) {
	for _, n := range numbers {
		p := replica.FetchPartition{MaxBytes: 1}
		p.Topic, p.Partition = "orders", kafka.PartitionID(n)
		all = append(all, p)
	}
	return all
}

// quiet answers every partition with nothing new at a high watermark.
func quiet(n int, hw kafka.Offset) []replica.FetchResult {
	all := make([]replica.FetchResult, n)
	for i := range all {
		all[i].HighWatermark, all[i].Diverging.Epoch = hw, kafka.NoEpoch
	}
	return all
}

func numbers(f *Fetch) (all []int) {
	for _, p := range f.Partitions() {
		all = append(all, int(p.Partition))
	}
	return all
}

func begin(t *testing.T, c *Cache, nowMs int64, r Request) *Fetch {
	t.Helper()
	f, err := c.Begin(nowMs, r)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// open makes a session over partitions and returns its id.
func open(t *testing.T, c *Cache, nowMs int64, follower bool, of ...int) int32 {
	t.Helper()
	f := begin(t, c, nowMs, Request{Follower: follower, Partitions: parts(of...)})
	id, _ := f.End(nowMs, quiet(len(of), 5), nil)
	return id
}

func TestOnlyWhatChangedIsTold(t *testing.T) {
	c := newCache(10)
	id := open(t, c, 0, false, 1, 2, 3)
	if id == NoSession {
		t.Fatal("no session")
	}
	f := begin(t, c, 1, Request{SessionID: id, Epoch: 1})
	if !slices.Equal(numbers(f), []int{1, 2, 3}) {
		t.Fatalf("reads %v", numbers(f))
	}
	results := quiet(3, 5)
	results[1].HighWatermark = 6
	results[2].Err = errors.NotLeaderOrFollower.Err()
	got, told := f.End(1, results, nil)
	if got != id || !slices.Equal(told, []bool{false, true, true}) {
		t.Fatalf("session %d told %v", got, told)
	}
	// What comes after an error is news, whatever it is.
	f = begin(t, c, 2, Request{SessionID: id, Epoch: 2})
	if _, told := f.End(2, quiet(3, 5), nil); !slices.Equal(told, []bool{false, true, true}) {
		t.Fatalf("told %v", told)
	}
}

func TestPartitionsComeAndGo(t *testing.T) {
	c := newCache(10)
	id := open(t, c, 0, false, 1, 2)
	f := begin(t, c, 1, Request{SessionID: id, Epoch: 1, Partitions: parts(3), Forgotten: []Key{{Topic: "orders", Partition: 1}, {Topic: "unknown"}}})
	if !slices.Equal(numbers(f), []int{2, 3}) {
		t.Fatalf("reads %v", numbers(f))
	}
	if n := c.Counts().Partitions; n != 2 {
		t.Fatalf("%d partitions are counted", n)
	}
	f = begin(t, c, 1, Request{SessionID: id, Epoch: 2, Forgotten: []Key{{Topic: "orders", Partition: 2}, {Topic: "orders", Partition: 3}}})
	if id, _ := f.End(1, nil, nil); id != NoSession || c.Counts() != (Counts{}) {
		t.Fatalf("an empty session lives on: %d, %+v", id, c.Counts())
	}
}

func TestWhatIsRefused(t *testing.T) {
	c := newCache(10)
	id := open(t, c, 0, false, 1)
	for name, r := range map[string]struct {
		request Request
		want    errors.Code
	}{
		"an unknown session": {Request{SessionID: id + 1, Epoch: 1}, errors.FetchSessionIDNotFound},
		"an epoch twice":     {Request{SessionID: id, Epoch: 2}, errors.InvalidFetchSessionEpoch},
		"other names":        {Request{SessionID: id, Epoch: 1, ByID: true}, errors.FetchSessionTopicIDError},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := c.Begin(1, r.request); errors.CodeOf(err) != r.want {
				t.Fatalf("got %v, want %v", err, r.want)
			}
		})
	}
	f := begin(t, c, 1, Request{SessionID: id, Epoch: FinalEpoch, Partitions: parts(1)})
	if id, told := f.End(1, quiet(1, 5), nil); id != NoSession || !told[0] || c.Counts().Sessions != 0 {
		t.Fatalf("the final fetch left session %d", id)
	}
}

func TestWhoIsEvicted(t *testing.T) {
	for name, tc := range map[string]struct {
		follower bool
		size     int
		nowMs    int64
		want     bool // it gets a slot
		evicted  int32
	}{
		"nobody is old":                   {size: 9, nowMs: 10},
		"the smaller one, once it is old": {size: 3, nowMs: evictionMs + 1, want: true, evicted: 1},
		"not for one that is as small":    {size: 2, nowMs: evictionMs + 1},
		"a follower takes a consumer's":   {follower: true, size: 1, nowMs: 10, want: true, evicted: 1},
		"the one that nobody uses goes":   {size: 1, nowMs: 2*evictionMs + 1, want: true, evicted: 2},
		"a follower, from the one unused": {follower: true, size: 1, nowMs: 2*evictionMs + 1, want: true, evicted: 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCache(2)
			open(t, c, 0, false, 1, 2)
			open(t, c, 0, false, 1, 2, 3)
			begin(t, c, evictionMs, Request{SessionID: 1, Epoch: 1})
			if tc.nowMs < evictionMs*2 {
				begin(t, c, evictionMs, Request{SessionID: 2, Epoch: 1})
			}
			var size []int
			for n := range tc.size {
				size = append(size, n)
			}
			id := open(t, c, tc.nowMs, tc.follower, size...)
			if (id != NoSession) != tc.want {
				t.Fatalf("session %d", id)
			}
			for _, old := range []int32{1, 2} {
				if (c.get(old) == nil) != (old == tc.evicted) {
					t.Errorf("session %d lives: %v", old, c.get(old) != nil)
				}
			}
		})
	}
}

func TestPartitionsAreBounded(t *testing.T) {
	c := newCache(10)
	all := make([]int, 60)
	for i := range all {
		all[i] = i
	}
	if id := open(t, c, 0, false, all...); id == NoSession {
		t.Fatal("no session")
	}
	if id := open(t, c, 0, false, all...); id != NoSession {
		t.Fatal("a session over the bound")
	}
	more := make([]int, 50)
	for i := range more {
		more[i] = 100 + i
	}
	f := begin(t, c, 1, Request{SessionID: 1, Epoch: 1, Partitions: parts(more...)})
	if id, _ := f.End(1, quiet(50, 1), nil); id != NoSession || c.Counts().Sessions != 0 || c.Counts().Partitions != 0 {
		t.Fatalf("a session grew over the bound: %d, %+v", id, c.Counts())
	}
}

package handler

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// begins is a Fetch of n partitions that wants a session.
func begins(n int, replica int32) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.SessionEpoch, req.ReplicaID = 12, 0, replica
	t := kmsg.NewFetchRequestTopic()
	t.Topic = "a"
	for i := range n {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition = int32(i)
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}

// Who gets a place when all are taken (FetchSessionCache.tryEvict).
func TestSessionEviction(t *testing.T) {
	const later = sessionStaleMs + 1
	for _, c := range []struct {
		name     string
		existing *kmsg.FetchRequest
		usedMs   int64 // when the existing one was used last
		fresh    *kmsg.FetchRequest
		nowMs    int64
		evicted  bool
	}{
		{"a young one stays", begins(1, -1), 0, begins(9, -1), 1, false},
		{"a follower takes a consumer's place at once", begins(9, -1), 0, begins(1, 5), 1, true},
		{"a consumer does not take a follower's", begins(1, 5), later, begins(9, -1), later, false},
		{"one that was not used goes", begins(9, -1), 0, begins(1, -1), later, true},
		{"an old one in use goes for a larger", begins(2, -1), later, begins(3, -1), later, true},
		{"an old one in use stays for a smaller", begins(2, -1), later, begins(1, -1), later, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSessions(1)
			first, _ := s.begin(c.existing, 0)
			first.session.lastUsedMs = c.usedMs
			second, code := s.begin(c.fresh, c.nowMs)
			if code != errors.None || (second.session != nil) != c.evicted || s.len() != 1 {
				t.Errorf("session %v, %v", second.session != nil, code)
			}
			if (s.find(first.session.id) == nil) != c.evicted {
				t.Errorf("the first session is there: %v", s.find(first.session.id) != nil)
			}
		})
	}
}

// Whatever clients do, the partitions of all sessions stay within the limit, and
// are counted right.
func TestSessionPartitionsAreBounded(t *testing.T) {
	s := newSessions(10)
	var first fetchContext
	for i := range 10 {
		ctx, _ := s.begin(begins(60_000, -1), int64(i))
		if i == 0 {
			first = ctx
		}
		if wants := i < maxSessionPartitions/60_000; (ctx.session != nil) != wants || len(ctx.parts) != 60_000 {
			t.Fatalf("session %d: %v", i, ctx.session != nil)
		}
	}
	grow := begins(100_000, -1)
	grow.SessionID, grow.SessionEpoch = first.session.id, 1
	ctx, code := s.begin(grow, 11)
	if code != errors.None || ctx.session != nil || len(ctx.parts) != 100_000 {
		t.Errorf("one that grows beyond the limit goes on: %v %v", ctx.session != nil, code)
	}
	held := 0
	for _, e := range s.byID {
		held += len(e.parts)
	}
	if held != s.partitions || held > maxSessionPartitions {
		t.Errorf("%d partitions are held, %d counted", held, s.partitions)
	}
}

func BenchmarkIncrementalFetch(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := newSessions(1)
			ctx, _ := s.begin(begins(n, -1), 0)
			req := kmsg.NewPtrFetchRequest()
			req.Version, req.SessionID = 12, ctx.session.id
			b.ReportAllocs()
			for i := range b.N {
				req.SessionEpoch = int32(i + 1)
				if _, code := s.begin(req, 0); code != errors.None {
					b.Fatal(code)
				}
			}
		})
	}
}

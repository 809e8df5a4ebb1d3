package storage

import (
	"context"
	stderrors "errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// TestConcurrent: appends, reads, flushes, the high watermark and the removal of
// records at the same time. A reader gets whole batches in order, which carry the
// offsets that it asked for, until the log's start has passed it. It is worth
// most under the race detector.
func TestConcurrent(t *testing.T) {
	o := testOptions(t, vfs.Default, t.TempDir())
	o.Config.SegmentBytes, o.Config.IndexIntervalBytes = 20_000, 500
	l := mustOpen(t, o)
	ctx, stop := context.WithCancel(context.Background())
	group, ctx := errgroup.WithContext(ctx)
	for range 2 {
		group.Go(func() error { return follow(ctx, l) })
	}
	group.Go(func() error {
		for ctx.Err() == nil {
			if err := l.Flush(); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range 2000 {
		a, err := l.AppendLeader(records(1+rand.IntN(5), 100, testNow), 0, AppendOptions{NowMs: testNow})
		if err != nil {
			t.Fatal(err)
		}
		l.SetHighWatermark(a.Last + 1)
		if i%100 == 99 {
			if _, err := l.DeleteRecordsTo(a.Last - 300); err != nil {
				t.Fatal(err)
			}
			if err := removeOld(l); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop()
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// follow reads a log as a consumer does, over and over.
func follow(ctx context.Context, l *Log) error {
	var at kafka.Offset
	var data []byte
	for ctx.Err() == nil {
		s, err := l.Read(at, 5000, l.HighWatermark(), true)
		if errors.CodeOf(err) == errors.OffsetOutOfRange {
			at = l.LogStart()
			continue
		}
		if err != nil {
			return err
		}
		data, err = s.AppendTo(data[:0])
		s.Release()
		if err != nil {
			return err
		}
		for v, err := range batch.All(data) {
			if err != nil {
				return err
			}
			if v.EndOffset() <= at {
				return errors.New(errors.UnknownServerError, "asked for offset %d and got the batch that ends at %d", at, v.EndOffset())
			}
			if err := v.CheckCRC(); err != nil {
				return err
			}
			at = v.EndOffset()
		}
	}
	return nil
}

// TestCommittedBesideCompaction: whoever reads committed records while the log is
// compacted is told of every aborted transaction whose records it gets, from
// whichever segment they come.
func TestCommittedBesideCompaction(t *testing.T) {
	c := newCompacted(t, pebblevfs.NewMem())
	ctx, stop := context.WithCancel(context.Background())
	group, ctx := errgroup.WithContext(ctx)
	for range 2 {
		group.Go(func() error {
			for ctx.Err() == nil {
				if err := readCommitted(c.l); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for i := range 150 {
		id := kafka.ProducerID(5 + i%2)
		c.open[id] = new(bool)
		c.append(t, batch.NewBuilder(batch.Compression{}), id, []record{{key: "a", value: "v", ms: c.nowMs}})
		c.end(t, id, id == 6) // those of 5 are aborted
		if err := c.l.Roll(c.nowMs); err != nil {
			t.Fatal(err)
		}
		if i%5 == 4 {
			c.l.ExpireProducers(math.MaxInt64) // or a batch without records would keep the transaction named
			c.clean(t, 1<<20)
		}
	}
	stop()
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// readCommitted reads a log of two producers, of which 5 aborts all it writes.
func readCommitted(l *Log) error {
	for at := kafka.Offset(0); at < l.HighWatermark(); {
		s, aborted, err := l.ReadCommitted(at, 5000, l.LastStable(), true)
		if err != nil || s.Len() == 0 {
			return err
		}
		data, err := s.AppendTo(nil)
		s.Release()
		if err != nil {
			return err
		}
		for v, err := range batch.All(data) {
			if err != nil {
				return err
			}
			at = v.EndOffset()
			named := func(a AbortedTransaction) bool {
				return a.Producer == 5 && a.First <= v.BaseOffset() && v.BaseOffset() < a.Last
			}
			if v.ProducerID() == 5 && !v.Control() && v.Count() > 0 && !slices.ContainsFunc(aborted, named) {
				return errors.New(errors.UnknownServerError, "the aborted batch at offset %d is not among %+v", v.BaseOffset(), aborted)
			}
		}
	}
	return nil
}

// TestIndexOfReplacedSegment: the aborted transactions of a segment that is out
// of its log are those that it had, or the reader looks again; never none.
func TestIndexOfReplacedSegment(t *testing.T) {
	c := newCompacted(t, pebblevfs.NewMem())
	c.open[5] = new(bool)
	c.append(t, batch.NewBuilder(batch.Compression{}), 5, []record{{key: "a", value: "v", ms: c.nowMs}})
	c.end(t, 5, false)
	if err := c.l.Roll(c.nowMs); err != nil {
		t.Fatal(err)
	}
	before := *c.l.segments.Load()
	c.clean(t, 1<<20)
	if list, err := abortedIn(before, 0, 2); err != nil || len(list) != 1 {
		t.Errorf("the segment that was read before has %v: %v", list, err)
	}
	before[0].aborted.loaded = false
	if list, err := abortedIn(before, 0, 2); !stderrors.Is(err, errGone) {
		t.Errorf("the segment that was not read before has %v: %v", list, err)
	}
}

package storage

import (
	"context"
	"math/rand/v2"
	"testing"

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

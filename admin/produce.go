package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Produce says how records are written.
//
// franz-go writes them: it is idempotent, where a retry of kafka-go's Writer may
// put a batch into the log twice.
type Produce struct {
	// Topic is that of records that name none.
	Topic string
	// Partition is that of every record; -1 lets the key choose, as Java's clients
	// do (murmur2).
	Partition int32
	// Acks is none, leader or all. With all, the producer is idempotent: a retry
	// after a lost answer neither doubles a record nor changes the order.
	Acks string
	// Compression is none, gzip, snappy, lz4 or zstd.
	Compression string
	// MaxBytes bounds one record; Kafka's own bound is message.max.bytes.
	MaxBytes int64
	// CreateTopics lets the broker make a topic that is not there, where it may.
	CreateTopics bool
}

// readAhead is how many records are read before they are given to the client.
const readAhead = 1000

// produceMemory bounds what waits for answers; one record of any size fits.
const produceMemory = 64 << 20

var acks = map[string]kgo.Acks{"none": kgo.NoAck(), "leader": kgo.LeaderAck(), "all": kgo.AllISRAcks()}

var compressions = map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}

// options are those of the client that writes.
func (p *Produce) options(access Access) ([]kgo.Opt, error) {
	required, ok := acks[p.Acks]
	if !ok {
		return nil, fmt.Errorf("acks %q is neither none, leader nor all", p.Acks)
	}
	codec, ok := compressions[p.Compression]
	if !ok {
		return nil, fmt.Errorf("compression %q is neither none, gzip, snappy, lz4 nor zstd", p.Compression)
	}
	if p.MaxBytes < 1 || p.MaxBytes > 1<<30 {
		return nil, fmt.Errorf("a largest record of %d bytes is not between 1 and 2^30", p.MaxBytes)
	}
	options := access.options(
		kgo.RequiredAcks(required), kgo.ProducerBatchCompression(codec),
		kgo.ProducerBatchMaxBytes(int32(p.MaxBytes)+batchOverhead), kgo.BrokerMaxWriteBytes(int32(max(100<<20, p.MaxBytes+2*batchOverhead))),
		kgo.MaxBufferedBytes(max(produceMemory, 2*int(p.MaxBytes))),
		// The client's own timeout counts from a record's timestamp, which may be of
		// any time: see writing.watch.
		kgo.ProducerLinger(0),
		// Nothing is written again after a record that failed, so that failing it
		// doubles nothing.
		kgo.AllowIdempotentProduceCancellation(),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
	)
	if p.Acks != "all" {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	if p.CreateTopics {
		options = append(options, kgo.AllowAutoTopicCreation())
	}
	if p.Partition >= 0 {
		options = append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	return options, nil
}

// batchOverhead is more than what a batch of one record takes besides its key and
// value; franz-go wants a batch of 512 bytes at least.
const batchOverhead = 512

// Produce writes the records that next returns until it returns io.EOF or ctx
// ends, and calls written for each acknowledged one, with its partition, offset
// and timestamp, in order within a partition. It stops at the first error: what
// was called for is in the log, and what was not may be.
func (c *Cluster) Produce(ctx context.Context, p *Produce, next func() (*kgo.Record, error), written func(*kgo.Record) error) error {
	options, err := p.options(c.access)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close() // what failed is given up
	producing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	w := &writing{Produce: p, client: client, written: written, failed: make(chan struct{}), cancel: cancel}
	var watch sync.WaitGroup
	watch.Go(func() { w.watch(producing, c.access.Timeout) })
	defer watch.Wait()
	defer cancel()
	reading, stop := context.WithCancel(ctx)
	defer stop()
	queue := make(chan *kgo.Record, readAhead)
	ended := make(chan error, 1)
	go func() { ended <- read(reading, next, queue) }()
	if err := w.all(ctx, producing, queue); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return nil // the reader may sit in a read that nothing ends: it goes with the process
	}
	return <-ended
}

// writing is a Produce that is under way.
type writing struct {
	*Produce
	client  *kgo.Client
	written func(*kgo.Record) error
	once    sync.Once
	failed  chan struct{} // closed after err is set
	err     error
	cancel  context.CancelFunc // ends what waits for the client

	mu      sync.Mutex
	waiting int       // records without an answer
	since   time.Time // of the last answer, or of the first record that waits
}

func (w *writing) fail(err error) {
	w.once.Do(func() {
		w.err = err
		close(w.failed)
		w.cancel()
	})
}

// watch fails the writing when records wait and none was answered for timeout.
func (w *writing) watch(ctx context.Context, timeout time.Duration) {
	look := time.NewTicker(max(timeout/10, 10*time.Millisecond))
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		w.mu.Lock()
		waiting, late := w.waiting, w.waiting > 0 && time.Since(w.since) > timeout
		w.mu.Unlock()
		if late {
			w.fail(fmt.Errorf("%d records were not acknowledged: no answer came for %v (--timeout): is the leader of their partitions there? `kvorum cluster health` tells", waiting, timeout))
		}
	}
}

// count adds to the records without an answer.
func (w *writing) count(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting += n; n < 0 || w.waiting == n {
		w.since = time.Now()
	}
}

// all writes what comes out of the queue, and waits for the answers. What was read
// is written also when Ctrl-C says to read no more.
func (w *writing) all(ctx, producing context.Context, queue <-chan *kgo.Record) error {
	for more := true; more; {
		select {
		case r, ok := <-queue:
			if more = ok; ok {
				w.write(producing, r)
			}
		case <-ctx.Done():
			more = false
		case <-w.failed:
			return w.err
		}
	}
	err := w.client.Flush(producing) // a failure ends it
	select {
	case <-w.failed:
		return w.err
	default:
		return err
	}
}

// write gives a record to the client, and waits while that has enough.
func (w *writing) write(ctx context.Context, r *kgo.Record) {
	r.Partition = max(w.Partition, 0)
	if r.Topic == "" {
		r.Topic = w.Topic
	}
	if int64(len(r.Key)+len(r.Value)) > w.MaxBytes {
		w.fail(w.explain(r, kerr.MessageTooLarge))
		return
	}
	w.count(1)
	w.client.Produce(ctx, r, func(r *kgo.Record, err error) { // one call at a time
		w.count(-1)
		select {
		case <-w.failed:
			return
		default:
		}
		if err == nil {
			err = w.written(r)
		} else {
			err = w.explain(r, err)
		}
		if err != nil {
			w.fail(err)
		}
	})
}

// explain says what to do about a record that was not acknowledged.
func (w *writing) explain(r *kgo.Record, err error) error {
	switch {
	case errors.Is(err, kerr.MessageTooLarge):
		return fmt.Errorf("a record of %d bytes for topic %s is larger than --max-message-bytes (%d) or than the topic's max.message.bytes", len(r.Key)+len(r.Value), r.Topic, w.MaxBytes)
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return fmt.Errorf("topic %s: %w: create it with `kvorum topic create`, or use --allow-auto-topic-creation", r.Topic, err)
	case w.Partition >= 0:
		return fmt.Errorf("a record for %s-%d was not acknowledged: %w", r.Topic, w.Partition, err)
	}
	return fmt.Errorf("a record for topic %s was not acknowledged: %w", r.Topic, err)
}

// read puts the records into the queue and closes it at the end.
func read(ctx context.Context, next func() (*kgo.Record, error), queue chan<- *kgo.Record) error {
	defer close(queue)
	for {
		r, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read records: %w", err)
		}
		select {
		case queue <- r:
		case <-ctx.Done():
			return nil
		}
	}
}

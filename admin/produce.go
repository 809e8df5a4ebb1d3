package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Produce says how records are written.
type Produce struct {
	// Topic is that of records that name none.
	Topic string
	// Partition is that of every record; -1 lets the key choose, as Java's clients
	// do (murmur2).
	Partition int32
	// Acks is none, leader or all.
	Acks string
	// Compression is none, gzip, snappy, lz4 or zstd.
	Compression string
	// MaxBytes bounds one record; Kafka's own bound is message.max.bytes.
	MaxBytes int64
	// CreateTopics lets the broker make a topic that is not there, where it may.
	CreateTopics bool
}

// produceBatch bounds the records that wait for one answer, and so the memory.
const produceBatch = 1000

var acks = map[string]kafka.RequiredAcks{"none": kafka.RequireNone, "leader": kafka.RequireOne, "all": kafka.RequireAll}

var compressions = map[string]kafka.Compression{"none": compress.None, "gzip": compress.Gzip, "snappy": compress.Snappy, "lz4": compress.Lz4, "zstd": compress.Zstd}

func (p *Produce) writer(access Access, acknowledged func([]kafka.Message, error)) (*kafka.Writer, error) {
	required, ok := acks[p.Acks]
	if !ok {
		return nil, fmt.Errorf("acks %q is neither none, leader nor all", p.Acks)
	}
	codec, ok := compressions[p.Compression]
	if !ok {
		return nil, fmt.Errorf("compression %q is neither none, gzip, snappy, lz4 nor zstd", p.Compression)
	}
	w := &kafka.Writer{
		Addr: kafka.TCP(access.Brokers...), RequiredAcks: required, Compression: codec, BatchBytes: p.MaxBytes,
		BatchSize: produceBatch, BatchTimeout: time.Millisecond, ReadTimeout: access.Timeout, WriteTimeout: access.Timeout,
		AllowAutoTopicCreation: p.CreateTopics, Completion: acknowledged, Balancer: kafka.Murmur2Balancer{},
		Transport: &kafka.Transport{ClientID: clientID, DialTimeout: access.Timeout},
	}
	if p.Partition >= 0 {
		// Of one that does not exist the broker says so.
		w.Balancer = kafka.BalancerFunc(func(kafka.Message, ...int) int { return int(p.Partition) })
	}
	return w, nil
}

// Produce writes the records that next returns until it returns io.EOF or ctx
// ends, and calls written for each acknowledged one, with its partition, offset
// and timestamp, in order within a partition. It stops at the first error: what
// was called for is in the log, and what was not may be.
func (c *Cluster) Produce(ctx context.Context, p *Produce, next func() (*kgo.Record, error), written func(*kgo.Record) error) error {
	var mu sync.Mutex // partitions are acknowledged at the same time
	var failed error
	w, err := p.writer(c.access, func(messages []kafka.Message, err error) {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range messages {
			if err == nil && failed == nil {
				failed = written(recordOf(m))
			}
		}
	})
	if err != nil {
		return err
	}
	defer w.Close() // everything was waited for
	reading, stop := context.WithCancel(ctx)
	defer stop()
	queue := make(chan *kgo.Record, produceBatch)
	ended := make(chan error, 1)
	go func() { ended <- read(reading, next, queue) }()
	for {
		messages := p.gather(ctx, queue)
		if len(messages) == 0 {
			break
		}
		// What was read is written, also when Ctrl-C says to read no more.
		if err := c.write(context.WithoutCancel(ctx), w, messages); err != nil {
			return err
		}
		mu.Lock()
		err := failed
		mu.Unlock()
		if err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil // the reader may sit in a read that nothing ends: it goes with the process
	}
	return <-ended
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

// gather waits for one record and takes those that are there with it, so that a
// line is written when it is typed and a file in large batches.
func (p *Produce) gather(ctx context.Context, queue <-chan *kgo.Record) []kafka.Message {
	var messages []kafka.Message
	select {
	case r, ok := <-queue:
		if !ok {
			return nil
		}
		messages = append(messages, p.message(r))
	case <-ctx.Done():
		return nil
	}
	for len(messages) < produceBatch {
		select {
		case r, ok := <-queue:
			if !ok {
				return messages
			}
			messages = append(messages, p.message(r))
		default:
			return messages
		}
	}
	return messages
}

func (p *Produce) message(r *kgo.Record) kafka.Message {
	m := kafka.Message{Topic: r.Topic, Key: r.Key, Value: r.Value, Time: r.Timestamp}
	if m.Topic == "" {
		m.Topic = p.Topic
	}
	if m.Time.IsZero() {
		m.Time = time.Now()
	}
	for _, h := range r.Headers {
		m.Headers = append(m.Headers, kafka.Header{Key: h.Key, Value: h.Value})
	}
	return m
}

func recordOf(m kafka.Message) *kgo.Record {
	r := &kgo.Record{Topic: m.Topic, Partition: int32(m.Partition), Offset: m.Offset, Key: m.Key, Value: m.Value, Timestamp: m.Time}
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return r
}

// write writes the messages, and makes one error of theirs.
func (c *Cluster) write(ctx context.Context, w *kafka.Writer, messages []kafka.Message) error {
	err := w.WriteMessages(ctx, messages...)
	var each kafka.WriteErrors
	if errors.As(err, &each) {
		i := slices.IndexFunc(each, func(err error) bool { return err != nil })
		return fmt.Errorf("%d of %d records were not acknowledged; the first, for topic %s: %w", each.Count(), len(each), messages[i].Topic, each[i])
	}
	var large kafka.MessageTooLargeError
	if errors.As(err, &large) {
		return fmt.Errorf("a record of %d bytes for topic %s is larger than --max-message-bytes", len(large.Message.Key)+len(large.Message.Value), large.Message.Topic)
	}
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		return fmt.Errorf("topic %s: %w: create it with `kvorum topic create`, or use --allow-auto-topic-creation", messages[0].Topic, err)
	}
	if err != nil {
		return fmt.Errorf("write to topic %s: %w", messages[0].Topic, err)
	}
	return nil
}

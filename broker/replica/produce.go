package replica

import (
	"context"
	"time"

	"kvorum/broker/storage"
	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// ProduceOptions are what one Produce says for all its partitions.
type ProduceOptions struct {
	// Acks is -1 (the in-sync replicas), 0 or 1; anything else is
	// INVALID_REQUIRED_ACKS for each partition.
	Acks int16
	// Timeout bounds the wait for the in-sync replicas.
	Timeout time.Duration
	// InternalTopics lets a client write to __consumer_offsets and its like, as
	// Apache lets the client id __admin_client.
	InternalTopics bool
	// NowMs is the time of the request, for timestamps and producer state.
	NowMs int64
}

// ProducePartition is what is appended to one partition.
type ProducePartition struct {
	kafka.TopicPartition
	// TopicID is checked where it is not zero.
	TopicID kafka.TopicID
	// Records are whole batches. Offsets and epochs are written into them; they
	// may be used again when Produce has returned.
	Records []byte
	// Refusal is why this broker takes none of them, nil if it may. Where another
	// leads, that is said instead: its answer is the one that counts.
	Refusal error
}

// ProduceResult is what became of one partition's records.
type ProduceResult struct {
	// Err is a wire error; nil: appended, and committed if that was asked for.
	// After REQUEST_TIMED_OUT and NOT_ENOUGH_REPLICAS_AFTER_APPEND the records
	// are in the log all the same.
	Err error
	storage.Appended
	// Leader is who leads now, when Err says that it is not this broker.
	Leader CurrentLeader
	// Waited is how long the Produce, with all its partitions, waited for other
	// replicas.
	Waited time.Duration

	partition *Partition
	tenure    uint64
	bytes     int
}

// CurrentLeader tells a client where to go; Epoch is kafka.NoEpoch if there is
// nothing to tell.
type CurrentLeader struct {
	ID    kafka.BrokerID
	Epoch kafka.LeaderEpoch
}

// Produce appends to each partition and, with acks -1, waits until the high
// watermarks have passed or time or ctx has run out. It appends one result per
// partition to out, in order.
func (ps *Partitions) Produce(ctx context.Context, o ProduceOptions, in []ProducePartition, out []ProduceResult) []ProduceResult {
	first := len(out)
	for i := range in {
		out = append(out, ps.produce(o, &in[i]))
	}
	if o.Acks == acksAll {
		ps.awaitAcks(ctx, o.Timeout, out[first:])
	}
	for i := range out[first:] {
		r := &out[first+i]
		ps.counters.produced(r)
		if r.Err != nil {
			r.Leader = ps.hint(r.Err, in[i].TopicPartition)
		}
	}
	return out
}

func (ps *Partitions) produce(o ProduceOptions, in *ProducePartition) ProduceResult {
	if o.Acks < acksAll || o.Acks > 1 {
		return ProduceResult{Err: errors.InvalidRequiredAcks.Err()}
	}
	if !o.InternalTopics && InternalTopic(in.Topic) {
		return ProduceResult{Err: errors.New(errors.InvalidTopicException, "clients cannot write to the internal topic %s", in.Topic)}
	}
	if o.Acks != acksAll && ps.acksAll && ps.unconfirmed.Load() {
		return ProduceResult{Err: errors.New(errors.NotEnoughReplicas, "no controller has confirmed that this broker leads %s: until then it takes records with acks=all only", in.TopicPartition)}
	}
	p, err := ps.find(in.TopicPartition, in.TopicID)
	if err != nil {
		return ProduceResult{Err: err}
	}
	if in.Refusal != nil {
		if err := p.leads(); err != nil {
			return ProduceResult{Err: err}
		}
		return ProduceResult{Err: in.Refusal}
	}
	a := AppendOptions{Acks: o.Acks, LeaderEpoch: kafka.NoEpoch}
	a.Origin, a.NowMs = producer.Client, o.NowMs
	done, tenure, err := p.append(in.Records, a)
	return ProduceResult{Err: err, Appended: done, partition: p, tenure: tenure, bytes: len(in.Records)}
}

// leads says why this broker cannot answer for the partition; nil: it leads.
func (p *Partition) leads() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.led(kafka.NoEpoch)
	return err
}

// awaitAcks sets the errors of what is not committed in time. Where this broker
// is the whole ISR, nothing waits and nothing is allocated.
func (ps *Partitions) awaitAcks(ctx context.Context, timeout time.Duration, out []ProduceResult) {
	if !unacknowledged(out) {
		return
	}
	began := ps.clock.Now()
	w := newWait(len(out), 0)
	defer w.release()
	for i := range out {
		if r := &out[i]; r.Err == nil && r.partition != nil {
			entry := w.add(r.partition)
			entry.offset = r.Last + 1
			r.partition.mu.Lock()
			r.partition.commits.push(entry)
			r.partition.mu.Unlock()
		}
	}
	timer := ps.clock.NewTimer(timeout)
	defer timer.Stop()
	for unacknowledged(out) {
		select {
		case <-w.wake:
		case <-timer.C():
			expire(out)
		case <-ctx.Done():
			expire(out)
		}
	}
	waited := ps.clock.Now().Sub(began)
	for i := range out {
		out[i].Waited = waited
	}
}

// unacknowledged reports whether a result has to wait. A result that has not is
// marked as done by its partition.
func unacknowledged(out []ProduceResult) bool {
	waiting := false
	for i := range out {
		r := &out[i]
		if r.partition == nil || r.Err != nil {
			continue
		}
		r.partition.mu.Lock()
		done, err := r.partition.committed(r.Last+1, r.tenure)
		r.partition.mu.Unlock()
		switch {
		case err != nil:
			r.Err = err
		case done:
			r.partition = nil
		default:
			waiting = true
		}
	}
	return waiting
}

// expire ends the wait of all that are not done.
func expire(out []ProduceResult) {
	for i := range out {
		if r := &out[i]; r.partition != nil && r.Err == nil {
			r.Err = errors.RequestTimedOut.Err()
		}
	}
}

// InternalTopic reports whether clients may only read a topic
// (Topic.isInternal).
func InternalTopic(name string) bool {
	switch name {
	case "__consumer_offsets", "__transaction_state", "__share_group_state":
		return true
	}
	return false
}

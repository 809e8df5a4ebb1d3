package replica

import (
	"context"
	"time"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// ToHighWatermark as the offset of DeleteRecords deletes all that is committed.
const ToHighWatermark kafka.Offset = -1

// DeleteRecordsPartition asks to delete what lies below Offset.
type DeleteRecordsPartition struct {
	kafka.TopicPartition
	Offset kafka.Offset
}

// DeleteRecordsResult is what became of it.
type DeleteRecordsResult struct {
	// LowWatermark is the offset below which no live replica has records, -1 with
	// an error.
	LowWatermark kafka.Offset
	Err          error // a wire error

	partition *Partition
	wanted    kafka.Offset
}

// DeleteRecords moves the log starts forward and waits until all live replicas
// have followed, or until time or ctx runs out (ReplicaManager.deleteRecords). It
// appends one result per partition to out. Nothing brings the records back; their
// segments are removed from disk later.
func (ps *Partitions) DeleteRecords(ctx context.Context, timeout time.Duration, in []DeleteRecordsPartition, out []DeleteRecordsResult) []DeleteRecordsResult {
	first := len(out)
	for i := range in {
		r := DeleteRecordsResult{LowWatermark: kafka.NoOffset}
		r.partition, r.wanted, r.Err = ps.deleteRecords(&in[i])
		out = append(out, r)
	}
	if !lagging(out[first:]) {
		return out
	}
	w := newWait(len(in), 0)
	defer w.release()
	for i := range out[first:] {
		if r := &out[first+i]; r.Err == nil && r.partition != nil {
			entry := w.add(r.partition)
			entry.offset = noHighWatermark
			r.partition.mu.Lock()
			r.partition.commits.push(entry)
			r.partition.mu.Unlock()
		}
	}
	timer := ps.clock.NewTimer(timeout)
	defer timer.Stop()
	for lagging(out[first:]) {
		select {
		case <-w.wake:
			continue
		case <-timer.C():
		case <-ctx.Done():
		}
		for i := range out[first:] {
			if r := &out[first+i]; r.partition != nil && r.Err == nil {
				r.Err = errors.RequestTimedOut.Err()
			}
		}
	}
	return out
}

// noHighWatermark is a watch's offset that no high watermark reaches: it is
// woken by watchList.all only.
const noHighWatermark = kafka.Offset(1<<63 - 1)

func (ps *Partitions) deleteRecords(in *DeleteRecordsPartition) (*Partition, kafka.Offset, error) {
	if InternalTopic(in.Topic) {
		return nil, 0, errors.New(errors.InvalidTopicException, "records of the internal topic %s cannot be deleted", in.Topic)
	}
	p, err := ps.Lookup(in.TopicPartition)
	if err != nil {
		return nil, 0, err
	}
	p.role.RLock()
	defer p.role.RUnlock()
	p.mu.Lock()
	_, err = p.led(kafka.NoEpoch)
	p.mu.Unlock()
	if err != nil {
		return nil, 0, err
	}
	if !p.Log().Config().Delete {
		return nil, 0, errors.New(errors.PolicyViolation, "records of partition %s can only be deleted when cleanup.policy of its topic has delete", p.name)
	}
	to := in.Offset
	if to == ToHighWatermark {
		to = p.Log().HighWatermark()
	}
	if to < 0 || to > p.Log().HighWatermark() {
		return nil, 0, errors.New(errors.OffsetOutOfRange, "records of partition %s cannot be deleted up to %d: it is committed up to %d", p.name, to, p.Log().HighWatermark())
	}
	if _, err := p.Log().DeleteRecordsTo(to); err != nil {
		return nil, 0, ps.failed(p, err)
	}
	return p, to, nil
}

// lagging reports whether a replica still has records that were to be deleted.
func lagging(out []DeleteRecordsResult) bool {
	waiting := false
	for i := range out {
		r := &out[i]
		if r.partition == nil || r.Err != nil {
			continue
		}
		low, err := r.partition.lowWatermark()
		switch {
		case err != nil:
			r.Err = err
		case low >= r.wanted:
			r.LowWatermark, r.partition = low, nil
		default:
			waiting = true
		}
	}
	return waiting
}

func (p *Partition) lowWatermark() (kafka.Offset, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, err := p.led(kafka.NoEpoch)
	if err != nil {
		return kafka.NoOffset, err
	}
	return l.LowWatermark(p.Log().LogStart()), nil
}

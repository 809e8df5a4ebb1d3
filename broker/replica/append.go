package replica

import (
	"context"

	"kvorum/broker/replica/core"
	"kvorum/broker/storage"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// acksAll is the acks of a producer that waits for the in-sync replicas.
const acksAll = -1

// AppendOptions say how records are appended.
type AppendOptions struct {
	storage.AppendOptions
	// Acks is -1, 0 or 1. -1 refuses the records while the ISR is smaller than
	// min.insync.replicas.
	Acks int16
	// LeaderEpoch is the epoch in which the caller leads, kafka.NoEpoch for any:
	// coordinators name theirs, so that a deposed one writes nothing.
	LeaderEpoch kafka.LeaderEpoch
}

// Append appends whole batches as the leader; offsets, epochs and, where the
// topic says so, timestamps are stamped into them. When it returns, the records
// are in the file system's cache, not on disk and not yet committed; WaitCommitted
// waits for that. Errors are wire errors.
func (p *Partition) Append(records []byte, o AppendOptions) (storage.Appended, error) {
	done, _, err := p.append(records, o)
	return done, err
}

// append also returns the tenure in which it appended.
func (p *Partition) append(records []byte, o AppendOptions) (storage.Appended, uint64, error) {
	p.role.RLock()
	defer p.role.RUnlock()
	epoch, tenure, err := p.mayAppend(o)
	if err != nil {
		return storage.Appended{}, 0, err
	}
	done, err := p.Log().AppendLeader(records, epoch, o.AppendOptions)
	if err != nil {
		return done, 0, p.owner.failed(p, err)
	}
	if !done.Duplicate {
		p.mu.Lock()
		p.appended(done.Last+1, len(records), p.owner.nowMs())
		p.mu.Unlock()
	}
	return done, tenure, nil
}

// mayAppend checks that records may be appended and returns the leader epoch and
// the tenure. The caller holds role, so that it stays so.
func (p *Partition) mayAppend(o AppendOptions) (kafka.LeaderEpoch, uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, err := p.led(o.LeaderEpoch)
	if err != nil {
		return kafka.NoEpoch, 0, err
	}
	if o.Acks == acksAll && l.UnderMinISR() {
		return kafka.NoEpoch, 0, errors.New(errors.NotEnoughReplicas, "the ISR %v of partition %s is smaller than min.insync.replicas %d", l.ISR(), p.name, l.EffectiveMinISR())
	}
	return l.Epoch(), p.tenure, nil
}

// committed reports whether the records below upTo, which were appended in a
// tenure, are committed, under mu. An error ends the wait
// (Partition.checkEnoughReplicasReachOffset).
func (p *Partition) committed(upTo kafka.Offset, tenure uint64) (bool, error) {
	l, err := p.led(kafka.NoEpoch)
	switch {
	case err != nil:
		return false, err
	case p.tenure != tenure:
		// It followed meanwhile, and its log may have been cut below upTo.
		return false, errors.New(errors.NotLeaderOrFollower, "broker %d has led partition %s anew since the append", p.owner.self, p.name)
	case l.HighWatermark() < upTo:
		return false, nil
	case l.UnderMinISR():
		return false, errors.New(errors.NotEnoughReplicasAfterAppend, "the ISR %v of partition %s shrank below min.insync.replicas %d after the append", l.ISR(), p.name, l.EffectiveMinISR())
	default:
		return true, nil
	}
}

// WaitCommitted waits until the high watermark has reached upTo. It fails with
// the wire error of the partition when this broker no longer leads it in the
// given leader epoch, and with ctx's error.
func (p *Partition) WaitCommitted(ctx context.Context, upTo kafka.Offset, epoch kafka.LeaderEpoch) error {
	w := newWait(1, 0)
	defer w.release()
	entry := w.add(p)
	entry.offset = upTo
	p.mu.Lock()
	p.commits.push(entry)
	for {
		done, err := p.committedIn(upTo, epoch)
		p.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
		p.mu.Lock()
	}
}

func (p *Partition) committedIn(upTo kafka.Offset, epoch kafka.LeaderEpoch) (bool, error) {
	l, err := p.led(epoch)
	if err != nil {
		return false, err
	}
	return l.HighWatermark() >= upTo, nil
}

// CommittedUpTo is the high watermark of this broker as the leader in an epoch. It
// fails with the wire error of the partition when it no longer leads in it: the log
// may have been cut since below what was appended then, and the records of another
// leader be committed in its place.
func (p *Partition) CommittedUpTo(epoch kafka.LeaderEpoch) (kafka.Offset, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone == nil && core.CountsFor(epoch, p.epoch, p.leader != nil) {
		return p.HighWatermark(), nil
	}
	_, err := p.led(epoch)
	return kafka.NoOffset, err
}

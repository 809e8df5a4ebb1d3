package replica

import (
	"kvorum/broker/replica/core"
	"kvorum/broker/storage"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// The timestamps that ask for something else than a time (ListOffsetsRequest).
const (
	Latest        int64 = -1
	Earliest      int64 = -2
	MaxTimestamp  int64 = -3
	EarliestLocal int64 = -4
	LatestTiered  int64 = -5
)

// noTimestamp is what an answer has where there is none.
const noTimestamp int64 = -1

// OffsetQuery asks for the offset of a time.
type OffsetQuery struct {
	// TimestampMs is a time, or one of the constants above.
	TimestampMs int64
	// Consumer says that a client asks, who may see no further than Isolation
	// allows; brokers see up to the log end.
	Consumer  bool
	Isolation Isolation
	// LeaderEpoch is what the client knows, kafka.NoEpoch if it did not say.
	LeaderEpoch kafka.LeaderEpoch
}

// OffsetAnswer is an offset with its record's timestamp and leader epoch, -1 for
// each that is not known. All are -1 when there is no such record.
type OffsetAnswer struct {
	Offset      kafka.Offset
	TimestampMs int64
	Epoch       kafka.LeaderEpoch
}

var noAnswer = OffsetAnswer{Offset: kafka.NoOffset, TimestampMs: noTimestamp, Epoch: kafka.NoEpoch}

// ListOffset finds an offset by time (Partition.fetchOffsetForTimestamp). After
// an election, until the new leader's high watermark has passed its first offset,
// what was told before may lie above it: then the answer is
// OFFSET_NOT_AVAILABLE rather than an offset that goes back (KIP-207).
func (p *Partition) ListOffset(q OffsetQuery) (OffsetAnswer, error) {
	p.mu.Lock()
	l, err := p.led(q.LeaderEpoch)
	if err != nil {
		p.mu.Unlock()
		return noAnswer, err
	}
	epoch, epochStart := l.Epoch(), l.EpochStart()
	p.mu.Unlock()

	end := p.Log().LogEnd()
	if q.Consumer {
		if end = p.Log().HighWatermark(); q.Isolation == ReadCommitted {
			end = p.Log().LastStable()
		}
	}
	unsettled := q.Consumer && !core.EndKnown(epochStart, end)
	unavailable := func() error {
		return errors.New(errors.OffsetNotAvailable, "partition %s has been led anew from offset %d and is committed up to %d only", p.name, epochStart, end)
	}
	switch q.TimestampMs {
	case Latest:
		if unsettled {
			return noAnswer, unavailable()
		}
		return OffsetAnswer{Offset: end, TimestampMs: noTimestamp, Epoch: epoch}, nil
	case Earliest, EarliestLocal:
		start := p.Log().LogStart()
		return OffsetAnswer{Offset: start, TimestampMs: noTimestamp, Epoch: p.Log().EpochAt(start)}, nil
	case LatestTiered:
		return noAnswer, nil // nothing is in remote storage
	}
	found, err := search(p.Log(), q.TimestampMs)
	switch {
	case err != nil:
		return noAnswer, p.owner.failed(p, err)
	case found.Offset != kafka.NoOffset && found.Offset < end:
		return found, nil
	case unsettled:
		return noAnswer, unavailable()
	default:
		return noAnswer, nil
	}
}

// EpochEnd is the largest leader epoch of the log that is not above wanted, and
// the offset at which it ends; kafka.NoEpoch and kafka.NoOffset if the log does
// not reach back to it (OffsetForLeaderEpoch, KIP-101, KIP-279).
func (p *Partition) EpochEnd(current, wanted kafka.LeaderEpoch) (kafka.EpochOffset, error) {
	p.mu.Lock()
	_, err := p.led(current)
	p.mu.Unlock()
	if err != nil {
		return noDivergence, err
	}
	epoch, end := p.Log().EpochEnd(wanted)
	return kafka.EpochOffset{Epoch: epoch, Offset: end}, nil
}

// search finds a record by time.
func search(l *storage.Log, timestampMs int64) (OffsetAnswer, error) {
	find := l.OffsetForTimestamp
	if timestampMs == MaxTimestamp {
		find = func(int64) (storage.TimestampOffset, error) { return l.OffsetOfMaxTimestamp() }
	}
	r, err := find(timestampMs)
	return OffsetAnswer{Offset: r.Offset, TimestampMs: r.TimestampMs, Epoch: r.Epoch}, err
}

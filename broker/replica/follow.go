package replica

import (
	stderrors "errors"

	"kvorum/broker/replica/core"
	"kvorum/broker/storage"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// question is what a fetcher asks for of one partition.
type question struct {
	core.Ask
	logStart kafka.Offset
}

// position is where the log ends.
func (p *Partition) position() core.Position {
	l := p.Log()
	return core.Position{End: l.LogEnd(), HighWatermark: l.HighWatermark(), LastEpoch: l.LatestEpoch()}
}

// asks says what this follower wants of its leader next; false: nothing until the
// image has moved on, because the partition is led here or by nobody, is gone, or
// its leader knows a newer epoch.
func (p *Partition) asks() (question, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.follower == nil || p.gone != nil {
		return question{}, false
	}
	ask, ok := p.follower.Ask(p.position())
	return question{Ask: ask, logStart: p.Log().LogStart()}, ok
}

// take does with its log what an answer to an Ask asks for. records may be cut
// short, and are the caller's again when it returns: by then they are in the
// file system's cache, and the next Ask tells the leader so. false: the answer is
// to an older question and nothing was done. The error is a wire error.
func (p *Partition) take(asked core.Ask, a core.Answer, records []byte) (bool, error) {
	// A cut waits for every reader of the log; an append does not.
	if a.OutOfRange || a.Diverging.Epoch != kafka.NoEpoch {
		p.role.Lock()
		defer p.role.Unlock()
	} else {
		p.role.RLock()
		defer p.role.RUnlock()
	}
	p.mu.Lock()
	if p.follower == nil || p.gone != nil {
		p.mu.Unlock()
		return false, nil
	}
	deed, ok := p.follower.Take(asked, a, p.position(), p.epochEnd)
	p.mu.Unlock()
	if !ok {
		return false, nil
	}
	if err := p.do(deed, records); err != nil {
		return true, p.owner.failed(p, err)
	}
	return true, nil
}

func (p *Partition) epochEnd(epoch kafka.LeaderEpoch) kafka.EpochOffset {
	found, end := p.Log().EpochEnd(epoch)
	return kafka.EpochOffset{Epoch: found, Offset: end}
}

// do carries out what the core decided; role is held.
func (p *Partition) do(d core.Deed, records []byte) error {
	l := p.Log()
	before := l.LogEnd()
	switch {
	case d.Restart:
		if err := l.TruncateFullyAndStartAt(d.To); err != nil {
			return err
		}
	case d.Truncate:
		if err := l.TruncateTo(d.To); err != nil {
			return err
		}
	case d.Append:
		if err := p.appendFetched(whole(records, d.UpToEpoch)); err != nil {
			return err
		}
	}
	if d.Restart || d.Truncate {
		p.owner.moves.cut(p)
		p.owner.logger.Info("follower cut its log to agree with its leader", "partition", p.name, "from", before, "to", l.LogEnd())
	}
	p.grown(len(records), d.HighWatermark, d.Restart || d.Truncate)
	if d.LogStart > l.LogStart() && d.LogStart <= l.HighWatermark() {
		_, err := l.DeleteRecordsTo(d.LogStart)
		return err
	}
	return nil
}

// appendFetched appends what the leader sent. Its first batch may begin before an
// empty log does, which begins inside that batch where the leader's log begins:
// then the log begins with the batch, and the leader's log start follows
// (Partition.doAppendRecordsToFollowerOrFutureReplica).
func (p *Partition) appendFetched(records []byte) error {
	return appendTo(p.Log(), records, p.owner.clock.Now().UnixMilli())
}

func appendTo(l *storage.Log, records []byte, nowMs int64) error {
	if v, _, err := batch.Next(records); err == nil && v.BaseOffset() < l.LogEnd() && v.EndOffset() > l.LogEnd() && l.LogStart() == l.LogEnd() {
		if err := l.TruncateFullyAndStartAt(v.BaseOffset()); err != nil {
			return err
		}
	}
	for len(records) > 0 {
		n := within(records, int(l.Config().SegmentBytes))
		if _, err := l.AppendFollower(records[:n], nowMs); err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

// within is the length of the first batches that have at most so many bytes
// together, of one batch at least: an append goes into one segment, and segments
// here may have become smaller than those of the leader.
func within(records []byte, most int) int {
	if len(records) <= most {
		return len(records)
	}
	n := 0
	for rest := records; ; {
		v, after, err := batch.Next(rest)
		if err != nil {
			return len(records) // the append says what is wrong
		}
		if n > 0 && n+v.Size() > most {
			return n
		}
		n, rest = n+v.Size(), after
	}
}

// grown tells who reads from this follower that there is more. The high watermark
// goes back only with the log.
func (p *Partition) grown(bytes int, highWatermark kafka.Offset, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unseen += int64(bytes)
	if highWatermark > p.Log().HighWatermark() || cut {
		p.raise(highWatermark)
	}
}

// whole is the part of a fetch's records that may be appended: whole batches, for
// a leader cuts its answer at a number of bytes, and of leader epochs up to one
// (core.Deed.UpToEpoch).
func whole(records []byte, upTo kafka.LeaderEpoch) []byte {
	for rest := records; ; {
		v, after, err := batch.Next(rest)
		switch {
		case err != nil && !stderrors.Is(err, batch.ErrShort):
			return records // it is damaged, and the append says how
		case err != nil || v.Epoch() > upTo:
			return records[:len(records)-len(rest)]
		}
		rest = after
	}
}

package replica

import (
	stderrors "errors"

	"kvorum/broker/storage"
	"kvorum/internal/kafka"
)

// copyShared copies at most a chunk while the partition serves.
func (p *Partition) copyShared(m *move) (int, error) {
	p.role.RLock()
	defer p.role.RUnlock()
	if p.fault() != nil || p.Log() == nil || p.owner.dirs.BeingCleaned(p.Log()) {
		return 0, nil
	}
	return p.copyChunk(m)
}

// copyChunk makes the future log grow by at most a chunk; role is held.
func (p *Partition) copyChunk(m *move) (int, error) {
	l := p.Log()
	future, err := p.owner.dirs.Future(p.name)
	if err != nil {
		return 0, err
	}
	if err := p.align(m, l, future); err != nil {
		return 0, err
	}
	start := l.LogStart()
	if future.LogEnd() < start { // retention was faster
		if err := future.TruncateFullyAndStartAt(start); err != nil {
			return 0, err
		}
	}
	records, err := readChunk(l, future.LogEnd())
	if err == nil {
		err = appendTo(future, records, p.owner.clock.Now().UnixMilli())
	}
	if err != nil {
		return 0, err
	}
	future.SetHighWatermark(l.HighWatermark())
	if start > future.LogStart() && start <= future.HighWatermark() {
		_, err = future.DeleteRecordsTo(start)
	}
	return len(records), err
}

// readChunk reads whole batches from an offset on, committed or not.
func readChunk(l *storage.Log, from kafka.Offset) ([]byte, error) {
	s, err := l.Read(from, moveChunk, l.LogEnd(), true)
	if err != nil {
		return nil, err
	}
	defer s.Release()
	return s.AppendTo(nil)
}

// align cuts the future log, once after a start and after each cut of the current
// one, to where the two agree: by leader epochs, as a follower finds it (KIP-101,
// KIP-279). One that is of an earlier topic is kept aside. role is held.
func (p *Partition) align(m *move, l, future *storage.Log) error {
	ms := p.owner.moves
	ms.mu.Lock()
	aligned := m.aligned
	ms.mu.Unlock()
	if aligned {
		return nil
	}
	if future.TopicID() != p.topicID {
		return stderrors.Join(storage.ErrNoLog, p.owner.dirs.StrayFuture(p.name))
	}
	if err := cutToAgree(l, future); err != nil {
		return err
	}
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m.aligned = true // role is held, so that nobody has cut the log meanwhile
	return nil
}

func cutToAgree(l, future *storage.Log) error {
	for {
		latest := future.LatestEpoch()
		known := min(latest, l.LatestEpoch()) // a crash may have taken more from the current log
		if known == kafka.NoEpoch {
			if future.LogEnd() == future.LogStart() && future.LogEnd() <= l.LogEnd() {
				return nil // it is empty
			}
			return future.TruncateFullyAndStartAt(l.LogStart())
		}
		epoch, end := l.EpochEnd(known)
		if epoch == latest {
			return future.TruncateTo(min(end, l.LogEnd(), future.LogEnd()))
		}
		_, own := future.EpochEnd(epoch)
		if epoch == kafka.NoEpoch || own == kafka.NoOffset || own >= future.LogEnd() {
			return future.TruncateFullyAndStartAt(l.LogStart())
		}
		if err := future.TruncateTo(min(end, own)); err != nil {
			return err
		}
	}
}

// finishMove copies what is left while appends wait, and exchanges the logs. It is
// not done where more than a chunk was appended meanwhile, or where the move was
// given up.
func (p *Partition) finishMove(m *move) (copied int, done bool, err error) {
	p.role.Lock()
	defer p.role.Unlock()
	ps := p.owner
	to, moving := ps.dirs.FutureIn(p.name)
	if p.fault() != nil || !moving || to.ID != m.to {
		return 0, false, nil
	}
	for range 2 {
		n, err := p.copyChunk(m)
		copied += n
		if err != nil || copied > moveChunk {
			return copied, false, err
		}
	}
	future, err := ps.dirs.Future(p.name)
	if err != nil || future.LogEnd() != p.Log().LogEnd() {
		return copied, false, err
	}
	if err := ps.journal.follow(p, to.Path); err != nil {
		return copied, false, err
	}
	l, err := ps.dirs.FinishMove(p.name)
	if l == nil {
		return copied, err == nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader != nil {
		l.AssignEpochStart(p.epoch, l.LogEnd()) // where the epoch has no record yet
	}
	p.log.Store(l)
	return copied, err == nil, err
}

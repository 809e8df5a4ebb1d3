package replica

import (
	"context"
	stderrors "errors"
	"fmt"
	"sync"
	"time"

	"kvorum/broker/storage"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// A replica is moved between log directories of its broker while it serves
// (KIP-113, KIP-858). One goroutine copies its log into a future log in the other
// directory, a chunk at a time and in turn with other moves. When that has all
// records, the controllers are told the new directory; when the image says it, the
// future log takes the place of the current one (storage.Dirs.FinishMove). In this
// order, because a broker that starts in between goes by the image, Apache's too.
//
// A chunk is copied with role held shared, so that the log is not cut meanwhile;
// the last of it, and the renames, with role held exclusively.

// moves are the replicas on their way. There is at most one for each partition
// that is hosted.
type moves struct {
	wake chan struct{} // one slot

	mu  sync.Mutex
	all map[*Partition]*move
}

// move is one replica on its way. moves.mu guards what several goroutines write.
type move struct {
	to kafka.DirectoryID
	// aligned says that the future log is a beginning of the current one: not after
	// a start, and not after the current one was cut. Guarded.
	aligned bool
	// asked says that the controllers were told the directory, or may have been.
	// Guarded.
	asked bool

	// Of the goroutine that copies.
	retryMs, backoffMs int64 // after an error
	askMs              int64 // when the controllers are told again
}

const (
	// moveChunk is how much is copied at a time: what a follower fetches of one
	// partition (replica.fetch.max.bytes), so appends wait for no more than that.
	moveChunk = 1 << 20
	// movePause is the rest of the goroutine when no move has anything to copy.
	movePause = 50 * time.Millisecond
	// moveAskMs is how long the image may take to say the new directory before the
	// controllers are told again.
	moveAskMs                         = 10_000
	firstMoveRetryMs, lastMoveRetryMs = 1_000, 60_000
)

// moveRateKey is the key of the bytes per second of all moves together.
const moveRateKey = "replica.alter.log.dirs.io.max.bytes.per.second"

func newMoves() *moves {
	return &moves{wake: make(chan struct{}, 1), all: map[*Partition]*move{}}
}

func (ms *moves) signal() {
	select {
	case ms.wake <- struct{}{}:
	default:
	}
}

func (ms *moves) begin(p *Partition, m *move) {
	ms.mu.Lock()
	ms.all[p] = m
	ms.mu.Unlock()
	ms.signal()
}

// drop forgets a move; told says that the controllers may take its directory for
// the replica's.
func (ms *moves) drop(p *Partition) (told bool) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m := ms.all[p]
	delete(ms.all, p)
	return m != nil && m.asked
}

// cut says that the current log of a partition was cut; role is held exclusively.
func (ms *moves) cut(p *Partition) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if m := ms.all[p]; m != nil {
		m.aligned = false
	}
}

func (ms *moves) list() map[*Partition]*move {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	all := make(map[*Partition]*move, len(ms.all))
	for p, m := range ms.all {
		all[p] = m
	}
	return all
}

// AlterLogDir moves a replica of this broker to the log directory of a path, while
// it serves (ReplicaManager.alterReplicaLogDirs). It returns when the move has
// begun. A move to another directory that is under way is given up, which is all
// that a move to where the replica is does. The errors are INVALID_TOPIC_EXCEPTION
// for a name that is too long (storage.CanMove), LOG_DIR_NOT_FOUND,
// KAFKA_STORAGE_ERROR, REPLICA_NOT_AVAILABLE where this broker has no replica of
// the partition, and UNKNOWN_TOPIC_OR_PARTITION; after these two the directory is
// remembered for a replica that may come.
func (ps *Partitions) AlterLogDir(tp kafka.TopicPartition, path string) error {
	if err := storage.CanMove(tp); err != nil {
		return err
	}
	to, err := ps.dirs.DirectoryAt(path)
	if err != nil {
		return err
	}
	p, err := ps.Lookup(tp)
	switch errors.CodeOf(err) {
	case errors.None:
		return p.moveTo(to)
	case errors.NotLeaderOrFollower:
		err = errors.New(errors.ReplicaNotAvailable, "%v", err)
	case errors.UnknownTopicOrPartition:
	default:
		return err
	}
	if !ps.dirs.Prefer(tp, to) {
		return fmt.Errorf("%w; nor is the directory remembered for later, there are too many such", err)
	}
	return err
}

func (p *Partition) moveTo(to kafka.DirectoryID) error {
	p.role.Lock()
	defer p.role.Unlock()
	if err := p.fault(); err != nil {
		return err
	}
	ps := p.owner
	at, _ := ps.dirs.Where(p.name)
	if future, moving := ps.dirs.FutureIn(p.name); moving {
		if future.ID == to {
			return nil
		}
		if ps.moves.drop(p) {
			ps.homes.assign(p, at)
		}
		ps.logger.Info("move between log directories is given up", "partition", p.name, "to", future.Path)
		if err := ps.dirs.CancelMove(p.name); err != nil {
			return ps.failed(p, err)
		}
	}
	if at == to {
		return nil
	}
	if err := ps.dirs.BeginMove(p.name, to); err != nil {
		return ps.failed(p, err)
	}
	future, _ := ps.dirs.FutureIn(p.name)
	ps.journal.read(future.Path)
	ps.logger.Info("move between log directories begins", "partition", p.name, "to", future.Path)
	ps.moves.begin(p, &move{to: to, aligned: true})
	return nil
}

// resumeMove goes on with a move that was under way when the broker stopped, and
// says where it goes, if there is one.
func (ps *Partitions) resumeMove(p *Partition) (to kafka.DirectoryID, moving bool) {
	future, moving := ps.dirs.FutureIn(p.name)
	if !moving {
		return kafka.DirectoryUnassigned, false
	}
	ps.journal.read(future.Path)
	ps.logger.Info("move between log directories goes on", "partition", p.name, "to", future.Path)
	ps.moves.begin(p, &move{to: future.ID, asked: true})
	return future.ID, true
}

// runMoves copies what is on its way until ctx ends.
func (ps *Partitions) runMoves(ctx context.Context) {
	timer := ps.clock.NewTimer(movePause)
	defer timer.Stop()
	for {
		all := ps.moves.list()
		copied := 0
		for p, m := range all {
			if ctx.Err() != nil {
				return
			}
			ps.paceMoves(ctx, 0) // a rate of 0 stops all moves
			n := ps.advance(p, m)
			copied += n
			ps.paceMoves(ctx, n)
		}
		if copied > 0 {
			continue
		}
		timer.Reset(movePause)
		var pause <-chan time.Time
		if len(all) > 0 {
			pause = timer.C()
		}
		select {
		case <-ctx.Done():
			return
		case <-ps.moves.wake:
		case <-pause:
		}
	}
}

// advance takes one step of a move and returns how many bytes it copied.
func (ps *Partitions) advance(p *Partition, m *move) int {
	if ps.nowMs() < m.retryMs {
		return 0
	}
	n, done, err := ps.step(p, m)
	switch {
	case stderrors.Is(err, storage.ErrNoLog):
		// The future log's directory has failed, or the partition is taken away.
		if ps.moves.drop(p) {
			if at, ok := ps.dirs.Where(p.name); ok {
				ps.homes.assign(p, at)
			}
		}
		ps.logger.Warn("move between log directories has ended without success", "partition", p.name, "error", err)
	case err != nil:
		m.backoffMs = min(max(2*m.backoffMs, firstMoveRetryMs), lastMoveRetryMs)
		m.retryMs = ps.nowMs() + m.backoffMs
		ps.logger.Error("move between log directories rests", "partition", p.name, "for_ms", m.backoffMs, "error", err)
	case done:
		ps.moves.drop(p)
		ps.logger.Info("move between log directories is complete", "partition", p.name, "path", p.logDirectory())
	default:
		m.backoffMs = 0
	}
	return n
}

// step copies a chunk; when there is nothing to be copied it tells the controllers,
// and when they know it finishes.
func (ps *Partitions) step(p *Partition, m *move) (n int, done bool, err error) {
	if p.cold.Load() != nil || ps.unconfirmed.Load() {
		return 0, false, nil // until it is opened, and the image is known to be right
	}
	n, err = p.copyShared(m)
	if err != nil || n > 0 {
		return n, false, err
	}
	if p.Log() == nil || ps.dirs.BeingCleaned(p.Log()) {
		return 0, false, nil
	}
	im := ps.image.Load()
	if state := im.Partition(p.topicID, p.name.Partition); !im.MetadataVersion().Before(image.MV37IV2) && state != nil && state.Directory(ps.self) != m.to {
		ps.tellHome(p, m)
		return 0, false, nil
	}
	future, err := ps.dirs.Future(p.name)
	if err != nil {
		return 0, false, err
	}
	if err := future.Flush(); err != nil { // so that little is left for when appends wait
		return 0, false, err
	}
	return p.finishMove(m)
}

// tellHome tells the controllers in which directory the replica is about to be.
func (ps *Partitions) tellHome(p *Partition, m *move) {
	if m.askMs > ps.nowMs() {
		return
	}
	m.askMs = ps.nowMs() + moveAskMs
	ps.moves.mu.Lock()
	defer ps.moves.mu.Unlock()
	if ps.moves.all[p] == m { // not given up meanwhile
		m.asked = true
		ps.homes.assign(p, m.to)
	}
}

// paceMoves keeps the moves within their bytes per second
// (replica.alter.log.dirs.io.max.bytes.per.second), by a rest after each chunk. Nothing
// is copied at a rate of 0. A new rate ends the rest.
func (ps *Partitions) paceMoves(ctx context.Context, n int) {
	from := ps.nowMs()
	for {
		rate := ps.moveRate.Load()
		var rest int64 // of the rest of n bytes at this rate
		if rate > 0 {
			rest = int64(float64(n)/float64(rate)*1000) - (ps.nowMs() - from)
		}
		if rest <= 0 && rate > 0 {
			return
		}
		timer := ps.clock.NewTimer(time.Duration(max(rest, movePause.Milliseconds())) * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		case <-ps.moves.wake:
		}
		timer.Stop()
	}
}

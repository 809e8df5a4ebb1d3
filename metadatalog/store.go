package metadatalog

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// ErrClosed is what a store gives after Close.
var ErrClosed = errors.New("metadata store is closed")

// ErrReadOnly is what a write gives to a store that is open for reading.
var ErrReadOnly = errors.New("metadata store is open for reading only")

// DefaultCacheBytes is how many bytes of the newest batches stay in memory
// unless Options says otherwise: at 500 bytes a batch, some 4,000 changes.
const DefaultCacheBytes = 2 << 20

// Options of a store. The zero value is good for use.
type Options struct {
	// FS is the file system; nil is the operating system's.
	FS vfs.FS
	// CacheBytes bounds the newest batches that are kept in memory; 0 is
	// DefaultCacheBytes, negative keeps none.
	CacheBytes int
	// Log gets pebble's complaints; nil discards them.
	Log *slog.Logger
	// ReadOnly opens a store that is there and changes nothing in its directory;
	// a write gives an error. It takes the store's lock like any other.
	ReadOnly bool
}

// Append is one atomic write.
type Append struct {
	// Batches are whole v2 batches, the first of which begins at EndOffset and
	// each next one where the one before ends. It may be empty. The store copies
	// it.
	Batches []byte
	// AppliedIndex is the raft index up to which the log is applied; 0 leaves the
	// stored one. It never goes backwards.
	AppliedIndex uint64
	// Private are values of the caller's own that belong to this state of the log;
	// nil deletes one. Keys have 1 to 128 bytes, values at most 1 MiB.
	Private map[string][]byte
	// Sync makes the write, and all before it, durable before Append returns.
	Sync bool
}

// Store is the metadata log of one node. Its methods may be called from any
// goroutine; writes take their turn.
type Store struct {
	dir  string
	opts Options

	// writing is held over a whole write: check, commit, follow. It is taken
	// before mu.
	writing sync.Mutex
	// failed is the first write error, after which the database takes no more
	// writes; guarded by writing.
	failed error

	// mu guards the fields below for as long as it takes to look at them, never
	// over I/O. Whoever writes state also holds writing.
	mu      sync.Mutex
	engine  *shared
	cache   cache
	changed chan struct{} // made by the first waiter, closed at the next change
	closed  bool
}

// Open opens the store in the directory dir and creates it, with its parents,
// where there is none. A store of a newer format, a damaged one and one that
// another process has open give an error that names the file and what to do.
func Open(dir string, o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = DefaultCacheBytes
	}
	open := openCurrent
	if o.ReadOnly {
		open = openReadOnly
	} else if err := o.FS.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create metadata store: %w", err)
	}
	e, err := open(o.FS, dir, pebbleLog{o.Log})
	if err != nil {
		return nil, err
	}
	return &Store{dir: dir, opts: o, engine: newShared(e), cache: cache{limit: o.CacheBytes}}, nil
}

// Close makes everything durable and ends the store. It waits for reads under
// way and for open views. A second Close does nothing.
func (s *Store) Close() error {
	if s == nil {
		return nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.notify()
	s.mu.Unlock()
	if closed {
		return nil
	}
	s.engine.release()
	<-s.engine.unused
	if s.failed != nil {
		return nil // pebble still holds its locks: only the process's end frees it
	}
	if err := s.engine.close(); err != nil {
		return fmt.Errorf("close metadata store %s: %w", s.dir, err)
	}
	return nil
}

// LogStart is the first offset that can be read.
func (s *Store) LogStart() kafka.Offset {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine.state.start
}

// EndOffset is the offset that the next record gets.
func (s *Store) EndOffset() kafka.Offset {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine.state.end
}

// LastEpoch is the epoch of the last record, also when that record is only in
// the snapshot before the log's start; 0 for an empty log from offset 0.
func (s *Store) LastEpoch() kafka.LeaderEpoch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine.state.lastEpoch()
}

// LogBytes is the size of the log's batches together, for retention by size.
func (s *Store) LogBytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine.state.bytes
}

// AppliedIndex is the raft index of the last write that carried one.
func (s *Store) AppliedIndex() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine.state.applied
}

// Private returns a private value. The caller must not change it.
func (s *Store) Private(key string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.engine.state.private[key]
	return value, ok
}

// EpochEnd is Kafka's endOffsetForEpoch: the largest epoch in the log that is
// not above e, with the exclusive end of its records. For an epoch above all it
// is the last epoch and the log's end. For one below all it is the log's start
// under the epoch of the snapshot that ends there, or (e, 0) when the log begins
// at 0. The log holds the records of e up to some offset exactly when the epoch
// that is returned is e and the end is not below that offset.
func (s *Store) EpochEnd(e kafka.LeaderEpoch) kafka.EpochOffset {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine.state.endOfEpoch(e)
}

// Epochs lists where each epoch begins, oldest first. The first entry begins at
// the log's start.
func (s *Store) Epochs() []EpochStart {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]EpochStart(nil), s.engine.state.epochs...)
}

// WaitChanged returns a channel that is closed at the next change of EndOffset,
// and when the store closes. Take the channel first and look at EndOffset after
// it, or a change in between is missed. All waiters share one channel, so a
// change costs the same for any number of them.
func (s *Store) WaitChanged() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
		if s.closed {
			close(s.changed)
		}
	}
	return s.changed
}

// notify wakes the waiters; s.mu is held.
func (s *Store) notify() {
	if s.changed != nil && !isClosed(s.changed) {
		close(s.changed)
	}
	if !s.closed {
		s.changed = nil
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// shared counts who uses an engine, so that Restore and Close end it only when
// its last reader is through.
type shared struct {
	*engine
	mu     sync.Mutex
	users  int
	unused chan struct{} // closed when users falls to 0
	// onUnused runs when users falls to 0, in the goroutine of the last user. It
	// is set while there still is one.
	onUnused func()
}

func newShared(e *engine) *shared {
	return &shared{engine: e, users: 1, unused: make(chan struct{})}
}

func (e *shared) acquire() {
	e.mu.Lock()
	e.users++
	e.mu.Unlock()
}

func (e *shared) release() {
	e.mu.Lock()
	e.users--
	last := e.users == 0
	e.mu.Unlock()
	if !last {
		return
	}
	close(e.unused)
	if e.onUnused != nil {
		e.onUnused()
	}
}

// use returns the engine for reading, or nil when the store is closed; the
// caller releases it. s.mu is held.
func (s *Store) use() *shared {
	if s.closed {
		return nil
	}
	s.engine.acquire()
	return s.engine
}

// pebbleLog sends pebble's complaints to slog. Fatalf panics, as pebble asks of
// it; guard turns that into an error where a caller waits. On a goroutine of
// pebble's own it ends the process: the database's manifest could not be
// written, and nothing that is acknowledged depends on it.
type pebbleLog struct{ log *slog.Logger }

type fatalError string

func (e fatalError) Error() string { return string(e) }

// Infof drops pebble's diary of flushes and compactions.
func (l pebbleLog) Infof(string, ...any) {}

func (l pebbleLog) Errorf(format string, args ...any) {
	if l.log != nil {
		l.log.Error("metadata store: " + fmt.Sprintf(format, args...))
	}
}

func (l pebbleLog) Fatalf(format string, args ...any) {
	l.Errorf(format, args...)
	panic(fatalError(fmt.Sprintf(format, args...)))
}

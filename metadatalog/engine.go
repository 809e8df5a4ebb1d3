package metadatalog

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
)

// ErrDamaged is what a store gives whose files contradict each other.
var ErrDamaged = errors.New("metadata store is damaged")

// Sizes of pebble, chosen for a controller that shall stay below 60 MiB when
// idle: the log is read from its tail, which our own cache serves.
const (
	blockCacheBytes = 4 << 20
	memTableBytes   = 4 << 20
	maxOpenFiles    = 64
	// flushTrimAfter bounds how long space that a trim or truncation freed waits
	// for the next flush.
	flushTrimAfter = 10 * time.Second
)

// engine is one pebble database with the state that it holds. The state follows
// the database; who owns an engine guards it.
type engine struct {
	db    *pebble.DB
	fs    vfs.FS
	dir   string
	state state
}

// openMode says what opening a database may do.
type openMode int

const (
	openExisting  openMode = iota // it must be there
	openOrCreate                  // an empty one is made where there is none
	openUnchanged                 // it must be there, and no file of it is changed
)

// ErrLocked is what opening gives when another process has the store open.
var ErrLocked = errors.New("another process has it open")

// openEngine opens the database in dir and reads its state.
func openEngine(fs vfs.FS, dir string, mode openMode, log pebble.Logger) (_ *engine, err error) {
	e := &engine{fs: fs, dir: dir, state: emptyState()}
	if err := guard(func() error {
		e.db, err = pebble.Open(dir, pebbleOptions(fs, mode, log))
		return err
	}); isLocked(err) {
		return nil, fmt.Errorf("open metadata store %s: %w (%w)", dir, ErrLocked, err)
	} else if err != nil {
		return nil, fmt.Errorf("open metadata store %s: %w", dir, err)
	}
	if err := e.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open metadata store %s: %w", dir, err), e.db.Close())
	}
	return e, nil
}

// isLocked tells the errors that pebble gives for a lock that is taken, by
// another process or by this one, from all others.
func isLocked(err error) bool {
	return err != nil && (errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), "lock held by current process"))
}

func pebbleOptions(fs vfs.FS, mode openMode, log pebble.Logger) *pebble.Options {
	return &pebble.Options{
		FS:                          fs,
		Logger:                      log,
		ErrorIfNotExists:            mode != openOrCreate,
		ReadOnly:                    mode == openUnchanged,
		CacheSize:                   blockCacheBytes,
		MemTableSize:                memTableBytes,
		MemTableStopWritesThreshold: 4,
		MaxOpenFiles:                maxOpenFiles,
		FlushDelayDeleteRange:       flushTrimAfter,
		// A pinned version: a database that a newer pebble may write is not read by
		// this one without our noticing.
		FormatMajorVersion: pebble.FormatTableFormatV6,
	}
}

// load reads the state from the database.
func (e *engine) load() error {
	it, err := e.db.NewIter(nil)
	if err != nil {
		return err
	}
	defer it.Close()
	for valid := it.SeekGE([]byte{tableEpoch}); valid; valid = it.Next() {
		if err := e.loadEntry(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	if e.state.end, err = e.loadEnd(it); err != nil {
		return err
	}
	return e.state.validate()
}

func (e *engine) loadEntry(key, value []byte) (err error) {
	s := &e.state
	switch key[0] {
	case tableEpoch:
		entry, err := parseEpoch(key, value)
		if err != nil {
			return err
		}
		s.epochs = append(s.epochs, entry)
	case tablePrivate:
		s.setPrivate(map[string][]byte{string(key[1:]): append([]byte{}, value...)})
	case tableMeta:
		switch string(key) {
		case string(keyStart):
			s.start, s.startEpoch, err = parseStart(value)
		case string(keyBytes):
			size, perr := parseOffset(key, value)
			s.bytes, err = int64(size), perr
		case string(keyApplied):
			applied, perr := parseOffset(key, value)
			s.applied, err = uint64(applied), perr
		default:
			err = fmt.Errorf("%w: unknown key %q", ErrDamaged, key)
		}
	default:
		err = fmt.Errorf("%w: unknown key %q", ErrDamaged, key)
	}
	return err
}

// loadEnd finds the log's end: that of the last batch, or the start.
func (e *engine) loadEnd(it *pebble.Iterator) (kafka.Offset, error) {
	if !it.SeekLT([]byte{tableBatch + 1}) || it.Key()[0] != tableBatch {
		return e.state.start, it.Error()
	}
	v, err := storedBatch(it.Key(), it.Value())
	if err == nil {
		err = v.CheckCRC()
	}
	if err != nil {
		return 0, fmt.Errorf("%w: last batch: %w", ErrDamaged, err)
	}
	return v.EndOffset(), nil
}

// storedBatch checks that a stored value is the one batch that its key says.
func storedBatch(key, value []byte) (batch.View, error) {
	v, rest, err := batch.Next(value)
	if err != nil {
		return nil, fmt.Errorf("%w: key %x: %w", ErrDamaged, key, err)
	}
	var want [9]byte
	if string(batchKey(want[:0], v.LastOffset())) != string(key) || len(rest) != 0 {
		return nil, fmt.Errorf("%w: key %x holds batch %d-%d and %d bytes more",
			ErrDamaged, key, v.BaseOffset(), v.LastOffset(), len(rest))
	}
	return v, nil
}

// validate checks what every write keeps true.
func (s *state) validate() error {
	if empty := s.start == s.end; s.start > s.end || (len(s.epochs) == 0) != empty || (s.bytes == 0) != empty {
		return fmt.Errorf("%w: start %d, end %d, %d epochs, %d bytes", ErrDamaged, s.start, s.end, len(s.epochs), s.bytes)
	}
	before := EpochStart{Epoch: s.startEpoch - 1, Start: s.start - 1}
	for i, e := range s.epochs {
		if e.Epoch <= before.Epoch || e.Start <= before.Start || e.Start >= s.end || (i == 0 && e.Start != s.start) {
			return fmt.Errorf("%w: epoch %d at offset %d after epoch %d at offset %d of a log from %d to %d",
				ErrDamaged, e.Epoch, e.Start, before.Epoch, before.Start, s.start, s.end)
		}
		before = e
	}
	return nil
}

// append writes what check accepted and makes the state follow; wait makes it
// durable with everything before it.
func (e *engine) append(a Append, views []batch.View, epochs []EpochStart, wait bool) error {
	b := e.db.NewBatchWithSize(len(a.Batches) + 64*(len(views)+4))
	defer b.Close()
	var key [9]byte
	for _, v := range views {
		if err := b.Set(batchKey(key[:0], v.LastOffset()), v, nil); err != nil {
			return err
		}
	}
	for _, entry := range epochs {
		if err := b.Set(epochKey(key[:0], entry.Epoch), offsetValue(entry.Start), nil); err != nil {
			return err
		}
	}
	if len(views) > 0 {
		if err := b.Set(keyBytes, bytesValue(e.state.bytes+int64(len(a.Batches))), nil); err != nil {
			return err
		}
	}
	if err := setSmall(b, a.AppliedIndex, a.Private); err != nil {
		return err
	}
	if b.Empty() && !wait {
		return nil
	}
	return e.commit(b, wait)
}

func setSmall(b *pebble.Batch, applied uint64, private map[string][]byte) error {
	if applied != 0 {
		if err := b.Set(keyApplied, offsetValue(kafka.Offset(applied)), nil); err != nil {
			return err
		}
	}
	for name, value := range private {
		write := func() error { return b.Set(privateKey(name), value, nil) }
		if value == nil {
			write = func() error { return b.Delete(privateKey(name), nil) }
		}
		if err := write(); err != nil {
			return err
		}
	}
	return nil
}

// commit applies b; wait returns after its fsync.
func (e *engine) commit(b *pebble.Batch, wait bool) error {
	return guard(func() error {
		if b.Empty() {
			return e.db.LogData(nil, pebble.Sync)
		}
		return e.db.Apply(b, &pebble.WriteOptions{Sync: wait})
	})
}

// sync returns when everything that was written is on disk.
func (e *engine) sync() error {
	return guard(func() error { return e.db.LogData(nil, pebble.Sync) })
}

// rewrite commits the removal of batches with last offsets in [from, to) and
// replaces the epoch table by that of the state next.
func (e *engine) rewrite(from, to kafka.Offset, next state, a Append, wait bool) error {
	b := e.db.NewBatch()
	defer b.Close()
	var lo, hi [9]byte
	err := b.DeleteRange(batchKey(lo[:0], from), batchKey(hi[:0], to), nil)
	err = errors.Join(err, b.DeleteRange([]byte{tableEpoch}, []byte{tableEpoch + 1}, nil))
	for _, entry := range next.epochs {
		err = errors.Join(err, b.Set(epochKey(lo[:0], entry.Epoch), offsetValue(entry.Start), nil))
	}
	err = errors.Join(err, b.Set(keyStart, startValue(next.start, next.startEpoch), nil),
		b.Set(keyBytes, bytesValue(next.bytes), nil), setSmall(b, a.AppliedIndex, a.Private))
	if err != nil {
		return err
	}
	return e.commit(b, wait)
}

// close ends the database; everything written is on disk then.
func (e *engine) close() error { return guard(e.db.Close) }

// guard turns pebble's panics into errors. Pebble panics, or calls its
// logger's Fatalf, when its write-ahead log cannot be written (a full disk), and
// leaves its locks held: after such an error nothing but reads may touch it.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			cause, ok := r.(error)
			if bug := runtime.Error(nil); !ok || errors.As(cause, &bug) {
				panic(r)
			}
			err = fmt.Errorf("metadata store cannot write any more: %w", cause)
		}
	}()
	return f()
}

package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"kvorum/internal/kafka"
)

// AbortedTransaction is a transaction that was aborted: its records, of this
// producer from First on, are not for readers of committed records.
type AbortedTransaction struct {
	Producer kafka.ProducerID
	First    kafka.Offset // of the first record
	Last     kafka.Offset // of the abort marker
	// LastStable is the last stable offset when the marker was written: no
	// transaction that was aborted later began below it.
	LastStable kafka.Offset
}

// txnIndex lists the aborted transactions whose markers are in a segment, in
// the order of the markers (TransactionIndex). The file is there only when
// there is one. Entries are written at once, and fsynced with the segment: what
// a reader of committed records must not see cannot be guessed from elsewhere.
type txnIndex struct {
	file *file

	mu     sync.RWMutex
	loaded bool
	list   []AbortedTransaction
	dirty  bool // entries that are not fsynced
}

const (
	txnEntry   = 34
	txnVersion = 0
)

func newTxnIndex(f *file) *txnIndex { return &txnIndex{file: f} }

func appendAborted(dst []byte, a AbortedTransaction) []byte {
	dst = binary.BigEndian.AppendUint16(dst, txnVersion)
	for _, v := range [...]int64{int64(a.Producer), int64(a.First), int64(a.Last), int64(a.LastStable)} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(v))
	}
	return dst
}

// parseAborted reads the content of a .txnindex file. Markers ascend and lie in
// the segment that begins at base.
func parseAborted(data []byte, base kafka.Offset) ([]AbortedTransaction, error) {
	if len(data)%txnEntry != 0 {
		return nil, fmt.Errorf("%w: %d bytes of aborted transactions are no multiple of %d", errIndex, len(data), txnEntry)
	}
	list := make([]AbortedTransaction, 0, len(data)/txnEntry)
	for ; len(data) > 0; data = data[txnEntry:] {
		if v := binary.BigEndian.Uint16(data); v > txnVersion {
			return nil, fmt.Errorf("%w: an aborted transaction of version %d", errIndex, v)
		}
		number := func(i int) int64 { return int64(binary.BigEndian.Uint64(data[2+8*i:])) }
		a := AbortedTransaction{kafka.ProducerID(number(0)), kafka.Offset(number(1)), kafka.Offset(number(2)), kafka.Offset(number(3))}
		if a.Last < base || a.First > a.Last || a.First < 0 || (len(list) > 0 && a.Last <= list[len(list)-1].Last) {
			return nil, fmt.Errorf("%w: an aborted transaction from %d to %d", errIndex, a.First, a.Last)
		}
		list = append(list, a)
	}
	return list, nil
}

// load reads the file once; mu is held.
func (x *txnIndex) load() error {
	if x.loaded {
		return nil
	}
	data, err := x.file.contents()
	if errors.Is(err, errNotExist) {
		x.loaded = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", x.file.name(), err)
	}
	base, _, _ := parseName(x.file.cache.fs.PathBase(x.file.name()))
	if x.list, err = parseAborted(data, base); err != nil {
		return fmt.Errorf("read %s: %w", x.file.name(), err)
	}
	x.loaded = true
	return nil
}

// all returns the entries; the slice is not to be changed.
func (x *txnIndex) all() ([]AbortedTransaction, error) {
	x.mu.RLock()
	if x.loaded {
		defer x.mu.RUnlock()
		return x.list, nil
	}
	x.mu.RUnlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	err := x.load()
	return x.list, err
}

// add appends an entry. Entries that are already there are not added twice:
// recovery meets markers that were indexed before the crash.
func (x *txnIndex) add(a AbortedTransaction) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.load(); err != nil {
		return err
	}
	if n := len(x.list); n > 0 && x.list[n-1].Last >= a.Last {
		return nil
	}
	f, err := x.file.acquire()
	if err != nil {
		return err
	}
	defer x.file.release()
	if _, err := f.WriteAt(appendAborted(nil, a), int64(len(x.list))*txnEntry); err != nil {
		return fmt.Errorf("write an aborted transaction to %s: %w", x.file.name(), err)
	}
	x.list = append(x.list, a)
	x.dirty = true
	return nil
}

// truncate drops the entries whose markers are at or after an offset.
func (x *txnIndex) truncate(at kafka.Offset) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.load(); err != nil {
		return err
	}
	keep := len(x.list)
	for keep > 0 && x.list[keep-1].Last >= at {
		keep--
	}
	if keep == len(x.list) {
		return nil
	}
	x.list = x.list[:keep:keep]
	x.dirty = true
	return x.file.truncate(int64(keep) * txnEntry)
}

// flush fsyncs what has been added.
func (x *txnIndex) flush() error {
	x.mu.Lock()
	dirty := x.dirty
	x.dirty = false
	x.mu.Unlock()
	if !dirty {
		return nil
	}
	return x.file.sync()
}

// reset forgets all entries: recovery is about to find them again.
func (x *txnIndex) reset() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.loaded, x.list, x.dirty = true, nil, false
	if _, err := x.file.cache.fs.Stat(x.file.name()); errors.Is(err, errNotExist) {
		return nil
	}
	x.dirty = true
	return x.file.truncate(0)
}

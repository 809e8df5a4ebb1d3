package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/internal/vfs"
)

// errIndex marks an index that contradicts itself or its segment; it is built
// anew from the segment then.
var errIndex = errors.New("the index is damaged")

// maxTail bounds the entries that an index keeps in memory, in bytes: enough
// that consumers near the end of a log search memory only, little enough that a
// broker with thousands of busy partitions does not feel it.
const maxTail = 32 << 10

// indexPage is how many bytes of the file the last steps of a search read at
// once.
const indexPage = 4 << 10

// entries is the shared core of the offset and the time index: fixed-width
// entries in ascending order, the first of them in the file, the last ones in
// memory until flush. Lookups do not wait for the appends' write(2).
//
// Apache maps these files into memory. We read and write them: a disk that is
// full or fails is then an error of a system call and not a signal that ends the
// process, and 10,000 idle partitions map nothing.
type entries struct {
	file  *file
	width int

	mu     sync.RWMutex
	loaded bool // stored is known
	unmade bool // the file may not be there: flush makes it, even for no entry
	stored int  // entries in the file
	tail   []byte
}

// column is one number of an entry.
type column struct{ at, width int }

func (c column) of(entry []byte) int64 {
	if c.width == 8 {
		return int64(binary.BigEndian.Uint64(entry[c.at:]))
	}
	return int64(int32(binary.BigEndian.Uint32(entry[c.at:])))
}

// maxWidth is the width of the widest entry.
const maxWidth = 12

type entry [maxWidth]byte

// load finds the number of entries in the file. Apache makes the file of an
// active segment its full size at once: the zeroes at its end are no entries.
// x.mu is held.
func (x *entries) load() error {
	if x.loaded {
		return nil
	}
	f, err := x.file.acquire()
	if err != nil {
		return err
	}
	defer x.file.release()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("size of %s: %w", x.file.name(), err)
	}
	// The first entry may be all zeroes; of the others only those that were
	// never written are.
	low, high := 1, int(info.Size())/x.width
	for low < high {
		middle := int(uint(low+high) / 2)
		var e entry
		if err := x.read(f, middle, e[:x.width]); err != nil {
			return err
		}
		if e == (entry{}) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	x.stored, x.loaded = high, true
	return nil
}

// read reads whole entries of the file from the i-th on.
func (x *entries) read(f vfs.File, i int, dst []byte) error {
	if _, err := f.ReadAt(dst, int64(i)*int64(x.width)); err != nil {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: %s ends before entry %d", errIndex, x.file.name(), i)
		}
		return fmt.Errorf("read entry %d of %s: %w", i, x.file.name(), err)
	}
	return nil
}

// ready loads the index where it has not been used yet and leaves x.mu locked
// for reading.
func (x *entries) ready() error {
	x.mu.RLock()
	if x.loaded {
		return nil
	}
	x.mu.RUnlock()
	x.mu.Lock()
	err := x.load()
	x.mu.Unlock()
	if err != nil {
		return err
	}
	x.mu.RLock()
	return nil
}

// count is the number of entries; x.mu is held.
func (x *entries) count() int { return x.stored + len(x.tail)/x.width }

// floor finds the last entry whose column is at most key, and its place. It is
// -1 where there is none.
func (x *entries) floor(c column, key int64) (int, entry, error) {
	if err := x.ready(); err != nil {
		return -1, entry{}, err
	}
	defer x.mu.RUnlock()
	if n := len(x.tail) / x.width; n > 0 && c.of(x.tail) <= key {
		low := search(x.tail, x.width, n, c, key)
		return x.stored + low, x.cut(x.tail, low), nil
	}
	if x.stored == 0 {
		return -1, entry{}, nil
	}
	return x.floorStored(c, key)
}

// search is the place of the last of n entries whose column is at most key; the
// first one's is.
func search(data []byte, width, n int, c column, key int64) int {
	low, high := 0, n-1
	for low < high {
		middle := int(uint(low+high+1) / 2)
		if c.of(data[middle*width:]) <= key {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return low
}

func (x *entries) cut(data []byte, i int) (e entry) {
	copy(e[:], data[i*x.width:(i+1)*x.width])
	return e
}

// pages lends the memory of searches in files.
var pages = sync.Pool{New: func() any { return new([indexPage]byte) }}

// floorStored searches the file: by single entries down to a page, then in the
// page.
func (x *entries) floorStored(c column, key int64) (int, entry, error) {
	f, err := x.file.acquire()
	if err != nil {
		return -1, entry{}, err
	}
	defer x.file.release()
	page := pages.Get().(*[indexPage]byte)
	defer pages.Put(page)
	perPage := indexPage / x.width
	low, high := 0, x.stored // the answer is low-1 .. high-1
	for high-low > perPage {
		middle := int(uint(low+high) / 2)
		e := page[:x.width]
		if err := x.read(f, middle, e); err != nil {
			return -1, entry{}, err
		}
		if c.of(e) <= key {
			low = middle
		} else {
			high = middle
		}
	}
	data := page[:(high-low)*x.width]
	if err := x.read(f, low, data); err != nil {
		return -1, entry{}, err
	}
	if c.of(data) > key {
		return -1, entry{}, nil // low is 0 then
	}
	i := search(data, x.width, high-low, c, key)
	return low + i, x.cut(data, i), nil
}

// atLocked returns the i-th entry, false where there are not that many; ready has
// been called.
func (x *entries) atLocked(i int) (entry, bool, error) {
	switch {
	case i < 0 || i >= x.count():
		return entry{}, false, nil
	case i >= x.stored:
		return x.cut(x.tail, i-x.stored), true, nil
	}
	f, err := x.file.acquire()
	if err != nil {
		return entry{}, false, err
	}
	defer x.file.release()
	var e entry
	err = x.read(f, i, e[:x.width])
	return e, err == nil, err
}

// last returns the last entry; false where there is none.
func (x *entries) last() (entry, bool, error) {
	if err := x.ready(); err != nil {
		return entry{}, false, err
	}
	defer x.mu.RUnlock()
	return x.atLocked(x.count() - 1)
}

// append adds an entry in memory and writes the older half of the tail where it
// has grown long.
func (x *entries) append(e []byte) error {
	x.mu.Lock()
	x.tail = append(x.tail, e...)
	long := len(x.tail) > maxTail
	x.mu.Unlock()
	if long {
		return x.write(len(x.tail) / x.width / 2)
	}
	return nil
}

// flush writes the tail to the file, without fsync.
func (x *entries) flush() error {
	x.mu.RLock()
	n := len(x.tail) / x.width
	x.mu.RUnlock()
	if n == 0 && !x.unmade {
		return nil
	}
	return x.write(n)
}

// write moves the first n entries of the tail to the file. Only one goroutine
// at a time appends, flushes or truncates.
func (x *entries) write(n int) error {
	f, err := x.file.acquire()
	if err != nil {
		return err
	}
	defer x.file.release()
	x.unmade = false
	data := x.tail[:n*x.width]
	if _, err := f.WriteAt(data, int64(x.stored)*int64(x.width)); err != nil {
		return fmt.Errorf("write %d entries to %s: %w", n, x.file.name(), err)
	}
	x.mu.Lock()
	x.stored += n
	x.tail = append(x.tail[:0], x.tail[n*x.width:]...)
	x.mu.Unlock()
	return nil
}

// truncate keeps the first n entries.
func (x *entries) truncate(n int) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.load(); err != nil {
		return err
	}
	if n >= x.stored {
		x.tail = x.tail[:min(len(x.tail), (n-x.stored)*x.width)]
	} else {
		x.stored, x.tail = n, nil
	}
	return x.file.truncate(int64(x.stored) * int64(x.width))
}

// offsetIndex maps offsets to positions of batches: an entry holds the last
// offset of a batch and the position at which the batch begins (OffsetIndex).
type offsetIndex struct {
	entries
	base kafka.Offset
}

const offsetEntry = 8

var (
	columnOffset   = column{at: 0, width: 4}
	columnPosition = column{at: 4, width: 4}
)

func newOffsetIndex(f *file, base kafka.Offset) *offsetIndex {
	return &offsetIndex{entries: entries{file: f, width: offsetEntry}, base: base}
}

// indexed is what an entry of the offset index says: the batch at position ends
// with last. A position of 0 stands for the begin of the segment, of which the
// index knows no offset.
type indexed struct {
	last     kafka.Offset
	position int64
}

func (x *offsetIndex) decode(e entry) indexed {
	return indexed{last: x.base + kafka.Offset(columnOffset.of(e[:])), position: columnPosition.of(e[:])}
}

// lookup finds the last entry at or before an offset.
func (x *offsetIndex) lookup(at kafka.Offset) (indexed, error) {
	return x.find(columnOffset, int64(at-x.base))
}

// before finds the last entry at or before a position.
func (x *offsetIndex) before(position int64) (indexed, error) {
	return x.find(columnPosition, position)
}

func (x *offsetIndex) find(c column, key int64) (indexed, error) {
	i, e, err := x.floor(c, key)
	if err != nil || i < 0 {
		return indexed{last: kafka.NoOffset}, err
	}
	found := x.decode(e)
	if found.last < x.base || found.position <= 0 { // no entry is for the first batch
		return found, fmt.Errorf("%w: %s has offset %d at position %d", errIndex, x.file.name(), found.last, found.position)
	}
	return found, nil
}

// add appends an entry for a batch.
func (x *offsetIndex) add(last kafka.Offset, position int64) error {
	if planted.Is(planted.TrustIndex) {
		if e, ok, err := x.last(); err != nil || ok && x.decode(e).last >= last {
			return err // it is there already
		}
	}
	var e [offsetEntry]byte
	binary.BigEndian.PutUint32(e[0:], uint32(last-x.base))
	binary.BigEndian.PutUint32(e[4:], uint32(position))
	return x.append(e[:])
}

// full reports whether the index has as many entries as bytes can hold
// (segment.index.bytes). Apache keeps one entry of the time index free for the
// roll; so do we, of both.
func (x *entries) full(bytes int64) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return int64(x.count()+1) >= max(bytes/int64(x.width), 2)
}

// clear drops all entries, whatever the file has.
func (x *entries) clear() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stored, x.tail, x.loaded = 0, nil, true
	return x.file.truncate(0)
}

package storage

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"kvorum/internal/vfs"
)

// errGone is what a file gives that was taken out of its log: the reader looks
// for its offset again.
var errGone = errors.New("the file was removed from the log")

// Files bounds the descriptors of all logs of a broker: files are opened when
// they are used and closed, longest unused first, when there are more than the
// limit. A file in use is never closed, so that the limit can be exceeded by as
// many files as there are reads and appends at one moment; those above it are closed
// when they are released.
//
// A file may be closed with bytes that are not fsynced; they stay in the page
// cache, and a later Flush opens it again and fsyncs it.
type Files struct {
	fs    vfs.FS
	limit int

	mu   sync.Mutex
	ring []*file // open files, in the order of the clock's hand
	hand int
	open atomic.Int64 // len(ring), read without mu
}

// NewFiles returns a cache of at most limit open files; limit is at least 1.
func NewFiles(fs vfs.FS, limit int) *Files {
	if limit < 1 {
		panic(fmt.Sprintf("storage: a limit of %d open files", limit))
	}
	return &Files{fs: fs, limit: limit}
}

// Open is the number of files that are open now.
func (c *Files) Open() int { return int(c.open.Load()) }

// Crowded reports whether more files are open than may be, because none could be closed:
// who holds some takes no more of them then.
func (c *Files) Crowded() bool { return c.Open() > c.limit }

// file is one file that is opened when needed. It is safe for concurrent use.
type file struct {
	cache *Files

	path atomic.Pointer[string] // changed with mu held, read by name without

	mu    sync.Mutex
	f     vfs.File   // nil: closed
	users int        // who hold f
	gone  bool       // closed for good as soon as nobody holds it
	used  bool       // since the clock's hand passed
	stale []vfs.File // replaced by a truncation, closed when nobody holds them

	slot int // place in cache.ring, guarded by cache.mu
}

func (c *Files) file(path string) *file {
	h := &file{cache: c}
	h.path.Store(&path)
	return h
}

// name is the path of the file now.
func (h *file) name() string { return *h.path.Load() }

// acquire opens the file where it is closed, and keeps it open until release.
// A file that does not exist is made.
func (h *file) acquire() (vfs.File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone {
		return nil, errGone
	}
	if h.f == nil {
		f, err := vfs.OpenReadWrite(h.cache.fs, h.name())
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", h.name(), err)
		}
		h.f = f
		h.cache.add(h)
	}
	h.users++
	h.used = true
	return h.f, nil
}

// release gives back what acquire returned.
func (h *file) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.users--
	if h.users < 0 {
		panic("storage: " + h.name() + " released more often than acquired")
	}
	if h.users > 0 {
		return
	}
	for _, f := range h.stale {
		_ = f.Close()
	}
	h.stale = nil
	switch {
	case h.gone:
		_ = h.shut() // the file was removed: its bytes are nobody's any more
	case h.cache.Crowded():
		_ = h.shut() // the kernel keeps a write error for the next fsync of the file
	}
}

// shut closes the descriptor; h.mu is held and nobody uses it.
func (h *file) shut() error {
	if h.f == nil {
		return nil
	}
	h.cache.remove(h)
	err := h.f.Close()
	h.f = nil
	return err
}

// forget takes the file out of use: who holds it may go on until release.
func (h *file) forget() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone = true
	if h.users > 0 {
		return nil
	}
	return h.shut()
}

// rest closes the file if nobody uses it, until the next acquire.
func (h *file) rest() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.users > 0 {
		return nil
	}
	return h.shut()
}

// rename gives the file another name; who holds it does not notice.
func (h *file) rename(path string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.cache.fs.Rename(h.name(), path); err != nil {
		return err
	}
	h.path.Store(&path)
	return nil
}

// renamed says that the file, which is not there, would have another name.
func (h *file) renamed(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.path.Store(&path)
}

// contents reads the whole file. It is errGone once the file is out of its log:
// its name is then another's, or nobody's.
func (h *file) contents() ([]byte, error) {
	h.mu.Lock() // no rename between the look at the name and the open
	defer h.mu.Unlock()
	if h.gone {
		return nil, errGone
	}
	return readFile(h.cache.fs, h.name())
}

// truncate cuts the file to size.
func (h *file) truncate(size int64) error {
	if _, err := h.acquire(); err != nil {
		return err
	}
	defer h.release()
	h.mu.Lock()
	defer h.mu.Unlock()
	f, err := vfs.Truncate(h.cache.fs, h.f, h.name(), size)
	if f != h.f {
		h.stale = append(h.stale, h.f)
		h.f = f
	}
	if err != nil {
		return fmt.Errorf("truncate %s to %d bytes: %w", h.name(), size, err)
	}
	return nil
}

// sync makes the file's bytes durable.
func (h *file) sync() error {
	f, err := h.acquire()
	if err != nil {
		return err
	}
	defer h.release()
	if err := f.SyncData(); err != nil {
		return fmt.Errorf("fsync %s: %w", h.name(), err)
	}
	return nil
}

// add puts an opened file into the ring and makes room; h.mu is held.
func (c *Files) add(h *file) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.slot = len(c.ring)
	c.ring = append(c.ring, h)
	c.open.Add(1)
	// Two turns: the first clears the marks of use.
	for tries := 2 * len(c.ring); len(c.ring) > c.limit && tries > 0; tries-- {
		c.hand %= len(c.ring)
		victim := c.ring[c.hand]
		if victim == h || !c.evict(victim) {
			c.hand++
		}
	}
}

// evict closes a file that nobody uses or used since the last turn. It never
// waits for the file's lock, as its holder may wait for the cache's.
func (c *Files) evict(h *file) bool {
	if !h.mu.TryLock() {
		return false
	}
	defer h.mu.Unlock()
	if h.users > 0 || h.used {
		h.used = h.users > 0
		return false
	}
	c.drop(h)
	_ = h.f.Close() // the kernel keeps a write error for the next fsync of the file
	h.f = nil
	return true
}

func (c *Files) remove(h *file) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(h)
}

// drop takes h out of the ring; c.mu is held.
func (c *Files) drop(h *file) {
	last := len(c.ring) - 1
	c.ring[h.slot] = c.ring[last]
	c.ring[h.slot].slot = h.slot
	c.ring[last] = nil
	c.ring = c.ring[:last]
	c.open.Add(-1)
}

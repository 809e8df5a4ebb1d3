package metadatalog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"kvorum/internal/kafka"
)

// View is the store as it was when the view was taken, whatever is written
// later. It is cheap to take and holds disk space until it is closed. It is
// used from one goroutine at a time.
type View struct {
	snapshot *pebble.Snapshot
	engine   *shared
	state    state
}

// View takes a consistent view of everything: batches, private values and the
// applied index. It is between two writes, never inside of one.
func (s *Store) View() (*View, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.failed != nil {
		return nil, fmt.Errorf("view of the metadata log: %w", s.failed)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.use()
	if e == nil {
		return nil, fmt.Errorf("view of the metadata log: %w", ErrClosed)
	}
	return &View{snapshot: e.db.NewSnapshot(), engine: e, state: e.state.clone()}, nil
}

// Close releases what the view holds. A second Close does nothing.
func (v *View) Close() error {
	if v.engine == nil {
		return nil
	}
	err := v.snapshot.Close()
	v.engine.release()
	v.engine = nil
	return err
}

// LogStart is the view's first offset.
func (v *View) LogStart() kafka.Offset { return v.state.start }

// EndOffset is the end of the view's log, exclusive.
func (v *View) EndOffset() kafka.Offset { return v.state.end }

// LastEpoch is as Store.LastEpoch.
func (v *View) LastEpoch() kafka.LeaderEpoch { return v.state.lastEpoch() }

// AppliedIndex is as Store.AppliedIndex.
func (v *View) AppliedIndex() uint64 { return v.state.applied }

// Epochs is as Store.Epochs.
func (v *View) Epochs() []EpochStart { return slices.Clone(v.state.epochs) }

// Private is as Store.Private.
func (v *View) Private(key string) ([]byte, bool) {
	value, ok := v.state.private[key]
	return value, ok
}

// Read is as Store.Read, of the view's log.
func (v *View) Read(from kafka.Offset, maxBytes int) ([]byte, error) {
	if from < v.state.start || from > v.state.end {
		return nil, fmt.Errorf("read offset %d: %w: the view is from %d to %d", from, ErrOffsetOutOfRange, v.state.start, v.state.end)
	}
	if from == v.state.end {
		return nil, nil
	}
	return readBatches(v.snapshot, from, v.state.end, maxBytes)
}

// The stream of Export, integers big endian:
//
//	8  "kvmdlog" and FormatVersion in one byte
//	8  log start          4  epoch before it
//	8  log end            8  applied index
//	4  number of private values, then of each:
//	     2 length and bytes of its key, 4 length and bytes of its value
//	   the batches from log start to log end, as they are stored
//	4  CRC-32C of all bytes before
const (
	streamMagic = "kvmdlog"
	// maxPrivateCount bounds the private values of one stream; there are a few.
	maxPrivateCount = 1024
)

// exportChunk is how many bytes of batches Export reads at a time.
const exportChunk = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Export writes everything in the view to w in one stream that Restore reads.
// It holds one exportChunk, or one batch, in memory.
func (v *View) Export(w io.Writer) error {
	sum := crc32.New(castagnoli)
	out := io.MultiWriter(w, sum)
	if _, err := out.Write(v.appendHead(nil)); err != nil {
		return fmt.Errorf("export the metadata log: %w", err)
	}
	for at := v.state.start; at < v.state.end; {
		b, next, err := v.nextBatches(at, v.state.end, exportChunk)
		if err != nil {
			return fmt.Errorf("export the metadata log: %w", err)
		}
		if _, err := out.Write(b); err != nil {
			return fmt.Errorf("export the metadata log at offset %d: %w", at, err)
		}
		at = next
	}
	if _, err := w.Write(binary.BigEndian.AppendUint32(nil, sum.Sum32())); err != nil {
		return fmt.Errorf("export the metadata log: %w", err)
	}
	return nil
}

func (v *View) appendHead(dst []byte) []byte {
	be := binary.BigEndian
	dst = append(append(dst, streamMagic...), FormatVersion)
	dst = be.AppendUint64(dst, uint64(v.state.start))
	dst = be.AppendUint32(dst, uint32(v.state.startEpoch))
	dst = be.AppendUint64(dst, uint64(v.state.end))
	dst = be.AppendUint64(dst, v.state.applied)
	dst = be.AppendUint32(dst, uint32(len(v.state.private)))
	for _, key := range sortedKeys(v.state.private) {
		dst = append(be.AppendUint16(dst, uint16(len(key))), key...)
		value := v.state.private[key]
		dst = append(be.AppendUint32(dst, uint32(len(value))), value...)
	}
	return dst
}

func sortedKeys(m map[string][]byte) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// Restore replaces everything in the store by what Export wrote to r. The new
// store is built beside the old one, made durable, and then takes its place in
// one step: a crash leaves the one or the other. Bytes that are no whole valid
// stream give an error and change nothing. Readers and views of the old store
// go on undisturbed; its space is freed after the last of them.
func (s *Store) Restore(r io.Reader) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.isClosed() {
		return fmt.Errorf("restore the metadata log: %w", ErrClosed)
	}
	if s.opts.ReadOnly {
		return fmt.Errorf("restore the metadata log: %w", ErrReadOnly)
	}
	fs, n := s.opts.FS, 0
	n, _ = dbNumber(fs.PathBase(s.engine.dir))
	dir := fs.PathJoin(s.dir, dbName(n+1))
	if err := fs.RemoveAll(dir); err != nil {
		return fmt.Errorf("restore the metadata log: remove %s: %w", dir, err)
	}
	e, err := s.buildRestored(dir, r)
	if err != nil {
		return fmt.Errorf("restore the metadata log: %w", err)
	}
	if err := writeCurrent(fs, s.dir, dbName(n+1)); err != nil {
		// Which of the two is current after a crash is not known: no write may
		// follow.
		return s.fail(fmt.Errorf("restore the metadata log: %w", err))
	}
	s.swap(e)
	return nil
}

// swap makes e the store's engine and ends the old one after its last reader.
func (s *Store) swap(e *engine) {
	s.mu.Lock()
	old := s.engine
	broken := s.failed != nil
	s.engine, s.failed = newShared(e), nil
	s.cache.clear()
	s.notify()
	s.mu.Unlock()
	old.onUnused = func() {
		if broken || old.close() == nil {
			_ = old.fs.RemoveAll(old.dir) // Open removes what is left here
		}
	}
	old.release()
}

// buildRestored makes a durable database of the stream r in dir.
func (s *Store) buildRestored(dir string, r io.Reader) (*engine, error) {
	fs := s.opts.FS
	e, err := openEngine(fs, dir, openOrCreate, pebbleLog{s.opts.Log})
	if err != nil {
		return nil, err
	}
	in := &summedReader{r: r, sum: crc32.New(castagnoli)}
	if err := restoreStream(e, in); err != nil {
		_ = e.close()
		_ = fs.RemoveAll(dir)
		return nil, err
	}
	return e, nil
}

func restoreStream(e *engine, in *summedReader) error {
	head, private, err := readHead(in)
	if err != nil {
		return err
	}
	a := Append{AppliedIndex: head.applied, Private: private}
	if err := checkPrivate(private); err != nil {
		return err
	}
	next := emptyState()
	next.reset(kafka.EpochOffset{Offset: head.start, Epoch: head.startEpoch})
	next.appended(a, nil, nil)
	if err := e.rewrite(0, 0, next, a, false); err != nil {
		return err
	}
	e.state = next
	if err := copyBatches(e, in, head.end); err != nil {
		return err
	}
	want := in.sum.Sum32()
	var tail [4]byte
	if _, err := io.ReadFull(in.r, tail[:]); err != nil {
		return fmt.Errorf("stream is cut short before its checksum: %w", err)
	}
	if got := binary.BigEndian.Uint32(tail[:]); got != want {
		return fmt.Errorf("%w: stream has checksum %08x, its bytes have %08x", ErrDamaged, got, want)
	}
	return e.sync()
}

// copyBatches appends the stream's batches up to the offset end. Each is read
// by its own length, which is bounded before it is believed.
func copyBatches(e *engine, in *summedReader, end kafka.Offset) error {
	var buf bytes.Buffer
	for e.state.end < end {
		buf.Reset()
		if err := readBatch(in, &buf); err != nil {
			return fmt.Errorf("read batch at offset %d: %w", e.state.end, err)
		}
		a := Append{Batches: buf.Bytes()}
		views, epochs, err := e.state.check(a)
		if err != nil {
			return err
		}
		if err := e.append(a, views, epochs, false); err != nil {
			return err
		}
		e.state.appended(a, views, epochs)
	}
	if e.state.end != end {
		return fmt.Errorf("%w: stream ends at offset %d instead of %d", ErrDamaged, e.state.end, end)
	}
	return nil
}

// readHead reads the stream up to its batches.
func readHead(in io.Reader) (head state, private map[string][]byte, err error) {
	var fixed [8 + 8 + 4 + 8 + 8 + 4]byte
	if _, err := io.ReadFull(in, fixed[:]); err != nil {
		return head, nil, fmt.Errorf("stream is cut short in its head: %w", err)
	}
	be := binary.BigEndian
	if string(fixed[:7]) != streamMagic {
		return head, nil, fmt.Errorf("%w: stream begins with %q", ErrDamaged, fixed[:7])
	}
	if fixed[7] > FormatVersion {
		return head, nil, fmt.Errorf("stream has format %d and this kvorum knows up to %d: run the newer kvorum that wrote it", fixed[7], FormatVersion)
	}
	head.start = kafka.Offset(be.Uint64(fixed[8:]))
	head.startEpoch = kafka.LeaderEpoch(be.Uint32(fixed[16:]))
	head.end = kafka.Offset(be.Uint64(fixed[20:]))
	head.applied = be.Uint64(fixed[28:])
	count := be.Uint32(fixed[36:])
	if head.start < 0 || head.end < head.start || head.startEpoch < kafka.NoEpoch || count > maxPrivateCount {
		return head, nil, fmt.Errorf("%w: stream from %d (epoch %d) to %d with %d private values",
			ErrDamaged, head.start, head.startEpoch, head.end, count)
	}
	private = map[string][]byte{}
	for range count {
		key, err := readSized(in, 2, maxPrivateKey)
		if err != nil {
			return head, nil, err
		}
		if private[string(key)], err = readSized(in, 4, maxPrivateBytes); err != nil {
			return head, nil, err
		}
	}
	return head, private, nil
}

// readSized reads a length of lenBytes bytes, at most limit, and so many bytes.
func readSized(in io.Reader, lenBytes int, limit uint32) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(in, length[4-lenBytes:]); err != nil {
		return nil, fmt.Errorf("stream is cut short in its head: %w", err)
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > limit {
		return nil, fmt.Errorf("%w: private value of %d bytes", ErrDamaged, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(in, b); err != nil {
		return nil, fmt.Errorf("stream is cut short in its head: %w", err)
	}
	return b, nil
}

// summedReader keeps the checksum of what was read through it.
type summedReader struct {
	r   io.Reader
	sum hash.Hash32
}

func (s *summedReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.sum.Write(p[:n])
	return n, err
}

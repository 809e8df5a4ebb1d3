package admin

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/metadatalog"
	"kvorum/metadatalog/nodedir"
	"kvorum/protocol/batch"
	"kvorum/snapshot"
)

// Metadata is metadata on disk that is only read: the directory of a kvorum or
// an Apache controller, one .log segment, or one .checkpoint. Nothing is changed
// in it. It has one user at a time.
type Metadata struct {
	// Path is what was opened.
	Path string

	store       *metadatalog.Store // of a kvorum controller, else nil
	segments    []logSegment       // of Apache's log, oldest first
	checkpoints []checkpoint       // oldest first; a file that was opened by itself is the only one
	alone       bool               // Path is a checkpoint
}

// logSegment is one .log file.
type logSegment struct {
	base kafka.Offset // kafka.NoOffset if the file's name does not say
	path string
}

// checkpoint is one .checkpoint file.
type checkpoint struct {
	id   kafka.EpochOffset
	path string
}

// OpenMetadata opens what path names. A directory may be a log directory or the
// __cluster_metadata-0 within one. The store of a running controller gives an
// error that wraps metadatalog.ErrLocked.
func OpenMetadata(path string) (*Metadata, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open metadata: %w", err)
	}
	m := &Metadata{Path: path}
	switch {
	case info.IsDir():
		err = m.openDir(path)
	case strings.HasSuffix(path, ".checkpoint"):
		id, _ := snapshot.ParseName(filepath.Base(path))
		m.alone, m.checkpoints = true, []checkpoint{{id: id, path: path}}
	case strings.HasSuffix(path, ".log"):
		m.segments = []logSegment{{base: segmentBase(path), path: path}}
	default:
		err = fmt.Errorf("%s is neither a directory nor a .log or .checkpoint file", path)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// openDir opens the store, or else the segments, of a directory, and lists its
// checkpoints.
func (m *Metadata) openDir(dir string) error {
	if inner := filepath.Join(dir, nodedir.MetadataDir); isDir(inner) {
		dir = inner
	}
	m.Path = dir
	var err error
	if m.segments, m.checkpoints, err = listMetadataDir(dir); err != nil {
		return fmt.Errorf("open metadata: %w", err)
	}
	store := filepath.Join(dir, nodedir.StoreDir)
	if !isDir(store) {
		if len(m.segments) == 0 && len(m.checkpoints) == 0 {
			return fmt.Errorf("%s holds no metadata log: name a controller's metadata.log.dir or log.dirs, a .log or a .checkpoint", dir)
		}
		return nil
	}
	m.segments = nil
	m.store, err = metadatalog.Open(store, metadatalog.Options{ReadOnly: true})
	if errors.Is(err, metadatalog.ErrLocked) {
		return fmt.Errorf("%w: a controller runs on this directory: stop it, or read one of its .checkpoint files, which can be read at any time", err)
	}
	return err
}

// Close ends what OpenMetadata began.
func (m *Metadata) Close() error { return m.store.Close() }

// listMetadataDir finds the segments and snapshots of a __cluster_metadata-0,
// without the checkpoint 0-0, which holds the first voters and no state.
func listMetadataDir(dir string) (segments []logSegment, checkpoints []checkpoint, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if base := segmentBase(path); base != kafka.NoOffset {
			segments = append(segments, logSegment{base: base, path: path})
		}
		if id, ok := snapshot.ParseName(e.Name()); ok && id != snapshot.Bootstrap {
			checkpoints = append(checkpoints, checkpoint{id: id, path: path})
		}
	}
	// The names have leading zeroes, so that ReadDir's order is that of offsets.
	return segments, checkpoints, nil
}

// segmentBase is the first offset by a segment's name, kafka.NoOffset if the
// name is no segment's.
func segmentBase(path string) kafka.Offset {
	name := filepath.Base(path)
	n, err := strconv.ParseInt(strings.TrimSuffix(name, ".log"), 10, 64)
	if err != nil || n < 0 || fmt.Sprintf("%020d.log", n) != name {
		return kafka.NoOffset
	}
	return kafka.Offset(n)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// Batches iterates over the batches that hold offsets from from on and below to,
// oldest first. A batch is valid until the next step; one is in memory at a time,
// or 1 MiB of a store. Offsets of a checkpoint are places in the file. An error
// names the file and the offset.
func (m *Metadata) Batches(from, to kafka.Offset) iter.Seq2[batch.View, error] {
	return func(yield func(batch.View, error) bool) {
		for v, err := range m.everything(from, to) {
			switch {
			case err != nil:
				yield(nil, err)
				return
			case v.EndOffset() <= from:
				continue
			case v.BaseOffset() >= to || !yield(v, nil) || v.EndOffset() >= to:
				return // what lies after to is not read at all, and may be damaged
			}
		}
	}
}

// everything iterates over all batches of a file, and over those of a store or
// of several segments that may hold offsets from from on.
func (m *Metadata) everything(from, to kafka.Offset) iter.Seq2[batch.View, error] {
	switch {
	case m.store != nil:
		return m.storeBatches(from, to)
	case m.alone:
		return fileBatches(m.checkpoints[0].path, 0)
	}
	return m.segmentBatches(from)
}

func (m *Metadata) storeBatches(from, to kafka.Offset) iter.Seq2[batch.View, error] {
	const chunk = 1 << 20
	return func(yield func(batch.View, error) bool) {
		end := min(to, m.store.EndOffset())
		for at := max(from, m.store.LogStart()); at < end; {
			data, err := m.store.Read(at, chunk)
			if err != nil {
				yield(nil, fmt.Errorf("%s: %w", m.Path, err))
				return
			}
			for v, err := range batch.All(data) {
				if err == nil {
					err = v.CheckCRC()
				}
				if err != nil {
					yield(nil, fmt.Errorf("%s: offset %d: %w", m.Path, at, err))
					return
				}
				if !yield(v, nil) {
					return
				}
				at = v.EndOffset()
			}
		}
	}
}

// segmentBatches reads the segments in order, from the last one that begins at
// or below from on, and sees to it that there is no gap between them.
func (m *Metadata) segmentBatches(from kafka.Offset) iter.Seq2[batch.View, error] {
	return func(yield func(batch.View, error) bool) {
		first, _ := slices.BinarySearchFunc(m.segments, from+1, func(s logSegment, at kafka.Offset) int { return int(max(-1, min(1, s.base-at))) })
		next := kafka.NoOffset
		for _, s := range m.segments[max(0, first-1):] {
			if next != kafka.NoOffset && s.base != next {
				yield(nil, fmt.Errorf("%s begins at offset %d, but the segment before it ends at %d: a segment is missing or damaged", s.path, s.base, next))
				return
			}
			next = s.base
			for v, err := range fileBatches(s.path, s.base) {
				if !yield(v, err) || err != nil {
					return
				}
				next = v.EndOffset()
			}
		}
	}
}

// fileBatches reads a segment or a checkpoint, whose first offset must be base
// unless that is kafka.NoOffset, and which may have no gaps.
func fileBatches(path string, base kafka.Offset) iter.Seq2[batch.View, error] {
	return func(yield func(batch.View, error) bool) {
		f, err := vfs.Default.Open(path)
		if err != nil {
			yield(nil, err)
			return
		}
		defer f.Close()
		next := base
		for v, err := range metadatalog.Batches(f) {
			if err == nil && next != kafka.NoOffset && v.BaseOffset() != next {
				err = fmt.Errorf("%w: the batch after offset %d begins at %d", batch.ErrCorrupt, next-1, v.BaseOffset())
			}
			if err != nil {
				yield(nil, fmt.Errorf("%s: %w", path, err))
				return
			}
			next = v.EndOffset()
			if !yield(v, nil) {
				return
			}
		}
	}
}

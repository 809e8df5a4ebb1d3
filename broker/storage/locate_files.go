package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
	wire "kvorum/protocol/errors"
)

// LocateIn finds in a partition's directory the batch that holds an offset, or the
// first one after it where the record itself was compacted away, as Log.Locate
// does of an open log. It reads the files alone and writes nothing, so that a
// broker may run on the directory; what that broker writes meanwhile is found or
// not. An offset that no file holds gives OFFSET_OUT_OF_RANGE.
func LocateIn(fs vfs.FS, dir string, at kafka.Offset) (Location, error) {
	names, err := fs.List(dir)
	if err != nil {
		return Location{}, err
	}
	var bases []kafka.Offset
	for _, name := range names {
		if base, suffix, ok := parseName(name); ok && suffix == logSuffix {
			bases = append(bases, base)
		}
	}
	slices.Sort(bases)
	if len(bases) == 0 || at < bases[0] {
		return Location{}, wire.New(wire.OffsetOutOfRange, "%s: no segment holds offset %d", dir, at)
	}
	first, exact := slices.BinarySearch(bases, at)
	if !exact {
		first--
	}
	for _, base := range bases[first:] {
		where, found, err := locateFile(fs, dir, base, at)
		if err != nil || found {
			return where, err
		}
	}
	return Location{}, wire.New(wire.OffsetOutOfRange, "%s: offset %d is after the last batch", dir, at)
}

// locateFile looks into one segment: the index leads to a batch before the offset,
// from where headers are read.
func locateFile(fs vfs.FS, dir string, base, at kafka.Offset) (_ Location, found bool, err error) {
	where := Location{File: fs.PathJoin(dir, fileName(base, logSuffix)), Segment: base, Index: fs.PathJoin(dir, fileName(base, indexSuffix)), IndexOffset: kafka.NoOffset}
	data, err := readFile(fs, where.Index)
	if err != nil && !errors.Is(err, errNotExist) {
		return where, false, err
	}
	// Apache's broker makes an index its full size and fills it from the front; no
	// entry is for the first batch, and so none is all zero.
	entries := (len(bytes.TrimRight(data, "\x00")) + offsetEntry - 1) / offsetEntry
	if entries = min(entries, len(data)/offsetEntry); entries > 0 {
		entry := data[search(data, offsetEntry, entries, columnOffset, int64(at-base))*offsetEntry:]
		if last := base + kafka.Offset(columnOffset.of(entry)); last <= at {
			where.IndexOffset, where.IndexPosition = last, columnPosition.of(entry)
		}
	}
	f, err := fs.Open(where.File)
	if err != nil {
		return where, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return where, false, err
	}
	w := walk(f, where.File)
	defer w.done()
	for position := where.IndexPosition; position < info.Size(); {
		h, err := w.next(position, info.Size())
		if errors.Is(err, batch.ErrShort) {
			return where, false, nil // it is being written
		}
		if err != nil {
			return where, false, fmt.Errorf("%w: `kvorum storage verify %s` says more", err, dir)
		}
		if h.last >= at {
			where.Position, where.Size, where.Batch, where.Last, where.Epoch = h.position, h.size, h.base, h.last, h.epoch
			return where, true, nil
		}
		position = h.end()
	}
	return where, false, nil
}

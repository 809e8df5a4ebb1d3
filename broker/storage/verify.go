package storage

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"kvorum/broker/storage/checkpoint"
	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
)

// Finding is something wrong in a file of a partition.
type Finding struct {
	File     string
	Position int64        // in the file
	Offset   kafka.Offset // of the batch there, NoOffset where it is not known
	Err      error
}

// String is a line for a report.
func (f Finding) String() string {
	return fmt.Sprintf("%s: position %d, offset %d: %v", f.File, f.Position, f.Offset, f.Err)
}

// Report is what Verify found in a directory.
type Report struct {
	Segments, Batches, Records int64
	Bytes                      int64
	Findings                   []Finding
}

// maxFindings bounds a report: a disk that is full of damage says nothing new
// after that.
const maxFindings = 1000

// verifier reads one partition's directory and changes nothing.
type verifier struct {
	fs     vfs.FS
	dir    string
	report Report
	end    kafka.Offset // of the batches so far
	room   []byte
}

// Verify reads every batch of the partition in a directory down to its records,
// and every index, snapshot and checkpoint, and reports what is not as it has to
// be. It may run on a directory that no broker has open; it writes nothing. The
// error is one of the disk.
func Verify(fs vfs.FS, dir string) (Report, error) {
	v := &verifier{fs: fs, dir: dir}
	names, err := fs.List(dir)
	if err != nil {
		return Report{}, err
	}
	sort.Strings(names)
	for _, name := range names {
		base, suffix, ok := parseName(name)
		switch {
		case ok && suffix == logSuffix:
			err = v.segment(base)
		case ok && suffix == snapshotSuffix:
			err = v.small(name, func(data []byte) error { _, err := producer.ParseSnapshot(data); return err })
		case name == checkpoint.EpochsFile:
			err = v.small(name, func(data []byte) error { _, err := checkpoint.ParseEpochs(name, data); return err })
		case name == checkpoint.PartitionMetadata:
			err = v.small(name, func(data []byte) error { _, err := checkpoint.ParseTopicID(name, data); return err })
		}
		if err != nil {
			return v.report, fmt.Errorf("verify %s: %w", fs.PathJoin(dir, name), err)
		}
	}
	return v.report, nil
}

// found adds a finding; more than the bound are dropped.
func (v *verifier) found(name string, position int64, at kafka.Offset, err error) {
	if len(v.report.Findings) < maxFindings {
		v.report.Findings = append(v.report.Findings, Finding{File: v.fs.PathJoin(v.dir, name), Position: position, Offset: at, Err: err})
	}
}

// small checks a file that is read whole.
func (v *verifier) small(name string, check func([]byte) error) error {
	data, err := readFile(v.fs, v.fs.PathJoin(v.dir, name))
	if err != nil {
		return err
	}
	if err := check(data); err != nil {
		v.found(name, 0, kafka.NoOffset, err)
	}
	return nil
}

// segment checks the batches of a segment and then its indexes.
func (v *verifier) segment(base kafka.Offset) error {
	name := fileName(base, logSuffix)
	f, err := v.fs.Open(v.fs.PathJoin(v.dir, name))
	if err != nil {
		return err
	}
	headers, err := v.batches(f, name, base)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	v.report.Segments++
	return v.indexes(base, headers)
}

// batches checks the batches of a segment down to their records. After bytes
// that are no batch nothing can be found in the file.
func (v *verifier) batches(f vfs.File, name string, base kafka.Offset) ([]header, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	w := walkWhole(f, v.fs.PathJoin(v.dir, name))
	var headers []header
	next := max(base, v.end)
	for position := int64(0); position < info.Size(); {
		h, err := w.next(position, info.Size())
		if err != nil {
			if !damaged(err) {
				return nil, err
			}
			v.found(name, position, kafka.NoOffset, err)
			return headers, nil
		}
		if h.base < next {
			v.found(name, position, h.base, fmt.Errorf("%w: it begins before offset %d", batch.ErrCorrupt, next))
		}
		if err := v.records(f, w, h); err != nil {
			if !damaged(err) && !errors.Is(err, batch.ErrTooLarge) {
				return nil, err
			}
			v.found(name, position, h.base, err)
		}
		headers = append(headers, h)
		position, next = h.end(), h.last+1
		v.report.Bytes += h.size
	}
	v.end = next
	return headers, nil
}

// records checks a batch's checksum and reads its records.
func (v *verifier) records(f vfs.File, w *walker, h header) error {
	v.report.Batches++
	if err := w.checkCRC(h); err != nil {
		return err
	}
	data := make([]byte, h.size) // the checksum says that the length is meant
	if _, err := f.ReadAt(data, h.position); err != nil {
		return err
	}
	b, _, err := batch.Next(data)
	if err != nil {
		return err
	}
	if v.room, err = b.AppendInflated(v.room[:0], batch.DefaultInflateLimit); err != nil {
		return err
	}
	it, last := b.RecordsIn(v.room), kafka.NoOffset
	for it.Next() {
		if at := it.Offset(); at <= last || at < b.BaseOffset() || at > b.LastOffset() {
			return fmt.Errorf("%w: a record at offset %d after %d", batch.ErrCorrupt, at, last)
		}
		last = it.Offset()
		v.report.Records++
	}
	return it.Err()
}

// indexes checks every entry of a segment's indexes against its batches.
func (v *verifier) indexes(base kafka.Offset, headers []header) error {
	at := make(map[int64]header, len(headers))
	for _, h := range headers {
		at[h.position] = h
	}
	err := v.entries(fileName(base, indexSuffix), offsetEntry, func(e []byte) error {
		last, position := base+kafka.Offset(columnOffset.of(e)), columnPosition.of(e)
		if h, ok := at[position]; !ok || h.last != last {
			return fmt.Errorf("%w: no batch at position %d ends with offset %d", errIndex, position, last)
		}
		return nil
	})
	if err != nil {
		return err
	}
	previous := timed{timestamp: -1, offset: base - 1}
	err = v.entries(fileName(base, timeIndexSuffix), timeEntry, func(e []byte) error {
		t := timed{timestamp: columnTimestamp.of(e), offset: base + kafka.Offset(columnTimeOffset.of(e))}
		if t.timestamp <= previous.timestamp || t.offset < previous.offset {
			return fmt.Errorf("%w: timestamp %d at offset %d after %d at %d", errIndex, t.timestamp, t.offset, previous.timestamp, previous.offset)
		}
		previous = t
		i := sort.Search(len(headers), func(i int) bool { return headers[i].last >= t.offset })
		if i == len(headers) || headers[i].maxTimestamp != t.timestamp {
			return fmt.Errorf("%w: the batch of offset %d has no largest timestamp %d", errIndex, t.offset, t.timestamp)
		}
		return nil
	})
	if err != nil {
		return err
	}
	name := fileName(base, txnIndexSuffix)
	err = v.small(name, func(data []byte) error { _, err := parseAborted(data, base); return err })
	if errors.Is(err, errNotExist) {
		return nil
	}
	return err
}

// entries runs check over the entries of an index; a missing one is a finding.
// The zeroes of a file that Apache made its full size are no entries.
func (v *verifier) entries(name string, width int, check func([]byte) error) error {
	data, err := readFile(v.fs, v.fs.PathJoin(v.dir, name))
	if errors.Is(err, errNotExist) {
		v.found(name, 0, kafka.NoOffset, fmt.Errorf("%w: it is missing", errIndex))
		return nil
	}
	if err != nil {
		return err
	}
	end := len(strings.TrimRight(string(data), "\x00"))
	if rest := end % width; rest != 0 {
		end += width - rest
	}
	if end > len(data) {
		v.found(name, int64(len(data)), kafka.NoOffset, fmt.Errorf("%w: its last entry is cut short", errIndex))
		end -= width
	}
	for i := 0; i < end; i += width {
		if err := check(data[i : i+width]); err != nil {
			v.found(name, int64(i), kafka.NoOffset, err)
		}
	}
	return nil
}

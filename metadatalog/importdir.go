package metadatalog

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
)

// ImportDir appends the log of a directory that Apache Kafka wrote
// (__cluster_metadata-0) to an empty store: its .log segments in order. Index
// files and the epoch checkpoint are not read: what they say follows from the
// batches. The log then starts where its first segment does; a snapshot that the
// caller takes along says how far it may be trimmed.
//
// torn tells of a torn tail in the last segment, which Apache would cut off when
// it opens the directory; the batches before it are imported. A tear in another
// segment, a missing segment and any other damage is an error. Everything is
// durable when it returns. A nil fsys is the operating system's.
func (s *Store) ImportDir(fsys vfs.FS, dir string) (torn *TornError, err error) {
	if fsys == nil {
		fsys = vfs.Default
	}
	if s.EndOffset() != 0 {
		return nil, fmt.Errorf("import %s: the store is not empty, it ends at offset %d", dir, s.EndOffset())
	}
	bases, err := segmentBases(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", dir, err)
	}
	for i, base := range bases {
		path := fsys.PathJoin(dir, segmentName(base))
		if i > 0 && base != s.EndOffset() {
			return nil, fmt.Errorf("import %s: %w: the segment before it ends at offset %d", path, ErrNotContiguous, s.EndOffset())
		}
		err := s.importFile(fsys, path, base, i == 0)
		if errors.As(err, &torn) && i == len(bases)-1 {
			return torn, nil
		}
		if err != nil {
			return nil, fmt.Errorf("import %s: %w", path, err)
		}
	}
	return nil, nil
}

func (s *Store) importFile(fsys vfs.FS, path string, base kafka.Offset, first bool) error {
	f, err := fsys.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if first && base > 0 {
		// The epoch before the log's start is not in the directory for certain. That
		// of its first batch is the highest that it can be.
		var head bytes.Buffer
		if err := readBatch(f, &head); err != nil {
			return fmt.Errorf("read batch at offset %d: %w", base, err)
		}
		at := kafka.EpochOffset{Offset: base, Epoch: batch.View(head.Bytes()).Epoch()}
		if err := s.Reset(at, 0, nil); err != nil {
			return err
		}
		again, err := fsys.Open(path)
		if err != nil {
			return err
		}
		defer again.Close()
		return s.ImportSegment(again)
	}
	return s.ImportSegment(f)
}

func segmentName(base kafka.Offset) string { return fmt.Sprintf("%020d.log", base) }

// segmentBases lists the base offsets of the segments of a directory, in order.
func segmentBases(fsys vfs.FS, dir string) (bases []kafka.Offset, err error) {
	names, err := fsys.List(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, ok := strings.CutSuffix(name, ".log")
		n, err := strconv.ParseInt(text, 10, 64)
		if base := kafka.Offset(n); ok && err == nil && n >= 0 && segmentName(base) == name {
			bases = append(bases, base)
		}
	}
	if len(bases) == 0 {
		return nil, errors.New("there is no .log segment: name the __cluster_metadata-0 directory")
	}
	slices.Sort(bases)
	return bases, nil
}

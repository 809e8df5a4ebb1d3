// Package checkpoint reads and writes the small text files of a log directory
// and of a partition's directory: offset checkpoints, leader-epoch-checkpoint,
// partition.metadata and .kafka_cleanshutdown. Apache Kafka 3.9 and 4.3 read what
// it writes, and it reads theirs.
//
// It also holds Epochs, what a log knows of the leaders that wrote it, because
// that is the content of one of these files and nothing more.
//
// Every write but that of partition.metadata is durable when it returns
// (vfs.Replace: temporary file, fsync, rename, fsync of the directory): after a
// crash there is the old content or the new. A damaged file gives an error that names the file and the line; the caller
// knows whether it can do without.
//
// The functions hold no state and may be called from anywhere; writes of one file
// at the same time must be kept apart by the caller.
package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"strconv"
	"strings"

	"kvorum/internal/vfs"
)

// maxFile bounds what is read of a file, in bytes: 200,000 partitions with names
// of the longest kind. Nothing that Kafka writes is longer.
const maxFile = 64 << 20

// ErrDamaged is in the chain of every error about a file's content.
var ErrDamaged = errors.New("file is damaged")

// damaged is an error about one line of a file; line counts from 1.
func damaged(path string, line int, format string, args ...any) error {
	return fmt.Errorf("%s, line %d: %w: %s", path, line, ErrDamaged, fmt.Sprintf(format, args...))
}

// read returns a file's bytes; missing is true where there is none.
func read(fs vfs.FS, path string) (data []byte, missing bool, err error) {
	f, err := fs.Open(path)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("open %s: %w", path, err)
	}
	data, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, false, fmt.Errorf("read %s: %w", path, err)
	}
	if len(data) > maxFile {
		return nil, false, damaged(path, 1, "it is longer than %d bytes", maxFile)
	}
	return data, false, nil
}

// version is that of the files with a count (CheckpointFile).
const version = 0

// entries walks the lines of a checkpoint file (CheckpointFile): a version, a
// count and as many entries. A file that ends before its count has no entries,
// as Kafka creates it so. each gets the fields of a line.
func entries(path string, data []byte, each func(line int, fields []string) error) error {
	lines := strings.Split(string(bytes.TrimSuffix(data, []byte("\n"))), "\n")
	if len(data) == 0 {
		return nil
	}
	if v, err := strconv.ParseInt(strings.TrimSpace(lines[0]), 10, 32); err != nil || v != version {
		return damaged(path, 1, "version %.40q is not known, %d is", lines[0], version)
	}
	if len(lines) == 1 {
		return nil
	}
	count, err := strconv.ParseInt(strings.TrimSpace(lines[1]), 10, 32)
	if err != nil || count < 0 {
		return damaged(path, 2, "%.40q is no number of entries", lines[1])
	}
	if have := int64(len(lines) - 2); have != count {
		return damaged(path, 2, "it declares %d entries and has %d", count, have)
	}
	for i, line := range lines[2:] {
		if err := each(i+3, strings.Fields(line)); err != nil {
			return err
		}
	}
	return nil
}

// header begins a checkpoint file of count entries.
func header(dst []byte, count int) []byte {
	dst = strconv.AppendInt(dst, version, 10)
	dst = append(dst, '\n')
	dst = strconv.AppendInt(dst, int64(count), 10)
	return append(dst, '\n')
}

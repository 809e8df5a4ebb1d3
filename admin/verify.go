package admin

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"kvorum/broker/storage"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
)

// Verification is what reading a directory of partitions showed.
type Verification struct {
	Partitions int64 `json:"partitions"`
	Segments   int64 `json:"segments"`
	Batches    int64 `json:"batches"`
	Records    int64 `json:"records"`
	Bytes      int64 `json:"bytes"`
	// Running says that a broker has the directory open. Then the last segment of a
	// partition is not judged by its indexes and its last batch, which are being
	// written.
	Running  bool          `json:"running"`
	Findings []FileFinding `json:"findings"`
}

// FileFinding is something wrong in a file.
type FileFinding struct {
	File     string `json:"file"`
	Position int64  `json:"position"`
	Offset   int64  `json:"offset"` // -1 if it is not known
	Problem  string `json:"problem"`
}

// maxFileFindings bounds what is kept of a directory that is full of damage.
const maxFileFindings = 10_000

// Verify reads every file of the partitions of a log directory, or of one
// partition's directory. It writes nothing. done is called after each partition.
func Verify(ctx context.Context, dir string, done func(v *Verification, of int)) (*Verification, error) {
	partitions, err := partitionDirs(dir)
	if err != nil {
		return nil, err
	}
	if len(partitions) == 0 {
		return nil, fmt.Errorf("%s holds no partition: name a log directory or one of its TOPIC-PARTITION directories", dir)
	}
	logDir := filepath.Dir(partitions[0].path)
	v := &Verification{Findings: []FileFinding{}, Running: checkStopped(logDir) != nil}
	for _, p := range partitions {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		report, err := storage.Verify(vfs.Default, p.path)
		if err != nil {
			return nil, err
		}
		v.Partitions++
		v.Segments += report.Segments
		v.Batches += report.Batches
		v.Records += report.Records
		v.Bytes += report.Bytes
		for _, f := range report.Findings {
			if len(v.Findings) < maxFileFindings && !(v.Running && beingWritten(p.path, f)) {
				v.Findings = append(v.Findings, FileFinding{f.File, f.Position, int64(f.Offset), f.Err.Error()})
			}
		}
		done(v, len(partitions))
	}
	return v, nil
}

// beingWritten reports whether a finding is what a running broker has not written
// yet: an index of the last segment, or the end of its last batch.
func beingWritten(dir string, f storage.Finding) bool {
	segments, err := filepath.Glob(filepath.Join(dir, "*.log")) // in the order of their names
	if err != nil || len(segments) == 0 {
		return false
	}
	last := segments[len(segments)-1]
	if f.File == last {
		return errors.Is(f.Err, batch.ErrShort)
	}
	base, _ := strings.CutSuffix(last, ".log")
	return strings.HasPrefix(f.File, base+".")
}

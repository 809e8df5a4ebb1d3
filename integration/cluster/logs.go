package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// equalPatience is how long replicas may take to become equal.
const equalPatience = time.Minute

// SameBytes waits until the logs of a topic's partitions have equal bytes in all data
// directories, and returns how many these are. Nothing may be written meanwhile, so
// that the log ends are the high watermarks.
func SameBytes(ctx context.Context, t testing.TB, dataDirs []string, topic string, partitions int) (total int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, equalPatience)
	defer cancel()
	for p := range partitions {
		for {
			n, err := sameBytes(dataDirs, fmt.Sprintf("%s-%d", topic, p))
			if err == nil {
				total += n
				break
			}
			select {
			case <-ctx.Done():
				t.Fatalf("after %v: %v", equalPatience, err)
			case <-time.After(50 * time.Millisecond): // between two looks
			}
		}
	}
	return total
}

func sameBytes(dataDirs []string, partition string) (int, error) {
	first, err := segments(dataDirs[0], partition)
	if err != nil {
		return 0, err
	}
	for _, dir := range dataDirs[1:] {
		other, err := segments(dir, partition)
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(first, other) {
			return 0, fmt.Errorf("%s: %d bytes in %s and %d bytes in %s differ", partition, len(first), dataDirs[0], len(other), dir)
		}
	}
	if len(first) == 0 {
		return 0, fmt.Errorf("%s is empty", partition)
	}
	return len(first), nil
}

// segments are the bytes of a partition's log.
func segments(dataDir, partition string) ([]byte, error) {
	names, err := filepath.Glob(filepath.Join(dataDir, partition, "*.log"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var all []byte
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		all = append(all, data...)
	}
	return all, nil
}

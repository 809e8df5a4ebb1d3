package snapshot

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"kvorum/internal/kafka"
)

// Suffixes of the files in a metadata directory (Snapshots.java).
const (
	suffix        = ".checkpoint"
	partSuffix    = suffix + ".part"    // being written
	deletedSuffix = suffix + ".deleted" // to be removed when nobody fetches it
	damagedSuffix = suffix + ".damaged" // ours: set aside, for somebody to look at
)

// Bootstrap is the id of the file that `storage format` writes to hold the
// first voters of a dynamic quorum. It has no records, is never served, and the
// first leader copies it into the log (Snapshots.BOOTSTRAP_SNAPSHOT_ID).
var Bootstrap = kafka.EpochOffset{Offset: 0, Epoch: 0}

// Name is the file name of the snapshot that ends at id.Offset (exclusive), the
// epoch of whose last record is id.Epoch.
func Name(id kafka.EpochOffset) string {
	return fmt.Sprintf("%020d-%010d%s", id.Offset, id.Epoch, suffix)
}

// ParseName is the inverse of Name; false for any other file name.
func ParseName(name string) (kafka.EpochOffset, bool) {
	offsetText, rest, ok1 := strings.Cut(name, "-")
	epochText, ok2 := strings.CutSuffix(rest, suffix)
	offset, err1 := strconv.ParseInt(offsetText, 10, 64)
	epoch, err2 := strconv.ParseInt(epochText, 10, 32)
	if !ok1 || !ok2 || err1 != nil || err2 != nil || offset < 0 || offset == math.MaxInt64 || epoch < 0 {
		return kafka.EpochOffset{}, false
	}
	id := kafka.EpochOffset{Offset: kafka.Offset(offset), Epoch: kafka.LeaderEpoch(epoch)}
	return id, Name(id) == name
}

// before orders ids as Kafka does, by epoch and then offset (OffsetAndEpoch).
func before(a, b kafka.EpochOffset) int {
	if a.Epoch != b.Epoch {
		return int(a.Epoch) - int(b.Epoch)
	}
	switch {
	case a.Offset < b.Offset:
		return -1
	case a.Offset > b.Offset:
		return 1
	}
	return 0
}

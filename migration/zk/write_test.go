package zk

import (
	"strings"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/migration/znode"
)

func TestBatches(t *testing.T) {
	write := func(bytes int) znode.Write {
		return znode.Write{Op: znode.Create, Path: "/x", Data: []byte(strings.Repeat("a", bytes))}
	}
	for _, c := range []struct {
		count, bytes, want int
	}{
		{1, 1, 1}, {maxOps, 1, maxOps}, {maxOps + 1, 1, maxOps}, {3, maxBytes / 2, 1}, {2, 2 * maxBytes, 1}, {4, maxBytes / 4, 3},
	} {
		var writes []znode.Write
		for range c.count {
			writes = append(writes, write(c.bytes))
		}
		if got := batchLength(writes); got != c.want {
			t.Errorf("%d writes of %d bytes: the first transaction has %d, want %d", c.count, c.bytes, got, c.want)
		}
	}
}

// TestClaimedEpoch: never below the KRaft epoch, nor below any that is there.
func TestClaimedEpoch(t *testing.T) {
	for _, c := range []struct {
		old, kraft, floor, want int32
	}{{1, 1, 1, 2}, {14, 51, 14, 51}, {14, 1, 51, 51}, {51, 51, 51, 52}, {0, 0, 0, 1}} {
		claim := Claim{Epoch: kafka.LeaderEpoch(c.kraft), Floor: kafka.LeaderEpoch(c.floor)}
		if got := claim.epoch(kafka.LeaderEpoch(c.old)); int32(got) != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

package broker

import (
	"math"
	"testing"
)

func TestOpenFiles(t *testing.T) {
	for limit, want := range map[uint64]int{0: 512, 100: 128, 1024: 512, 20_000: 10_000, math.MaxUint64: 32_768} {
		if got := openFiles(limit); got != want {
			t.Errorf("with a limit of %d descriptors %d are for logs, want %d", limit, got, want)
		}
	}
	if n := maxOpenFiles(); n < leastOpenFiles || n > mostOpenFiles {
		t.Errorf("%d files of logs may be open", n)
	}
}

package bench

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// pages brings a machine to where one is that has run for a while: nearly all of
// its memory holds cached files, and whoever needs a page gets one that has been in
// use. A virtual machine may have given free pages back to its host; the first
// write to each then costs a fault there, several times what the write itself
// costs, and differs from round to round.
type pages struct {
	file *os.File
	read int64
}

// spare is what is left free.
const spare = 1 << 30

// use reads as much of a file without content as there is free memory. The short
// form and systems that do not tell their free memory do without.
func (p *pages) use(t *testing.T) {
	t.Helper()
	n := freeMemory() - spare
	if !full || n <= 0 {
		return
	}
	if p.file == nil {
		f, err := os.Create(filepath.Join(t.TempDir(), "nothing"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		p.file = f
	}
	if err := p.file.Truncate(p.read + n); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	for {
		got, err := p.file.ReadAt(buf, p.read)
		p.read += int64(got)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// freeMemory is how many bytes nobody uses, 0 where the system does not say.
func freeMemory() int64 {
	text, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "MemFree:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10
		}
	}
	return 0
}

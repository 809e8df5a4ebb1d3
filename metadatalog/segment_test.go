package metadatalog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

const (
	goldenLogs  = "../protocol/batch/testdata/golden"
	firstLog    = "00000000000000000000.log"
	firstIndex  = "00000000000000000000.index"
	firstTime   = "00000000000000000000.timeindex"
	epochsFile  = "leader-epoch-checkpoint"
	topicIDFile = "partition.metadata"
)

var goldenNames = []string{"3.9.2-main", "3.9.2-old", "4.3.1-main", "4.3.1-old", "4.3.1-small"}

func goldenLog(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(goldenLogs, name, firstLog))
	must(t, err)
	return data
}

func imported(t testing.TB, fs vfs.FS, data []byte) *Store {
	t.Helper()
	s := open(t, fs, "/store")
	must(t, s.ImportSegment(bytes.NewReader(data)))
	return s
}

func exportDir(t testing.TB, s *Store, dir string, segmentBytes int64) {
	t.Helper()
	v, err := s.View()
	must(t, err)
	must(t, v.ExportDir(dir, segmentBytes))
	must(t, v.Close())
}

// TestGoldenThereAndBack imports a log that Apache wrote and exports it again:
// the files of the directory have the bytes of Apache's own.
func TestGoldenThereAndBack(t *testing.T) {
	for _, name := range goldenNames {
		t.Run(name, func(t *testing.T) {
			data := goldenLog(t, name)
			dir := filepath.Join(t.TempDir(), "out")
			s, err := Open(filepath.Join(t.TempDir(), "store"), Options{})
			must(t, err)
			defer s.Close()
			must(t, s.ImportSegment(bytes.NewReader(data)))
			exportDir(t, s, dir, 0)
			checkEpochs(t, s, filepath.Join("testdata/golden", name, epochsFile))
			for _, file := range []string{firstLog, firstIndex, firstTime, topicIDFile} {
				want := data
				if file != firstLog {
					want, err = os.ReadFile(filepath.Join("testdata/golden", name, file))
					must(t, err)
				}
				got, err := os.ReadFile(filepath.Join(dir, file))
				must(t, err)
				if name != "4.3.1-small" && filepath.Ext(file) != ".log" && file != topicIDFile {
					// Apache was stopped and started within this segment, where it
					// indexes differently: only what is before must be the same.
					got, want = got[:4*entryBytes(file)], want[:4*entryBytes(file)]
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes, Apache's has %d\n%x\n%x", file, len(got), len(want), head(got), head(want))
				}
			}
		})
	}
}

func entryBytes(file string) int {
	if file == firstTime {
		return 12
	}
	return 8
}

// checkEpochs compares with Apache's leader-epoch-checkpoint. Where Apache had
// moved its log start, its first epoch begins there.
func checkEpochs(t *testing.T, s *Store, file string) {
	t.Helper()
	want, err := os.ReadFile(file)
	must(t, err)
	var version, count, epoch int
	var start kafka.Offset
	_, err = fmt.Sscanf(string(want), "%d\n%d\n%d %d\n", &version, &count, &epoch, &start)
	must(t, err)
	must(t, s.TrimTo(start))
	var got bytes.Buffer
	must(t, writeEpochs(&got, s.Epochs()))
	if got.String() != string(want) {
		t.Errorf("epochs\n%s, Apache's are\n%s", got.String(), want)
	}
}

func head(b []byte) []byte { return b[:min(len(b), 120)] }

// TestSegmentsInOrder splits a log into several segments, and imports them one
// after the other.
func TestSegmentsInOrder(t *testing.T) {
	data := goldenLog(t, "4.3.1-main")
	fs := vfs.NewMem()
	s := imported(t, fs, data)
	exportDir(t, s, "/out", 5000)
	names, err := fs.List("/out")
	must(t, err)
	slices.Sort(names)
	again := open(t, vfs.NewMem(), "/store")
	segments, total := 0, 0
	for _, name := range names {
		if filepath.Ext(name) != ".log" {
			continue
		}
		segments++
		if want := fmt.Sprintf("%020d.log", again.EndOffset()); name != want {
			t.Fatalf("segment %s, want %s", name, want)
		}
		f, err := fs.Open(fs.PathJoin("/out", name))
		must(t, err)
		info, err := f.Stat()
		must(t, err)
		if info.Size() > 5000 {
			t.Errorf("%s has %d bytes", name, info.Size())
		}
		total += int(info.Size())
		must(t, again.ImportSegment(f))
		must(t, f.Close())
	}
	if segments < 5 || total != len(data) {
		t.Fatalf("%d segments, %d of %d bytes", segments, total, len(data))
	}
	if !slices.Equal(again.Epochs(), s.Epochs()) || again.EndOffset() != s.EndOffset() {
		t.Fatalf("epochs %v, want %v", again.Epochs(), s.Epochs())
	}
}

func TestImportContinuesAfterSnapshot(t *testing.T) {
	data := goldenLog(t, "4.3.1-main")
	var at kafka.EpochOffset
	var tail []byte
	for v, err := range batch.All(data) {
		must(t, err)
		if at.Offset < 300 {
			at = kafka.EpochOffset{Offset: v.EndOffset(), Epoch: v.Epoch()}
			continue
		}
		tail = append(tail, v...)
	}
	s := open(t, vfs.NewMem(), "/store")
	must(t, s.Reset(at, 0, nil))
	must(t, s.ImportSegment(bytes.NewReader(tail)))
	v, err := s.View()
	must(t, err)
	defer v.Close()
	var out bytes.Buffer
	must(t, v.ExportSegment(&out, at.Offset, v.EndOffset()))
	if !bytes.Equal(out.Bytes(), tail) {
		t.Fatal("exported bytes differ")
	}
	if err := v.ExportSegment(&out, at.Offset-1, v.EndOffset()); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatalf("export below the start: %v", err)
	}
}

// TestImportTorn cuts and damages the end of a segment, and its middle.
func TestImportTorn(t *testing.T) {
	data := goldenLog(t, "3.9.2-old")
	var lastStart int
	var last batch.View
	for v, err := range batch.All(data) {
		must(t, err)
		lastStart, last = lastStart+len(last), v
	}
	change := func(at int) []byte { b := bytes.Clone(data); b[at] ^= 1; return b }
	zeroes := append(bytes.Clone(data), make([]byte, 100_000)...)
	for _, tc := range []struct {
		name     string
		data     []byte
		offset   kafka.Offset
		position int
	}{
		{"last byte gone", data[:len(data)-1], last.BaseOffset(), lastStart},
		{"only the header", data[:lastStart+batch.HeaderSize], last.BaseOffset(), lastStart},
		{"one byte of the header", data[:lastStart+1], last.BaseOffset(), lastStart},
		{"last checksum wrong", change(len(data) - 1), last.BaseOffset(), lastStart},
		{"zeroes at the end", zeroes, last.EndOffset(), len(data)},
		{"few zeroes at the end", zeroes[:len(data)+20], last.EndOffset(), len(data)},
		{"nothing but zeroes", make([]byte, 4096), 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := open(t, vfs.NewMem(), "/store")
			err := s.ImportSegment(bytes.NewReader(tc.data))
			var torn *TornError
			if !errors.As(err, &torn) || torn.Offset != tc.offset || torn.Position != int64(tc.position) {
				t.Fatalf("%v, want a tear at offset %d, byte %d", err, tc.offset, tc.position)
			}
			if s.EndOffset() != tc.offset {
				t.Fatalf("imported up to %d", s.EndOffset())
			}
		})
	}
	for name, bad := range map[string][]byte{
		"changed bit in the middle": change(lastStart - 5),
		"zeroes in the middle":      append(zeroes[:len(data)+200:len(data)+200], 1),
		"huge length, then more":    append(bytes.Clone(data), append(hugeHeader(), 1)...),
	} {
		var torn *TornError
		err := open(t, vfs.NewMem(), "/store").ImportSegment(bytes.NewReader(bad))
		if err == nil || errors.As(err, &torn) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := imported(t, vfs.NewMem(), data).ImportSegment(bytes.NewReader(data)); !errors.Is(err, ErrNotContiguous) {
		t.Errorf("the same segment twice: %v", err)
	}
}

// hugeHeader declares a batch of 2 GiB.
func hugeHeader() []byte {
	b := bytes.Clone(someBatch(0, 1, 1)[:batch.HeaderSize])
	copy(b[8:], []byte{0x7f, 0xff, 0xff, 0xff})
	return b
}

func TestExportDirRefusesExisting(t *testing.T) {
	fs := vfs.NewMem()
	s := imported(t, fs, goldenLog(t, "3.9.2-old"))
	must(t, fs.MkdirAll("/out", 0o755))
	v, err := s.View()
	must(t, err)
	defer v.Close()
	if err := v.ExportDir("/out", 0); err == nil {
		t.Fatal("exported over a directory")
	}
}

func FuzzImportSegment(f *testing.F) {
	data := goldenLog(f, "3.9.2-old")
	f.Add(data[:3000])
	f.Add(append(someBatch(0, 1, 2), make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := &segmentReader{in: bytes.NewReader(data)}
		var dst bytes.Buffer
		for {
			if err := in.next(&dst); err != nil {
				break
			}
		}
		if !bytes.HasPrefix(data, dst.Bytes()) || in.position != int64(dst.Len()) {
			t.Fatalf("read %d bytes that are not the segment's first", dst.Len())
		}
	})
}

// TestImportDir moves a log with a moved start through a directory of several
// segments, and damages that.
func TestImportDir(t *testing.T) {
	fs := vfs.NewMem()
	s := imported(t, fs, goldenLog(t, "4.3.1-main"))
	start := s.Epochs()[1].Start
	must(t, s.TrimTo(start))
	exportDir(t, s, "/out", 3000)
	bases, err := segmentBases(fs, "/out")
	must(t, err)
	if len(bases) < 4 || bases[0] != start {
		t.Fatalf("segments %v, log start %d", bases, start)
	}
	importAgain := func() (*Store, *TornError, error) {
		again := open(t, vfs.NewMem(), "/store")
		torn, err := again.ImportDir(fs, "/out")
		return again, torn, err
	}
	again, torn, err := importAgain()
	if err != nil || torn != nil {
		t.Fatal(torn, err)
	}
	wantEnds(t, again, s.LogStart(), s.EndOffset(), s.LastEpoch())
	if !slices.Equal(again.Epochs(), s.Epochs()) || again.LogBytes() != s.LogBytes() {
		t.Fatalf("epochs %v, want %v", again.Epochs(), s.Epochs())
	}
	if _, err := again.ImportDir(fs, "/out"); err == nil {
		t.Fatal("imported into a store that is not empty")
	}
	last := "/out/" + segmentName(bases[len(bases)-1])
	cut(t, fs, last, 1)
	if again, torn, err = importAgain(); err != nil || torn == nil || again.EndOffset() >= s.EndOffset() {
		t.Fatalf("torn last segment: %v, %v, end %d", torn, err, again.EndOffset())
	}
	must(t, fs.Remove("/out/"+segmentName(bases[2])))
	if _, _, err = importAgain(); !errors.Is(err, ErrNotContiguous) {
		t.Fatalf("missing segment: %v", err)
	}
	cut(t, fs, "/out/"+segmentName(bases[1]), 1)
	var tear *TornError
	if _, torn, err = importAgain(); torn != nil && err == nil || !errors.As(err, &tear) {
		t.Fatalf("torn segment in the middle: %v, %v", torn, err)
	}
	must(t, fs.MkdirAll("/empty", 0o755))
	if _, err := open(t, vfs.NewMem(), "/store").ImportDir(fs, "/empty"); err == nil {
		t.Fatal("imported an empty directory")
	}
}

// cut removes the last n bytes of a file.
func cut(t *testing.T, fs vfs.FS, path string, n int) {
	t.Helper()
	f, err := fs.Open(path)
	must(t, err)
	var b bytes.Buffer
	_, err = b.ReadFrom(f)
	must(t, errors.Join(err, f.Close()))
	out, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	must(t, err)
	_, err = out.Write(b.Bytes()[:b.Len()-n])
	must(t, errors.Join(err, out.Close()))
}

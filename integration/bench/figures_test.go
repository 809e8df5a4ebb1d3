package bench

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// figure is a row of the table.
type figure struct {
	table  string
	name   string
	target string // of kvorum, as the reader wants it; "" for none
	values map[side]string
	number map[side]float64 // for the ratio, 0 if there is none
}

var figures struct {
	sync.Mutex
	rows []*figure
}

// tables are the parts of docs/benchmarks.md, in their order. A run writes those
// that it has figures for.
var tables = []string{"controllers", "node", "memory", "replication"}

// tableOf is the table that a test's figures stand in.
func tableOf(t testing.TB) string {
	switch {
	case strings.HasPrefix(t.Name(), "TestNodeMemory"):
		return "memory"
	case strings.HasPrefix(t.Name(), "TestNode"):
		return "node"
	case strings.HasPrefix(t.Name(), "TestReplication"):
		return "replication"
	}
	return "controllers"
}

// note puts a value into the test's table. Rows stand in the order of their first
// note.
func note(t testing.TB, s side, name, target string, number float64, value string) {
	t.Helper()
	t.Logf("%s: %s: %s", s, name, value)
	figures.Lock()
	defer figures.Unlock()
	i := slices.IndexFunc(figures.rows, func(f *figure) bool { return f.table == tableOf(t) && f.name == name })
	if i < 0 {
		i = len(figures.rows)
		figures.rows = append(figures.rows, &figure{table: tableOf(t), name: name, target: target, values: map[side]string{}, number: map[side]float64{}})
	}
	figures.rows[i].values[s], figures.rows[i].number[s] = value, number
}

func noteDuration(t testing.TB, s side, name, target string, d time.Duration) {
	t.Helper()
	note(t, s, name, target, d.Seconds(), short(d))
}

// noteSpread notes the least, the median and the worst of durations.
func noteSpread(t testing.TB, s side, name, target string, all []time.Duration) {
	t.Helper()
	slices.Sort(all)
	median := all[len(all)/2]
	note(t, s, name, target, median.Seconds(), fmt.Sprintf("%s / %s / %s (%d)", short(all[0]), short(median), short(all[len(all)-1]), len(all)))
}

// short prints a duration with three digits.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.3g s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.3g ms", float64(d.Microseconds())/1e3)
	}
	return fmt.Sprintf("%.3g µs", float64(d.Nanoseconds())/1e3)
}

func quantile(all []time.Duration, q float64) time.Duration {
	slices.Sort(all)
	return all[min(len(all)-1, int(q*float64(len(all))))]
}

// table prints the figures of one table in Markdown, "" if there are none.
func table(of string) string {
	var b strings.Builder
	for _, f := range figures.rows {
		if f.table != of {
			continue
		}
		if b.Len() == 0 {
			b.WriteString("| | kvorum | Apache 4.3.1 | Apache : kvorum | target |\n|---|---|---|---|---|\n")
		}
		ratio := ""
		if k, a := f.number[kvorum], f.number[apache]; k > 0 && a > 0 {
			ratio = fmt.Sprintf("%.3g", math.Max(k/a, a/k))
			if k > a {
				ratio = "1 : " + ratio
			} else {
				ratio += " : 1"
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", f.name, cmp.Or(f.values[kvorum], "-"), cmp.Or(f.values[apache], "-"), cmp.Or(ratio, "-"), cmp.Or(f.target, "-"))
	}
	return b.String()
}

// circumstances say when, of what and where the figures are.
func circumstances(began time.Time, loadBefore string) string {
	commit, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	return fmt.Sprintf("%s, commit %s, `%s`, %s/%s with %d cores, %s; load average before the run %s, after it %s, %s of wall time.\n",
		began.UTC().Format("2006-01-02"), strings.TrimSpace(string(commit)), command(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(),
		loadBefore, load(), time.Since(began).Round(time.Second))
}

func command() string {
	if full {
		return "make bench"
	}
	return "go test ./integration/bench"
}

// load is the machine's load average, which tells whether it was quiet.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// marks are the lines of docs/benchmarks.md between which a table stands.
func marks(of string) (begin, end string) {
	return "<!-- figures of " + of + ": written by make bench -->\n", "<!-- end of the figures of " + of + " -->\n"
}

// write puts a table into the file, between its marks.
func write(path, of, text string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	begin, end := marks(of)
	before, rest, ok := strings.Cut(string(old), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no lines %q and %q", path, begin, end)
	}
	return os.WriteFile(path, []byte(before+begin+"\n"+text+"\n"+end+after), 0o644)
}

// TestMain prints the tables at the end. KVORUM_BENCH_TABLE=file writes them into
// a file that has the marks.
func TestMain(m *testing.M) {
	if childMain() {
		return
	}
	began, before := time.Now(), load()
	code := m.Run()
	for _, of := range tables {
		rows := table(of)
		if rows == "" {
			continue
		}
		text := circumstances(began, before) + "\n" + rows
		fmt.Print(text)
		if path := os.Getenv("KVORUM_BENCH_TABLE"); path != "" && code == 0 {
			if err := write(filepath.Join("..", "..", path), of, text); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
	}
	os.Exit(code)
}

package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// imageCost is what a child process measured.
type imageCost struct {
	Load      time.Duration // of the snapshot
	PeakBytes int64         // resident, at most, when it was loaded
	Create    time.Duration // median of one more topic: decide, append, fold, publish
	Allocated float64       // bytes, of one more topic
}

// TestImage measures a large image in processes of their own: one writes the
// snapshot, one loads it, and one does the same for an image without topics.
func TestImage(t *testing.T) {
	full, empty := t.TempDir(), t.TempDir()
	child(t, "write", full, sizes.partitions, nil)
	child(t, "write", empty, 0, nil)
	var f, e imageCost
	child(t, "load", full, sizes.partitions, &f)
	child(t, "load", empty, 0, &e)
	of := fmt.Sprintf("image of %d partitions, RF 3: ", sizes.partitions)
	noteDuration(t, kvorum, of+"load from a snapshot", "6 s", f.Load)
	note(t, kvorum, of+"peak resident memory of the load", "1.2 GiB", 0, fmt.Sprintf("%d MiB", f.PeakBytes>>20))
	note(t, kvorum, of+"time of one more topic, on it / on an empty image", "2 : 1", 0,
		fmt.Sprintf("%s / %s = %.2f", short(f.Create), short(e.Create), float64(f.Create)/float64(e.Create)))
	note(t, kvorum, of+"bytes allocated by one more topic, on it / on an empty image", "2 : 1", 0,
		fmt.Sprintf("%.0f / %.0f = %.2f", f.Allocated, e.Allocated, f.Allocated/e.Allocated))
}

// child runs this test binary as one of the processes of TestImage.
func child(t *testing.T, work, dir string, partitions int, out any) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("KVORUM_BENCH_CHILD=%s %d %s", work, partitions, dir))
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s a snapshot of %d partitions: %v", work, partitions, err)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			t.Fatalf("%s printed %q: %v", work, text, err)
		}
	}
}

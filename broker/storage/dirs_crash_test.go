package storage

import (
	"bytes"
	"errors"
	"testing"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
)

// TestDirsSurviveACrash cuts the power at every change of a name while logs are
// made, written, deleted and set aside, and opens what is left: nothing that was
// flushed is lost or without its topic's id, and nothing comes back that was
// deleted.
func TestDirsSurviveACrash(t *testing.T) {
	mem := pebblevfs.NewCrashableMem()
	disk := &crashing{FS: mem, mem: mem}
	o := dirsOptions(t, disk, "/a")
	d := mustOpenDirs(t, o)
	flushed := appendN(t, mustCreate(t, d, part("kept", 0)), 5, 2, 50, 0)
	if err := mustGet(t, d, part("kept", 0)).Flush(); err != nil {
		t.Fatal(err)
	}
	disk.images, disk.at = nil, nil
	if err := mustCreate(t, d, part("made", 0)).Make(); err != nil {
		t.Fatal(err)
	}
	appendN(t, mustGet(t, d, part("made", 0)), 1, 1, 50, 0)
	if err := mustGet(t, d, part("made", 0)).Flush(); err != nil {
		t.Fatal(err)
	}
	made := len(disk.images)
	appendN(t, mustCreate(t, d, part("gone", 0)), 1, 1, 50, 0)
	if err := d.Delete(part("gone", 0)); err != nil {
		t.Fatal(err)
	}
	gone := len(disk.images)
	appendN(t, mustCreate(t, d, part("aside", 0)), 1, 1, 50, 0)
	if err := d.Stray(part("aside", 0)); err != nil {
		t.Fatal(err)
	}
	if err := mustGet(t, d, part("kept", 0)).TruncateTo(4); err != nil {
		t.Fatal(err)
	}
	d.checkpointAll("recovery-point-offset-checkpoint")
	disk.cut("the end")
	truncated := len(disk.images) - 3 // the last cut is after the truncation
	if made < 3 || gone <= made || truncated <= gone {
		t.Fatal("too few images", made, gone, truncated)
	}
	for i, image := range disk.images {
		crashed := o
		crashed.FS = image
		again, err := OpenDirs(crashed)
		if err != nil {
			t.Fatalf("%s: %v", disk.at[i], err)
		}
		checkImage(t, again, flushed, disk.at[i], i >= made, i >= gone, i >= truncated)
		if err := again.Close(1); err != nil {
			t.Fatalf("%s: %v", disk.at[i], err)
		}
	}
	if err := d.Close(1); err != nil {
		t.Fatal(err)
	}
}

func checkImage(t *testing.T, d *Dirs, flushed []byte, at string, made, gone, truncated bool) {
	t.Helper()
	l := mustGet(t, d, part("kept", 0))
	got := readAll(t, l, 1<<20)
	if !bytes.HasPrefix(flushed, got) || !truncated && l.LogEnd() < 4 {
		t.Fatalf("%s: %d bytes of the %d that were flushed, end %d", at, len(got), len(flushed), l.LogEnd())
	}
	if l.TopicID() != topicA {
		t.Fatalf("%s: the topic is %v", at, l.TopicID())
	}
	for _, s := range d.All() {
		if id, err := d.TopicIDOf(s); err != nil || s.Partition == part("made", 0) && made && id != topicA {
			t.Fatalf("%s: %s is of topic %v, %v", at, s.Partition, id, err)
		}
	}
	if _, err := d.Get(part("made", 0)); made && err != nil {
		t.Fatalf("%s: what was made: %v", at, err)
	}
	if _, err := d.Get(part("gone", 0)); gone && !errors.Is(err, ErrNoLog) {
		t.Fatalf("%s: what was deleted: %v", at, err)
	}
}

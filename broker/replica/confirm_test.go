package replica

import (
	"errors"
	"strings"
	"testing"

	"kvorum/internal/vfs"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	wire "kvorum/protocol/errors"
)

// TestUnconfirmedImageTouchesNoDirectory: a broker that starts by an image that no
// controller has confirmed uses the logs that are there, but makes none, deletes none
// and sets none aside, until the image is confirmed.
func TestUnconfirmedImageTouchesNoDirectory(t *testing.T) {
	w, known := stopped(t, "kept", "deleted", "unknown")
	d := image.NewDelta(known)
	for _, r := range []string{"unknown"} {
		if err := d.Replay(removed(r)); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []string{"moved-here"} {
		if err := errors.Join(d.Replay(topic(r)), d.Replay(partition(r, 0, self))); err != nil {
			t.Fatal(err)
		}
	}
	w.image = d.Apply(image.Position{Offset: known.At().Offset + 3})
	names := func() string {
		list, err := w.fs.List("/logs")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(list, " ")
	}
	before := names()

	w.ps.Distrust()
	w.ps.Publish(image.Diff(image.Empty(), w.image), w.image)
	w.publish(removed("deleted"))
	w.mustProduce("kept", 1)
	wantCode(t, w.produce(ProduceOptions{Acks: 1}, "moved-here", 1).Err, wire.KafkaStorageError)
	for _, name := range []string{"deleted-0", "unknown-0"} {
		if !strings.Contains(names(), name) {
			t.Errorf("%s was taken away by an image that nobody has confirmed; there is %s, and was %s", name, names(), before)
		}
	}
	if strings.Contains(names(), "-stray") || strings.Contains(names(), "-delete") {
		t.Errorf("directories were renamed: %s", names())
	}
	if !w.ps.Unconfirmed() {
		t.Error("the image counts as confirmed")
	}

	w.ps.Confirm()
	w.mustProduce("moved-here", 1)
	w.mustProduce("kept", 1)
	for _, name := range []string{"deleted", "unknown"} {
		if after := names(); strings.Contains(after+" ", name+"-0 ") || !strings.Contains(after, name+"-0.") {
			t.Errorf("%s is not set aside when the image is confirmed: %s", name, after)
		}
	}
	if w.ps.Unconfirmed() {
		t.Error("the image does not count as confirmed")
	}
}

// TestConfirmedBeforeTheFirstImage is a controller's word that comes in time.
func TestConfirmedBeforeTheFirstImage(t *testing.T) {
	w, known := stopped(t, "kept")
	d := image.NewDelta(known)
	if err := d.Replay(removed("kept")); err != nil {
		t.Fatal(err)
	}
	w.image = d.Apply(image.Position{Offset: known.At().Offset + 1})
	w.ps.Distrust()
	w.ps.Confirm()
	w.ps.Publish(image.Diff(image.Empty(), w.image), w.image)
	if all := w.dirs.All(); len(all) != 0 {
		t.Errorf("the logs %v are not set aside", all)
	}
}

// TestAcksAllWhileUnconfirmed: what a leader of long ago takes with acks=0 or 1 is
// lost when it hears of its successor, so that it may be told to take none.
func TestAcksAllWhileUnconfirmed(t *testing.T) {
	for _, strict := range []bool{false, true} {
		w, _ := stopped(t, "orders")
		w.ps.acksAll = strict
		w.ps.Distrust()
		w.ps.Publish(image.Diff(image.Empty(), w.image), w.image)
		for _, acks := range []int16{0, 1} {
			if err := w.produce(ProduceOptions{Acks: acks}, "orders", 1).Err; !strict && err != nil {
				t.Errorf("acks=%d: %v", acks, err)
			} else if strict {
				wantCode(t, err, wire.NotEnoughReplicas)
			}
		}
		if err := w.produce(ProduceOptions{Acks: -1, Timeout: patience}, "orders", 1).Err; err != nil {
			t.Errorf("acks=all: %v", err)
		}
		w.ps.Confirm()
		w.mustProduce("orders", 1)
	}
}

// TestCheckJournal is what a start looks at: a journal that cannot be read is not
// the same as none.
func TestCheckJournal(t *testing.T) {
	w := newWorld(t)
	if err := CheckJournal(w.fs, "/logs"); err != nil {
		t.Errorf("no journal: %v", err)
	}
	for content, damaged := range map[string]bool{"": false, "0\n0\n": false, "0\n1\n": true, "7\n0\n": true, "0\n1\nnonsense\n": true} {
		if err := vfs.Replace(w.fs, "/logs/"+journalName, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if err := CheckJournal(w.fs, "/logs"); (err != nil) != damaged || damaged && !errors.Is(err, errJournal) {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func removed(name string) record.Record { return &record.RemoveTopicRecord{TopicID: topicID(name)} }

package incarnation

import (
	"strings"
	"testing"

	"kvorum/internal/kafka"
)

var (
	fresh = kafka.UUID{15: 1}
	old   = kafka.UUID{15: 2}
	dirA  = kafka.DirectoryID{0: 1, 15: 10}
	dirB  = kafka.DirectoryID{0: 1, 15: 11}
)

// killed is a directory as a kill -9 leaves it.
func killed(path string, id kafka.DirectoryID) Found {
	p := Place{Boot: "boot-1", Device: 7, Inode: 100, Born: 5, Namespace: "mnt:[1]", Mount: 20}
	return Found{Path: path, ID: id, Place: p, CleanEpoch: kafka.NoBrokerEpoch,
		Memory: &Memory{ID: old, Epoch: 50, Previous: 30, Directories: []kafka.DirectoryID{dirA, dirB}, Place: p}}
}

func two(change func(a, b *Found)) []Found {
	a, b := killed("/a", dirA), killed("/b", dirB)
	if change != nil {
		change(&a, &b)
	}
	return []Found{a, b}
}

func both(change func(*Found)) []Found {
	return two(func(a, b *Found) { change(a); change(b) })
}

func clean(epoch kafka.BrokerEpoch) func(*Found) {
	return func(f *Found) { f.Clean, f.CleanEpoch = true, epoch }
}

// TestBegin is the table of what a start may find. Where it goes on it is incarnation
// old with epoch 50; who is new says which epoch's data it has, -1 for none.
func TestBegin(t *testing.T) {
	const none = kafka.NoBrokerEpoch
	tests := []struct {
		name            string
		dirs            []Found
		id              kafka.UUID
		epoch, previous kafka.BrokerEpoch
		why             string
	}{
		{"killed", two(nil), old, 50, 30, ""},
		{"stopped without leave", both(clean(50)), old, 50, 30, ""},
		{"stopped without leave, machine started anew", both(func(f *Found) { clean(50)(f); f.Place.Boot, f.Place.Device = "boot-2", 8 }), old, 50, 30, ""},
		{"killed while it stopped: one closed", two(func(a, _ *Found) { clean(50)(a) }), old, 50, 30, ""},
		{"killed in a container", both(func(f *Found) { f.Place.Namespace, f.Place.Mount = "mnt:[2]", 33 }), old, 50, 30, ""},
		{"never told its epoch", both(func(f *Found) { f.Memory.Epoch = none }), old, none, 30, "never told"},
		{"stopped with leave", both(func(f *Found) { clean(50)(f); f.Memory.Leaving = true }), fresh, none, 50, "leave to stop"},
		{"killed after it asked for leave", both(func(f *Found) { f.Memory.Leaving = true }), fresh, none, 50, "leave to stop"},
		{"power loss", both(func(f *Found) { f.Place.Boot = "boot-2" }), fresh, none, none, "started anew"},
		{"power loss after a clean stop of one", two(func(a, b *Found) { clean(50)(a); a.Place.Boot, b.Place.Boot = "boot-2", "boot-2" }), fresh, none, none, "/b: the machine"},
		{"unmounted and mounted", two(func(a, _ *Found) { a.Place.Mount = 21 }), fresh, none, none, "unmounted"},
		{"a copy was restored", two(func(a, _ *Found) { a.Place.Inode = 101 }), fresh, none, none, "a copy"},
		{"a copy got the same inode", two(func(a, _ *Found) { a.Place.Born = 6 }), fresh, none, none, "a copy"},
		{"another device", two(func(a, _ *Found) { a.Place.Device = 8 }), fresh, none, none, "a copy"},
		{"a copy of a clean stop with leave", both(func(f *Found) { clean(50)(f); f.Memory.Leaving, f.Place.Inode = true, 101 }), fresh, none, 50, "a copy"},
		{"a copy of a clean stop without leave", both(func(f *Found) { clean(50)(f); f.Place.Inode = 101 }), fresh, none, none, "a copy"},
		{"a wiped disk", two(func(a, _ *Found) { a.Memory = nil }), fresh, none, none, "does not say"},
		{"damaged memory", two(func(a, _ *Found) { a.Memory, a.Damage = nil, "torn" }), fresh, none, none, "torn"},
		{"damaged journal", two(func(a, _ *Found) { a.Memory, a.Damage = nil, "kvorum-isr-journal: damaged" }), fresh, none, none, "kvorum-isr-journal"},
		{"a failed disk", two(func(a, _ *Found) { a.Unusable = "EIO" }), fresh, none, none, "EIO"},
		{"a disk that failed and is back", two(func(a, _ *Found) { a.Memory.Directories = []kafka.DirectoryID{dirA} }), fresh, none, none, "/b: it was not in order"},
		{"one disk is of another time", two(func(a, _ *Found) { a.Memory.Epoch = 40 }), fresh, none, none, "with epoch"},
		{"one disk is of another incarnation", two(func(a, _ *Found) { a.Memory.ID = kafka.UUID{15: 9} }), fresh, none, none, "incarnation"},
		{"asked for leave, noted in one only", two(func(a, _ *Found) { a.Memory.Leaving = true }), fresh, none, none, "incarnation"},
		{"another program closed it", both(clean(90)), fresh, none, 90, "another program"},
		{"an earlier version stopped in order", both(func(f *Found) { clean(40)(f); f.Memory = nil }), fresh, none, 40, "does not say"},
		{"an earlier version was killed", both(func(f *Found) { f.Memory = nil }), fresh, none, none, "does not say"},
		{"no boot id", both(func(f *Found) { f.Place = Place{} }), fresh, none, none, "does not tell"},
		{"no boot id, stopped with leave", both(func(f *Found) { clean(50)(f); f.Memory.Leaving, f.Place = true, Place{} }), fresh, none, 50, "does not tell"},
		{"metadata apart, machine started anew", two(func(a, b *Found) {
			clean(50)(a)
			b.Synced, a.Place.Boot, b.Place.Boot = true, "boot-2", "boot-2"
		}), old, 50, 30, ""},
		{"metadata apart, restored", two(func(a, b *Found) { b.Synced, b.Place.Inode = true, 101 }), fresh, none, none, "/b: it is not the directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := Begin(true, test.dirs, fresh)
			if s.ID != test.id || s.Epoch != test.epoch || s.Previous != test.previous {
				t.Errorf("it starts as %s with epoch %d, previous %d (%s)", s.ID, s.Epoch, s.Previous, s.Why)
			}
			if s.Resumes() != (s.Why == "") || !strings.Contains(s.Why, test.why) {
				t.Errorf("why: %q and not %q", s.Why, test.why)
			}
		})
	}
}

// TestBeginOff is Kafka: each start is a new incarnation.
func TestBeginOff(t *testing.T) {
	for name, test := range map[string]struct {
		dirs     []Found
		previous kafka.BrokerEpoch
	}{"killed": {two(nil), kafka.NoBrokerEpoch}, "stopped": {both(clean(50)), 50}, "one stopped": {two(func(a, _ *Found) { clean(50)(a) }), kafka.NoBrokerEpoch}} {
		if s := Begin(false, test.dirs, fresh); s.ID != fresh || s.Resumes() || s.Previous != test.previous || s.Why == "" {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestServes(t *testing.T) {
	start := Start{ID: old, Epoch: 50, Previous: 30}
	good := Registration{ID: old, Epoch: 50, Same: true}
	with := func(change func(*Registration)) *Registration {
		r := good
		change(&r)
		return &r
	}
	tests := []struct {
		name  string
		start Start
		r     *Registration
		why   string // empty: it serves
	}{
		{"well", start, &good, ""},
		{"has to register", Start{ID: fresh, Epoch: kafka.NoBrokerEpoch, Why: "a power loss"}, &good, "a power loss"},
		{"image without it", start, nil, "does not know"},
		{"image from before its registration", start, with(func(r *Registration) { r.Epoch = 40 }), "with epoch 40"},
		{"image after another registration", start, with(func(r *Registration) { r.ID, r.Epoch = fresh, 60 }), "with epoch 60"},
		{"fenced", start, with(func(r *Registration) { r.Fenced = true }), "fenced"},
		{"in controlled shutdown", start, with(func(r *Registration) { r.Leaving = true }), "controlled shutdown"},
		{"other listeners", start, with(func(r *Registration) { r.Same = false }), "listeners"},
	}
	for _, test := range tests {
		ok, why := test.start.Serves(test.r)
		if ok != (test.why == "") || !strings.Contains(why, test.why) {
			t.Errorf("%s: serves %t, %q", test.name, ok, why)
		}
	}
}

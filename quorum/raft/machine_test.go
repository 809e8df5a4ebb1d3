package raft

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/lni/dragonboat/v4/statemachine"
	"pgregory.net/rapid"

	"kvorum/internal/kafka"
	"kvorum/metadatalog"
	"kvorum/metadatalog/record"
)

func newTestMachine(t testing.TB, dir string) *machine {
	store, err := metadatalog.Open(filepath.Join(dir, "store"), metadatalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	m, err := newMachine(store, dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	close(m.ready)
	return m
}

// do applies one command.
func (m *machine) do(t testing.TB, index uint64, c command) uint64 {
	out, err := m.Update([]statemachine.Entry{{Index: index, Cmd: c.append(nil)}})
	if err != nil {
		t.Fatal(err)
	}
	return out[0].Result.Value
}

func testClaim(t testing.TB, node kafka.NodeID, term uint64) command {
	change := &record.LeaderChange{LeaderID: node}
	return command{kind: kindClaim, node: node, directory: testDirectory(int(node)), term: term,
		batches: controlOf(t, change), batchIfEmpty: controlOf(t, change, &record.KRaftVersion{KRaftVersion: 1})}
}

// The rules of claims, appends and raises, one after the other.
func TestMachine(t *testing.T) {
	dir := t.TempDir()
	m := newTestMachine(t, dir)
	appendAt := func(epoch kafka.LeaderEpoch, base kafka.Offset) command {
		return command{kind: kindAppend, epoch: epoch, base: base, batches: data(base, epoch, 10)}
	}
	spoiled := appendAt(3, 3)
	spoiled.batches[70]++
	gap := appendAt(3, 3)
	gap.batches = append(gap.batches, data(5, 3, 10)...)
	noControl := testClaim(t, 2, 50)
	noControl.batches = data(0, 0, 10)
	twoBatches := testClaim(t, 2, 50)
	twoBatches.batches = append(twoBatches.batches, twoBatches.batches...)
	steps := []struct {
		name   string
		c      command
		result uint64
		epoch  kafka.LeaderEpoch
		leader kafka.NodeID
		end    kafka.Offset
	}{
		{"an append before any claim", appendAt(1, 0), resultRejected, 0, -1, 0},
		{"an append of the first epoch", appendAt(0, 0), resultAccepted, 0, -1, 1},
		{"the first claim", testClaim(t, 1, 3), resultAccepted, 3, 1, 2},
		{"the same claim", testClaim(t, 1, 3), resultAccepted, 3, 1, 2},
		{"the same epoch of another", testClaim(t, 2, 3), resultRejected, 3, 1, 2},
		{"an older term", testClaim(t, 2, 2), resultRejected, 3, 1, 2},
		{"an append", appendAt(3, 2), resultAccepted, 3, 1, 3},
		{"the same append", appendAt(3, 2), resultRejected, 3, 1, 3},
		{"an append behind a gap", appendAt(3, 4), resultRejected, 3, 1, 3},
		{"batches with a gap", gap, resultRejected, 3, 1, 3},
		{"a spoiled batch", spoiled, resultRejected, 3, 1, 3},
		{"a batch of another epoch", command{kind: kindAppend, epoch: 3, base: 3, batches: data(3, 2, 10)}, resultRejected, 3, 1, 3},
		{"no batch", command{kind: kindAppend, epoch: 3, base: 3}, resultRejected, 3, 1, 3},
		{"a claim with data", noControl, resultRejected, 3, 1, 3},
		{"a claim with two batches", twoBatches, resultRejected, 3, 1, 3},
		{"a claim of a term past all epochs", testClaim(t, 2, 1<<31), resultRejected, 3, 1, 3},
		{"a higher base", command{kind: kindRaiseBase, epoch: 1000}, resultAccepted, 3, 1, 3},
		{"a lower base", command{kind: kindRaiseBase, epoch: 999}, resultRejected, 3, 1, 3},
		{"the leader goes on", appendAt(3, 3), resultAccepted, 3, 1, 4},
		{"a claim above the base", testClaim(t, 2, 4), resultAccepted, 1004, 2, 5},
		{"an append of the old leader", appendAt(3, 5), resultRejected, 1004, 2, 5},
		{"the present level", command{kind: kindRaiseLevel, level: Level}, resultRejected, 1004, 2, 5},
	}
	for i, s := range steps {
		result := m.do(t, uint64(10*i+5), s.c)
		state := m.state.Load()
		if result != s.result || state.Epoch != s.epoch || state.Leader != s.leader || m.store.EndOffset() != s.end {
			t.Fatalf("%s: result %d, state %+v, end %d", s.name, result, *state, m.store.EndOffset())
		}
		if got := m.store.AppliedIndex(); got != uint64(10*i+5) {
			t.Fatalf("%s: applied index %d", s.name, got)
		}
	}
	if out, err := m.Update([]statemachine.Entry{{Index: 500, Cmd: []byte("\x02of a newer binary")}}); err != nil || out[0].Result.Value != resultUnknown {
		t.Errorf("a command of a newer version: %v, %v", out, err)
	}
	if _, err := m.Update([]statemachine.Entry{{Index: 501, Cmd: (&command{kind: kindRaiseLevel, level: Level + 1}).append(nil)}}); err == nil || !contains(err.Error(), "newer binary") {
		t.Errorf("a higher level: %v", err)
	}
	// Another machine on the same store finds the same state.
	again, err := newMachine(m.store, dir, 77)
	if err != nil || *again.state.Load() != *m.state.Load() {
		t.Errorf("state %+v, %v instead of %+v", again.state.Load(), err, m.state.Load())
	}
	newer := *m.state.Load()
	newer.Level++
	if err := m.store.Append(metadatalog.Append{Private: map[string][]byte{stateKey: newer.append(nil)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := newMachine(m.store, dir, 0); err == nil || !contains(err.Error(), "newer binary") {
		t.Errorf("a store of a higher level: %v", err)
	}
}

// The claim on an empty log takes the batch that is made for it.
func TestFirstClaim(t *testing.T) {
	m := newTestMachine(t, t.TempDir())
	c := testClaim(t, 1, 2)
	command := c.append(nil)
	before := bytes.Clone(command)
	if _, err := m.Update([]statemachine.Entry{{Index: 4, Cmd: command}}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(command, before) {
		t.Error("raft's copy of the command was changed")
	}
	if m.store.EndOffset() != 2 || m.store.LastEpoch() != 2 || m.state.Load().Claim != 0 {
		t.Errorf("end %d, epoch %d, state %+v", m.store.EndOffset(), m.store.LastEpoch(), m.state.Load())
	}
}

// However commands are grouped and wherever the machine is copied, all machines
// end alike.
func TestMachinesAgree(t *testing.T) {
	checks := flag.Lookup("rapid.checks")
	if asked := checks.Value.String(); asked == checks.DefValue { // each opens three stores
		if err := checks.Value.Set("20"); err != nil {
			t.Fatal(err)
		}
		defer checks.Value.Set(asked)
	}
	rapid.Check(t, func(rt *rapid.T) {
		one, two := newTestMachine(t, t.TempDir()), newTestMachine(t, t.TempDir())
		n := rapid.IntRange(1, 30).Draw(rt, "commands")
		var entries []statemachine.Entry
		for i := range n {
			var c command
			epoch, base := kafka.LeaderEpoch(rapid.IntRange(0, 4).Draw(rt, "epoch")), kafka.Offset(rapid.IntRange(0, 8).Draw(rt, "base"))
			switch rapid.IntRange(0, 4).Draw(rt, "kind") {
			case 0:
				c = testClaim(t, kafka.NodeID(rapid.IntRange(1, 2).Draw(rt, "node")), uint64(rapid.IntRange(0, 4).Draw(rt, "term")))
			case 1:
				c = command{kind: kindRaiseBase, epoch: epoch}
			default:
				c = command{kind: kindAppend, epoch: epoch, base: base, batches: data(base, epoch, 5)}
			}
			entries = append(entries, statemachine.Entry{Index: uint64(2*i + 1), Cmd: c.append(nil)})
		}
		for i := range entries {
			one.Update(entries[i : i+1])
		}
		cut := rapid.IntRange(0, n).Draw(rt, "cut")
		if cut > 0 {
			two.Update(entries[:cut])
		}
		three := newTestMachine(t, t.TempDir())
		copyMachine(rt, two, three)
		for _, m := range []*machine{two, three} {
			if cut < n {
				if _, err := m.Update(entries[cut:]); err != nil {
					rt.Fatal(err)
				}
			}
			a, b := &testNode{t: t, store: one.store}, &testNode{t: t, store: m.store}
			if !bytes.Equal(a.log(), b.log()) || *one.state.Load() != *m.state.Load() || one.store.AppliedIndex() != m.store.AppliedIndex() {
				rt.Fatalf("states %+v and %+v, logs of %d and %d bytes", one.state.Load(), m.state.Load(), len(a.log()), len(b.log()))
			}
		}
	})
}

// copyMachine does what dragonboat does to a replica that lags.
func copyMachine(t interface{ Fatal(...any) }, from, to *machine) {
	taken, err := from.PrepareSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	if err := from.SaveSnapshot(taken, &stream, nil); err != nil {
		t.Fatal(err)
	}
	if err := to.RecoverFromSnapshot(&stream, nil); err != nil {
		t.Fatal(err)
	}
}

// A copy that stops, or is not one, changes nothing.
func TestBadCopies(t *testing.T) {
	dir := t.TempDir()
	from, to := newTestMachine(t, t.TempDir()), newTestMachine(t, dir)
	from.do(t, 3, testClaim(t, 1, 1))
	to.do(t, 3, testClaim(t, 2, 9))
	if err := os.WriteFile(filepath.Join(from.dir, "00000000000000000001-0000000001.checkpoint"), []byte("snapshot"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := from.PrepareSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	if err := from.SaveSnapshot(taken, &stream, nil); err != nil {
		t.Fatal(err)
	}
	whole := stream.Bytes()
	for cut := 0; cut < len(whole); cut += 1 + len(whole)/50 {
		if err := to.RecoverFromSnapshot(bytes.NewReader(whole[:cut]), nil); err == nil {
			t.Errorf("%d of %d bytes were restored", cut, len(whole))
		}
	}
	newer := bytes.Clone(whole)
	newer[5]++
	if err := to.RecoverFromSnapshot(bytes.NewReader(newer), nil); err == nil || !contains(err.Error(), "newer binary") {
		t.Error(err)
	}
	outside := bytes.Replace(whole, []byte("00000000000000000001-0"), []byte("../000000000000000001-0"), 1)
	outside[6]++
	if err := to.RecoverFromSnapshot(bytes.NewReader(outside), nil); err == nil || !contains(err.Error(), "named") {
		t.Error(err)
	}
	stopped := make(chan struct{})
	close(stopped)
	if err := to.RecoverFromSnapshot(bytes.NewReader(whole), stopped); err != statemachine.ErrSnapshotStopped {
		t.Error(err)
	}
	taken, err = from.PrepareSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := from.SaveSnapshot(taken, io.Discard, stopped); err != statemachine.ErrSnapshotStopped {
		t.Error(err)
	}
	if s := to.state.Load(); s.Leader != 2 || to.store.EndOffset() != 2 {
		t.Errorf("state %+v", s)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.part")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := to.RecoverFromSnapshot(bytes.NewReader(whole), nil); err != nil || to.state.Load().Leader != 1 {
		t.Errorf("%v, state %+v", err, to.state.Load())
	}
}

package raft

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

func TestGaveWayTo(t *testing.T) {
	a, b, c, d := Replica{NodeID: 1}, Replica{NodeID: 2}, Replica{NodeID: 3}, Replica{NodeID: 3, Instance: 1}
	for _, test := range []struct {
		name    string
		file    membership
		members []Replica
		change  uint64
		want    bool
	}{
		{"the first entry of a new log", membership{Change: 3}, []Replica{a}, 1, false},
		{"the second", membership{Change: 3}, []Replica{a, b}, 2, false},
		{"the last of those that made the quorum", membership{Change: 3}, []Replica{a, b, c}, 3, true},
		{"a removal", membership{Change: 3}, []Replica{a, b}, 70, true},
		{"a restart passes by what was replaced", membership{Change: 71}, []Replica{a, b, c}, 3, false},
		{"and by the removal", membership{Change: 71}, []Replica{a, b}, 70, false},
		{"up to where it was", membership{Change: 71}, []Replica{a, b, d}, 71, true},
		{"a replica that joins, before its addition", membership{Join: true, Self: memberJSON(d)}, []Replica{a, b, c}, 3, false},
		{"at its addition", membership{Join: true, Self: memberJSON(d)}, []Replica{a, b, d}, 71, true},
		{"after its removal", membership{Join: true, Self: memberJSON(d), Change: 71}, []Replica{a, b}, 80, true},
		{"a file without the index, a first entry", membership{Members: make([]memberJSON, 3)}, []Replica{a}, 1, false},
		{"a file without the index, the third", membership{Members: make([]memberJSON, 3)}, []Replica{a, b, c}, 3, true},
	} {
		if got := test.file.gaveWayTo(test.members, test.change); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
}

// heard keeps what a host has logged.
type heard struct {
	slog.Handler
	mu    sync.Mutex
	words []string
}

func (h *heard) Enabled(context.Context, slog.Level) bool { return true }
func (h *heard) WithAttrs([]slog.Attr) slog.Handler       { return h }

func (h *heard) Handle(_ context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	said := r.Message
	r.Attrs(func(a slog.Attr) bool { said += " " + a.String(); return true })
	h.words = append(h.words, said)
	return nil
}

func (h *heard) of(words string) (out []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, said := range h.words {
		if strings.Contains(said, words) {
			out = append(out, said)
		}
	}
	return out
}

// TestFirstMembershipIsWhole: the entries that add the first members one by one are
// no changes. A controller that asked in between was told that it is no member, and
// did not start.
func TestFirstMembershipIsWhole(t *testing.T) {
	for range 10 {
		c := newCluster(t, 5)
		h := &heard{Handler: testLogger(t).Handler()}
		for _, n := range c.nodes {
			n.cfg.Logger = slog.New(h)
		}
		c.start()
		c.lead()
		c.stop()
		if got := h.of("the quorum has changed"); len(got) > 0 {
			t.Fatal(got)
		}
	}
}

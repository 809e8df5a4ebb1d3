package robustness

import (
	"slices"
	"strings"
	"testing"
)

// TestCheckGroup shows the checker good histories and each kind of bad one.
func TestCheckGroup(t *testing.T) {
	for _, c := range []struct {
		want string
		do   func(h *GroupHistory, committed map[int32]int64)
	}{
		{"", func(*GroupHistory, map[int32]int64) {}},
		{"", func(h *GroupHistory, _ map[int32]int64) { h.Polled("m", 2, Position{0, 4}) }}, // again in a new generation
		{"", func(h *GroupHistory, _ map[int32]int64) { h.Polled("other", 1, Position{0, 0}) }},
		{"", func(_ *GroupHistory, c map[int32]int64) { c[0] = 7 }}, // a commit whose acknowledgement was lost
		{"nonmonotonic-poll", func(h *GroupHistory, _ map[int32]int64) { h.Polled("m", 1, Position{0, 5}) }},
		{"nonmonotonic-poll", func(h *GroupHistory, _ map[int32]int64) { h.Polled("m", 1, Position{0, 3}) }},
		{"poll-skip", func(h *GroupHistory, _ map[int32]int64) { h.Polled("m", 1, Position{0, 7}) }},
		{"lost-commit", func(_ *GroupHistory, c map[int32]int64) { c[0] = 5 }},
		{"lost-commit", func(_ *GroupHistory, c map[int32]int64) { delete(c, 0) }},
		{"commit-beyond-end", func(_ *GroupHistory, c map[int32]int64) { c[0] = 11 }},
	} {
		h := NewGroupHistory()
		h.Polled("m", 1, Position{0, 4})
		h.Polled("m", 1, Position{0, 5})
		h.Polled("m", 1, Position{1, 100})
		h.Committed(0, 6)
		h.Committed(0, 5)
		committed := map[int32]int64{0: 6}
		c.do(h, committed)
		got := h.Check(committed, map[int32]int64{0: 10, 1: 200})
		if (c.want == "" && len(got) != 0) || (c.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], c.want))) {
			t.Errorf("want %q, got %q", c.want, got)
		}
	}
}

// TestCheckOrder: per sender and partition.
func TestCheckOrder(t *testing.T) {
	good := map[Position]string{{0, 0}: "a-1", {0, 1}: "b-7", {0, 2}: "a-2", {1, 0}: "a-0", {1, 5}: "a-10"}
	if got := checkOrder(good); len(got) != 0 {
		t.Errorf("a good history gives %q", got)
	}
	good[Position{0, 3}] = "a-1"
	if got := checkOrder(good); !slices.Equal(got, []string{"nonmonotonic-send: a-1 is at {0 3}, after a-2"}) {
		t.Errorf("a bad history gives %q", got)
	}
}

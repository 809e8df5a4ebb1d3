package robustness

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// GroupHistory is what the members of one consumer group did: what each polled
// while it had a partition, and what was acknowledged as committed. Its methods
// may be called by many members at once.
type GroupHistory struct {
	mu         sync.Mutex
	last       map[claim]int64 // the offset polled last
	committed  map[int32]int64 // the highest acknowledged commit of each partition
	violations []string
	polled     int
}

// claim is one member's time with one partition.
type claim struct {
	member     string
	generation int // of the member's own assignments
	partition  int32
}

// NewGroupHistory returns an empty history.
func NewGroupHistory() *GroupHistory {
	return &GroupHistory{last: map[claim]int64{}, committed: map[int32]int64{}}
}

// Polled notes a record that a member got; generation changes whenever its
// partitions do. Offsets of one claim must follow each other, since the topic has
// no compaction and no transactions.
func (h *GroupHistory) Polled(member string, generation int, at Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.polled++
	c := claim{member, generation, at.Partition}
	last, seen := h.last[c]
	switch {
	case seen && at.Offset <= last:
		h.violations = append(h.violations, fmt.Sprintf("nonmonotonic-poll: %s polled offset %d of partition %d after %d", member, at.Offset, at.Partition, last))
	case seen && at.Offset > last+1:
		h.violations = append(h.violations, fmt.Sprintf("poll-skip: %s polled offset %d of partition %d right after %d", member, at.Offset, at.Partition, last))
	}
	h.last[c] = at.Offset
}

// Committed notes an acknowledged commit: the next offset to read.
func (h *GroupHistory) Committed(partition int32, next int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.committed[partition] = max(h.committed[partition], next)
}

// Counts returns how many records were polled, and the sum of the highest
// acknowledged commits.
func (h *GroupHistory) Counts() (polled int, committed int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, next := range h.committed {
		committed += next
	}
	return h.polled, committed
}

// Check compares the history with the group's committed offsets at the end and
// with the ends of the partitions.
func (h *GroupHistory) Check(committed, ends map[int32]int64) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := slices.Clone(h.violations)
	for partition, next := range h.committed {
		if got := committed[partition]; got < next {
			out = append(out, fmt.Sprintf("lost-commit: %d of partition %d was acknowledged, and the group is at %d", next, partition, got))
		}
	}
	for partition, next := range committed {
		if next > ends[partition] {
			out = append(out, fmt.Sprintf("commit-beyond-end: the group is at %d of partition %d, which ends at %d", next, partition, ends[partition]))
		}
	}
	slices.Sort(out)
	return out
}

// checkOrder returns where the records of one sender, which are named
// sender-number, are not in the order in which they were sent.
func checkOrder(have map[Position]string) []string {
	places := make([]Position, 0, len(have))
	for at := range have {
		places = append(places, at)
	}
	slices.SortFunc(places, func(a, b Position) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	type stream struct {
		sender    string
		partition int32
	}
	var out []string
	last := map[stream]int{}
	for _, at := range places {
		cut := strings.LastIndexByte(have[at], '-')
		number, err := strconv.Atoi(have[at][cut+1:])
		if cut < 0 || err != nil {
			continue // an unsent value, which is a violation of its own
		}
		s := stream{have[at][:cut], at.Partition}
		if before, seen := last[s]; seen && number < before {
			out = append(out, fmt.Sprintf("nonmonotonic-send: %s is at %v, after %s-%d", have[at], at, s.sender, before))
		}
		last[s] = number
	}
	return out
}

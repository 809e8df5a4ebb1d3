package core

import (
	"slices"
	"testing"

	"kvorum/internal/kafka"
)

// TestNearest: of the replicas near a consumer that have its offset the one with
// the most records is where it reads on, then the one that was caught up last,
// then the one with the highest id; in sync or not.
func TestNearest(t *testing.T) {
	from := func(id kafka.BrokerID, offset, start kafka.Offset, nowMs int64) FollowerFetched {
		e := fetch(id, offset, nowMs)
		e.LogStart = start
		return e
	}
	for _, c := range []struct {
		name    string
		fetched []FollowerFetched
		offset  kafka.Offset
		near    []kafka.BrokerID
		want    kafka.BrokerID
	}{
		{"nobody has fetched from this leader", nil, 0, []kafka.BrokerID{2, 3, 4}, kafka.NoLeader},
		{"nobody is near", []FollowerFetched{fetch(2, 100, 1001)}, 50, nil, kafka.NoLeader},
		{"it does not have the offset yet", []FollowerFetched{fetch(2, 49, 1001)}, 50, []kafka.BrokerID{2}, kafka.NoLeader},
		{"the offset is its end", []FollowerFetched{fetch(2, 50, 1001)}, 50, []kafka.BrokerID{2}, 2},
		{"it does not have the offset any more", []FollowerFetched{from(2, 100, 51, 1001)}, 50, []kafka.BrokerID{2}, kafka.NoLeader},
		{"its log begins there", []FollowerFetched{from(2, 100, 50, 1001)}, 50, []kafka.BrokerID{2}, 2},
		{"the one with more records", []FollowerFetched{fetch(3, 90, 1001), fetch(2, 91, 1001), fetch(4, 89, 1001)}, 50, []kafka.BrokerID{2, 3, 4}, 2},
		{"not one that is far", []FollowerFetched{fetch(3, 90, 1001), fetch(2, 91, 1001)}, 50, []kafka.BrokerID{3, 4}, 3},
		{"the one that was caught up last", []FollowerFetched{fetch(2, 100, 1002), fetch(3, 100, 1001)}, 50, []kafka.BrokerID{2, 3}, 2},
		{"the highest id", []FollowerFetched{fetch(2, 100, 1001), fetch(3, 100, 1001)}, 50, []kafka.BrokerID{2, 3}, 3},
		{"not in sync", []FollowerFetched{fetch(4, 60, 1001)}, 50, []kafka.BrokerID{4}, 4},
	} {
		l := lead(state(1, 1, 4, 1, 1, 2, 3), 100, 40)
		for _, e := range c.fetched {
			l.Step(e)
		}
		if got := l.Nearest(c.offset, func(id kafka.BrokerID) bool { return slices.Contains(c.near, id) }); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

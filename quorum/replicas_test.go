package quorum

import (
	"testing"

	"kvorum/internal/kafka"
)

// TestSeenByABroker tells how far a broker counts as having seen the log: past a
// record only with the second Fetch behind it, or with one that is further on.
func TestSeenByABroker(t *testing.T) {
	c := NewCore(Config{})
	c.role = active
	for i, step := range []struct {
		offset   kafka.Offset
		arriving bool
		want     kafka.Offset
	}{
		{10, true, 0}, {10, false, 10}, // the second Fetch at 10
		{15, true, 10}, {20, true, 15}, {20, false, 20}, // records kept coming
		{12, true, 20}, {12, false, 20}, // an older copy of the broker
		{30, false, 30}, // whoever does not say that it arrives
	} {
		c.stepFetched(Fetched{Replica: 7, Directory: kafka.UUID{1}, Offset: step.offset, Arriving: step.arriving})
		if got := c.replicas.progress[7].passed; got != step.want {
			t.Errorf("step %d: a Fetch at %d (arriving: %v) counts as seen up to %d, not %d", i, step.offset, step.arriving, got, step.want)
		}
	}
}

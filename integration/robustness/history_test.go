package robustness

import (
	"strings"
	"testing"

	"kvorum/internal/kafka"
)

// TestCheck shows the checker one good history and each kind of bad one.
func TestCheck(t *testing.T) {
	one, two := kafka.TopicID{1}, kafka.TopicID{2}
	h := NewHistory()
	h.Created("kept", Acknowledged, one)
	h.Created("maybe", Maybe, kafka.ZeroUUID)
	h.Created("deleted", Acknowledged, two)
	h.Deleted("deleted", Acknowledged)
	h.Created("maybe-deleted", Acknowledged, two)
	h.Deleted("maybe-deleted", Maybe)
	for _, v := range []string{"a", "b", "lost"} {
		h.Sent(v)
	}
	h.Acked("a", Position{0, 5})
	good := func() Observed {
		return Observed{
			Topics:  map[string]kafka.TopicID{"kept": one},
			Records: map[Position]string{{0, 5}: "a", {1, 0}: "b"},
		}
	}
	for _, c := range []struct {
		want string
		bad  func(*Observed)
	}{
		{"", func(*Observed) {}},
		{"", func(o *Observed) { o.Topics["maybe"], o.Topics["maybe-deleted"] = two, two }},
		{"lost-topic: kept", func(o *Observed) { delete(o.Topics, "kept") }},
		{"changed-topic: kept", func(o *Observed) { o.Topics["kept"] = two }},
		{"undeleted-topic: deleted", func(o *Observed) { o.Topics["deleted"] = two }},
		{"unasked-topic: other", func(o *Observed) { o.Topics["other"] = two }},
		{"lost-write: a", func(o *Observed) { delete(o.Records, Position{0, 5}) }},
		{"inconsistent-offsets: a", func(o *Observed) { o.Records[Position{0, 5}] = "lost" }},
		{"duplicate: b", func(o *Observed) { o.Records[Position{2, 0}] = "b" }},
		{"unsent: c", func(o *Observed) { o.Records[Position{2, 0}] = "c" }},
	} {
		o := good()
		c.bad(&o)
		got := h.Check(o)
		if (c.want == "" && len(got) != 0) || (c.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], c.want))) {
			t.Errorf("want %q, got %q", c.want, got)
		}
	}
	if created, deleted, records := h.Counts(); created != 3 || deleted != 1 || records != 1 {
		t.Errorf("counts are %d %d %d", created, deleted, records)
	}
}

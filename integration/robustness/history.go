// Package robustness does to clusters what operators fear, while clients work, and
// checks from the clients' side that nothing acknowledged was lost: every operation is
// written to a history with its outcome, and at the end the history is compared with
// what the cluster has.
//
// The model is history.go and queue.go, which know nothing of clusters and are proven
// on bad histories; the traffic is traffic_test.go for controllers with Apache brokers,
// and node_test.go for brokers of kvorum's; the faults are kill_test.go and
// faults_test.go, whose nodes have network namespaces (integration/network); six_test.go
// validates and reports.
package robustness

import (
	"fmt"
	"slices"
	"sync"

	"kvorum/internal/kafka"
)

// Outcome is what a client knows of an operation.
type Outcome int

// An operation that ended with an error, or not at all, may have happened.
const (
	Unasked Outcome = iota
	Maybe
	Acknowledged
)

// Position is the place of a record.
type Position struct {
	Partition int32
	Offset    int64
}

// topicHistory is what was asked about one topic.
type topicHistory struct {
	created, deleted Outcome
	id               kafka.TopicID // of an acknowledged creation
}

// History is what the clients asked for and were told. Its methods may be called
// by many clients at once. It grows with the operations of one test.
type History struct {
	mu     sync.Mutex
	topics map[string]topicHistory
	sent   map[string]bool       // values
	acked  map[Position][]string // values by the position that the acknowledgement named
}

// NewHistory returns an empty history.
func NewHistory() *History {
	return &History{topics: map[string]topicHistory{}, sent: map[string]bool{}, acked: map[Position][]string{}}
}

// Created notes the creation of a topic; id counts when it is acknowledged. Note
// it as Maybe before it is asked for.
func (h *History) Created(name string, o Outcome, id kafka.TopicID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[name]
	t.created, t.id = o, id
	h.topics[name] = t
}

// Deleted notes the deletion of a topic.
func (h *History) Deleted(name string, o Outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[name]
	t.deleted = o
	h.topics[name] = t
}

// Sent notes that a value will be produced, once.
func (h *History) Sent(value string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent[value] = true
}

// Acked notes that a value was acknowledged at a position.
func (h *History) Acked(value string, at Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acked[at] = append(h.acked[at], value)
}

// Counts returns how many creations, deletions and records were acknowledged.
func (h *History) Counts() (created, deleted, records int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.topics {
		if t.created == Acknowledged {
			created++
		}
		if t.deleted == Acknowledged {
			deleted++
		}
	}
	return created, deleted, len(h.acked)
}

// Observed is what a cluster has at the end.
type Observed struct {
	Topics  map[string]kafka.TopicID
	Records map[Position]string
}

// Check compares the history with what one broker shows and returns each
// violation, named as Jepsen's checker of queues names its own where it has a
// name, sorted.
func (h *History) Check(o Observed) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	violations := slices.Concat(h.checkTopics(o.Topics), h.checkRecords(o.Records), checkOrder(o.Records))
	slices.Sort(violations)
	return violations
}

func (h *History) checkTopics(have map[string]kafka.TopicID) []string {
	var out []string
	for name, t := range h.topics {
		id, exists := have[name]
		switch {
		case exists && t.deleted == Acknowledged:
			out = append(out, fmt.Sprintf("undeleted-topic: %s exists after its acknowledged deletion", name))
		case !exists && t.created == Acknowledged && t.deleted == Unasked:
			out = append(out, fmt.Sprintf("lost-topic: %s was acknowledged and does not exist", name))
		case exists && t.created == Acknowledged && id != t.id:
			out = append(out, fmt.Sprintf("changed-topic: %s was acknowledged with the id %v and has %v", name, t.id, id))
		}
	}
	for name := range have {
		if _, asked := h.topics[name]; !asked {
			out = append(out, fmt.Sprintf("unasked-topic: %s exists and nobody created it", name))
		}
	}
	return out
}

func (h *History) checkRecords(have map[Position]string) []string {
	var out []string
	for at, values := range h.acked {
		got, exists := have[at]
		for _, value := range values {
			switch {
			case !exists:
				out = append(out, fmt.Sprintf("lost-write: %s was acknowledged at %v, where nothing is", value, at))
			case got != value:
				out = append(out, fmt.Sprintf("inconsistent-offsets: %s was acknowledged at %v, where %s is", value, at, got))
			}
		}
	}
	places := map[string]int{}
	for at, value := range have {
		if places[value]++; places[value] == 2 {
			out = append(out, fmt.Sprintf("duplicate: %s is there more than once", value))
		}
		if !h.sent[value] {
			out = append(out, fmt.Sprintf("unsent: %s is at %v and nobody sent it", value, at))
		}
	}
	return out
}

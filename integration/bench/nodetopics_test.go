package bench

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"kvorum/integration/bench/broker"
	"kvorum/integration/cluster"
)

// TestNodeTopics measures how fast a client creates topics of one partition on one
// node, with one and with many requests outstanding, and once more when there are
// thousands of topics.
func TestNodeTopics(t *testing.T) {
	const outstanding = 32
	benchNode(t, func(t *testing.T, s side, node *cluster.Single) {
		node.StartReady(t.Context(), t)
		at := []string{node.Bootstrap}
		one := createTopics(t, at, 1, 1, sizes.one, 1<<30)
		one.note(t, s, "topics created on one node, 1 outstanding", "", "3 ms")
		many := createTopics(t, at, 1, outstanding, sizes.one, 1<<30)
		many.note(t, s, fmt.Sprintf("topics created on one node, %d outstanding", outstanding), "1,000/s", "")
		have := len(one.took) + len(many.took)
		have += len(createTopics(t, at, 1, outstanding, sizes.grow, sizes.topics-have).took)
		last := createTopics(t, at, 1, outstanding, sizes.one, 1<<30)
		note(t, s, fmt.Sprintf("the same where there are %d topics, as far as a minute makes so many", sizes.topics), "no slower", last.rate(), fmt.Sprintf("%.0f/s at %d", last.rate(), have))
	})
}

// created is a run of topic creations.
type created struct {
	took    []time.Duration
	elapsed time.Duration
}

func (r created) rate() float64 { return float64(len(r.took)) / r.elapsed.Seconds() }

func (r created) note(t *testing.T, s side, name, target, p50 string) {
	t.Helper()
	note(t, s, name, target, r.rate(), fmt.Sprintf("%.0f/s", r.rate()))
	noteDuration(t, s, name+", p50", p50, quantile(r.took, 0.5))
	noteDuration(t, s, name+", p99", "", quantile(r.took, 0.99))
}

// createTopics creates topics of one partition for a while, at most so many, over
// as many connections to the first address that answers as there may be requests
// outstanding.
func createTopics(t *testing.T, addresses []string, replicas int16, outstanding int, length time.Duration, most int) (r created) {
	t.Helper()
	var wait sync.WaitGroup
	took := make([][]time.Duration, outstanding)
	failed := make([]error, outstanding)
	began := time.Now()
	for i := range outstanding {
		wait.Go(func() {
			conn := client{addresses: addresses}
			defer conn.close()
			for len(took[i]) < most/outstanding && time.Since(began) < length && failed[i] == nil {
				start := time.Now()
				topic := name()
				failed[i] = conn.do(t.Context(), func(b *broker.Conn) error {
					err := createReplicated(b, topic, 1, replicas, callPatience)
					if errors.Is(err, kerr.TopicAlreadyExists) {
						return nil // nobody else takes this name: we did, and an election took the answer
					}
					return err
				})
				took[i] = append(took[i], time.Since(start))
			}
		})
	}
	wait.Wait()
	r.elapsed = time.Since(began)
	if err := errors.Join(failed...); err != nil {
		t.Fatalf("create topics with %d outstanding: %v", outstanding, err)
	}
	for _, one := range took {
		r.took = append(r.took, one...)
	}
	return r
}

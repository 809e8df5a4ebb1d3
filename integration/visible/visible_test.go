package visible

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"kvorum/integration/bench/broker"
	"kvorum/integration/cluster"
)

const (
	// roundsEach is how many rounds one of KVORUM_ROUNDS stands for, which is 20 in
	// CI and where it is not set: 3,000 rounds are KVORUM_ROUNDS=200.
	roundsEach = 15
	// patience bounds one request.
	patience = 20 * time.Second
	// brokers is how many there are.
	brokers = 3
)

func rounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("KVORUM_ROUNDS")
	if text == "" {
		text = "20"
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("KVORUM_ROUNDS is %q and not a number of rounds", text)
	}
	return n * roundsEach
}

// TestVisibleAtOnce: three controllers and three brokers of kvorum's, each a process.
// What one broker has answered, every broker must know when the answer is there: a
// topic made, a value changed, a partition added, a quota set, a topic deleted.
// Nothing is asked twice, and nothing waited for.
func TestVisibleAtOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 3})
	visible(ctx, t, q.StartKvorumBrokers(ctx, t, brokers, nil), rounds(t))
}

// TestVisibleAtOnceCombined is the same with three processes that are controller and
// broker each, a third of the rounds.
func TestVisibleAtOnceCombined(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	visible(ctx, t, cluster.StartKvorumCombined(ctx, t, brokers), rounds(t)/3)
}

func visible(ctx context.Context, t *testing.T, nodes []*cluster.Node, n int) {
	t.Helper()
	w := &world{T: t, missed: map[string]int{}, took: map[string][]time.Duration{}}
	for _, b := range nodes {
		c, err := broker.Dial(ctx, b.Client, "visible")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		w.brokers = append(w.brokers, node{b.ID, c})
	}
	for i := range n {
		w.round(i)
	}
	for what, times := range w.took {
		slices.Sort(times)
		t.Logf("%s: p50 %v, worst %v", what, times[len(times)/2].Round(10*time.Microsecond), times[len(times)-1].Round(10*time.Microsecond))
	}
	for what, count := range w.missed {
		t.Errorf("%s: %d times in %d rounds", what, count, n)
	}
	t.Logf("%d rounds", n)
}

// node is a broker and a connection to it.
type node struct {
	id   int32
	conn *broker.Conn
}

// world is the cluster, and what was not as it must be.
type world struct {
	*testing.T
	brokers []node
	missed  map[string]int
	took    map[string][]time.Duration
}

// at is the broker by which the step of a round is asked.
func (w *world) at(step int) node { return w.brokers[step%len(w.brokers)] }

// miss counts something that a broker did not know.
func (w *world) miss(format string, args ...any) { w.missed[fmt.Sprintf(format, args...)]++ }

// timed does something that is to be answered without an error.
func (w *world) timed(what string, do func() error) {
	w.Helper()
	began := time.Now()
	if err := do(); err != nil {
		w.Fatalf("%s: %v", what, err)
	}
	w.took[what] = append(w.took[what], time.Since(began))
}

// round makes a topic, changes it and deletes it, each by another broker, and asks
// all of them after each step.
func (w *world) round(i int) {
	w.Helper()
	topic := fmt.Sprintf("topic-%d", i)
	w.timed("CreateTopics", func() error { return createTopic(w.at(i).conn, topic, 2) })
	leaders := w.everyoneKnows(topic, 2)
	w.produces(topic, leaders)
	switch i % 3 {
	case 0:
		w.timed("CreatePartitions", func() error { return createPartitions(w.at(i+1).conn, topic, 4) })
		w.produces(topic, w.everyoneKnows(topic, 4))
	case 1:
		value := fmt.Sprint(3_600_000 + i)
		w.timed("IncrementalAlterConfigs", func() error { return alterConfig(w.at(i+1).conn, topic, "retention.ms", value) })
		w.ask("DescribeConfigs", func(c *broker.Conn) (string, error) { return describeConfig(c, topic, "retention.ms") }, value)
	case 2:
		w.timed("AlterClientQuotas", func() error { return alterQuota(w.at(i+1).conn, "user", float64(i)) })
		w.ask("DescribeClientQuotas", func(c *broker.Conn) (string, error) { return describeQuota(c, "user") }, fmt.Sprint(float64(i)))
	}
	w.timed("DeleteTopics", func() error { return deleteTopic(w.at(i+2).conn, topic) })
	for _, b := range w.brokers {
		if known, err := leadersOf(b.conn, topic); err != nil {
			w.Fatal(err)
		} else if known.code != unknownTopic {
			w.miss("Metadata of a deleted topic says %d instead of UNKNOWN_TOPIC_OR_PARTITION", known.code)
		}
	}
	for partition, leader := range leaders {
		if code := w.produce(topic, int32(partition), leader); code != unknownTopic {
			w.miss("Produce to a deleted topic says %d instead of UNKNOWN_TOPIC_OR_PARTITION", code)
		}
	}
}

// everyoneKnows asks every broker for a topic, and returns the leader of each
// partition.
func (w *world) everyoneKnows(topic string, partitions int) (leaders []int32) {
	w.Helper()
	for _, b := range w.brokers {
		known, err := leadersOf(b.conn, topic)
		switch {
		case err != nil:
			w.Fatal(err)
		case known.code != 0:
			w.miss("Metadata says %d", known.code)
		case len(known.leaders) != partitions:
			w.miss("Metadata has not all partitions")
		case slices.Contains(known.leaders, -1):
			w.miss("Metadata has a partition without a leader")
		case leaders != nil && !slices.Equal(leaders, known.leaders):
			w.miss("Metadata of two brokers names two leaders")
		default:
			leaders = known.leaders
		}
	}
	return leaders
}

// produces writes to each partition by the leader that Metadata names.
func (w *world) produces(topic string, leaders []int32) {
	w.Helper()
	for partition, leader := range leaders {
		if code := w.produce(topic, int32(partition), leader); code != 0 {
			w.miss("Produce says %d", code)
		}
	}
}

func (w *world) produce(topic string, partition, leader int32) int16 {
	w.Helper()
	at := slices.IndexFunc(w.brokers, func(b node) bool { return b.id == leader })
	if at < 0 {
		w.Fatalf("the leader of %s-%d is %d, which is no broker", topic, partition, leader)
	}
	code, err := produce(w.brokers[at].conn, topic, partition)
	if err != nil {
		w.Fatal(err)
	}
	return code
}

// ask asks every broker for a value.
func (w *world) ask(what string, of func(*broker.Conn) (string, error), want string) {
	w.Helper()
	for _, b := range w.brokers {
		got, err := of(b.conn)
		if err != nil {
			w.Fatal(err)
		}
		if got != want {
			w.miss("%s does not say what was set", what)
		}
	}
}

package bench

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"kvorum/integration/bench/broker"
	"kvorum/integration/cluster"
)

// TestControllers measures three controllers with three bench brokers. The
// requests go to the active controller's listener.
func TestControllers(t *testing.T) {
	bench(t, func(t *testing.T, s side, format func(cluster.Options) *cluster.Quorum) {
		q := format(cluster.Options{Size: 3})
		q.Start(t.Context(), t)
		brokers(t, q)
		memory(t, s, q)
		q.Active(t.Context(), t)
		creation(t, s, q, 1, sizes.one)
		creation(t, s, q, 64, sizes.many)
		largeCall(t, s, q, 9000)
		largeCall(t, s, q, 20_000)
		spurious(t, s, "elections without a kill under load", q, sizes.quiet)
		failover(t, s, "active killed to the next topic created, min / p50 / worst", q, sizes.kills[s])
	})
}

// memory reads the active controller's resident memory when it has had nothing
// to do but heartbeats for a while.
func memory(t *testing.T, s side, q *cluster.Quorum) {
	t.Helper()
	time.Sleep(sizes.idle)
	noteResident(t, s, "active controller resident, idle", "60 MiB", q.Controllers[q.Active(t.Context(), t)].(running))
}

// names makes topic names that no other benchmark of the run has.
var names atomic.Int64

func name() string { return fmt.Sprintf("topic-%d", names.Add(1)) }

// creation creates topics of one partition on three brokers for a while, over as
// many connections as there may be requests outstanding.
func creation(t *testing.T, s side, q *cluster.Quorum, outstanding int, d time.Duration) {
	t.Helper()
	r := createTopics(t, q.Addresses, 3, outstanding, d, 1<<30)
	target, p50 := "", "3 ms"
	if outstanding > 1 {
		target, p50 = "5,000/s", ""
	}
	r.note(t, s, fmt.Sprintf("topics created, %d outstanding", outstanding), target, p50)
}

// largeCall creates topics of many partitions, each in one call.
func largeCall(t *testing.T, s side, q *cluster.Quorum, partitions int32) {
	t.Helper()
	row, target := fmt.Sprintf("one topic of %d partitions", partitions), ""
	if partitions == 20_000 {
		target = "1 s"
	}
	c := client{addresses: q.Addresses}
	defer c.close()
	var took []time.Duration
	for range sizes.calls {
		topic, start := name(), time.Now()
		err := c.do(t.Context(), func(conn *broker.Conn) error { return create(conn, topic, partitions, callPatience) })
		if refused := (*refusal)(nil); errors.As(err, &refused) {
			note(t, s, row, target, 0, "refused: "+refused.message)
			return
		}
		if err != nil {
			t.Fatalf("create a topic of %d partitions: %v", partitions, err)
		}
		took = append(took, time.Since(start))
		if err := c.do(t.Context(), func(conn *broker.Conn) error { return remove(conn, topic) }); err != nil {
			t.Fatalf("delete a topic of %d partitions: %v", partitions, err)
		}
	}
	noteDuration(t, s, row, target, quantile(took, 0.5))
}

// spurious creates and deletes topics for a while and counts the epochs that
// begin although nobody killed a controller.
func spurious(t *testing.T, s side, row string, q *cluster.Quorum, d time.Duration) {
	t.Helper()
	const clients = 16
	watch := client{addresses: q.Addresses}
	defer watch.close()
	before := watch.epoch(t)
	var wait sync.WaitGroup
	var topics atomic.Int64
	began := time.Now()
	for range clients {
		wait.Go(func() {
			c := client{addresses: q.Addresses}
			defer c.close()
			for time.Since(began) < d {
				topic := name()
				err := c.do(t.Context(), func(conn *broker.Conn) error { return create(conn, topic, 1, callPatience) })
				if err == nil {
					err = c.do(t.Context(), func(conn *broker.Conn) error { return remove(conn, topic) })
				}
				if err == nil {
					topics.Add(1)
				}
			}
		})
	}
	wait.Wait()
	note(t, s, row, "0 in 10 minutes", 0, fmt.Sprintf("%d in %v, %d topics created and deleted", watch.epoch(t)-before, time.Since(began).Round(time.Second), topics.Load()))
}

// restartPause is from a restarted controller's first answer to the next kill.
// For up to about two seconds after a restart the other controllers may still
// keep their circuit breakers to it open: it is not yet the third of three.
const restartPause = 2 * time.Second

// failover kills the active controller and creates a topic on what is left.
func failover(t *testing.T, s side, row string, q *cluster.Quorum, kills int) {
	t.Helper()
	var took []time.Duration
	for range kills {
		active := q.Active(t.Context(), t)
		var left []string
		for i, a := range q.Addresses {
			if i != active {
				left = append(left, a)
			}
		}
		began := time.Now()
		q.Controllers[active].Kill()
		if err := createAnywhere(t, left, began); err != nil {
			t.Fatalf("%s: after the active controller was killed: %v", s, err)
		}
		took = append(took, time.Since(began))
		q.Controllers[active].Start(t)
		q.Controllers[active].WaitReady(t.Context(), t)
		time.Sleep(restartPause)
	}
	noteSpread(t, s, row, "p50 0.6 s, worst 2.5 s", took)
}

// createAnywhere asks one controller after the other until one creates a topic.
func createAnywhere(t *testing.T, addresses []string, began time.Time) (err error) {
	topic, conns := name(), make([]*broker.Conn, len(addresses))
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	for i := 0; time.Since(began) < time.Minute; i = (i + 1) % len(addresses) {
		if conns[i] == nil {
			if conns[i], err = broker.Dial(t.Context(), addresses[i], "bench"); err != nil {
				conns[i] = nil
				continue
			}
		}
		err = create(conns[i], topic, 1, 5*time.Second)
		var known *kerr.Error
		switch {
		case err == nil || errors.Is(err, kerr.TopicAlreadyExists): // of an attempt that was answered otherwise
			return nil
		case !errors.As(err, &known):
			conns[i].Close()
			conns[i] = nil
		}
		time.Sleep(time.Millisecond)
	}
	return err
}

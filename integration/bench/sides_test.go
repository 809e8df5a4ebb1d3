package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/integration/bench/broker"
	"kvorum/integration/cluster"
	"kvorum/integration/loopback"
	"kvorum/integration/peer"
)

// side is whose controllers are measured.
type side string

const (
	kvorum side = "kvorum"
	apache side = "Apache 4.3.1"
)

// full is the run whose figures count. KVORUM_BENCH_LOAD=1m shortens the ten
// minutes of load in which elections are counted.
var full = os.Getenv("KVORUM_BENCH") != ""

// sizes are how much each benchmark does.
var sizes = struct {
	one, many   time.Duration // of creating with 1 and with 64 outstanding
	calls       int           // large calls
	kills       map[side]int
	quiet       time.Duration // of load without a kill
	idle        time.Duration // before the memory is read
	starts      int
	partitions  int // of the large image
	rounds      int // of read-your-writes
	timingQuiet time.Duration

	bytes             int // of each rate of one node
	turns             int // of both nodes at each rate
	steady            time.Duration
	nodePartitions    int
	restartPartitions int
	restartBytes      int
	grow              time.Duration // how long topics may be added
	topics            int
	load              time.Duration // of one node, before its memory is read last

	replicatedBytes      int // of each rate with three replicas
	brokerKills          map[side]int
	controllerKills      map[side]int
	replicatedPartitions int           // each with three replicas
	removal              time.Duration // of deleted files, a minute after the deletion
	provisionPartitions  int           // the same, in thousands
}{
	one: time.Second, many: 2 * time.Second, calls: 1, kills: map[side]int{kvorum: 3, apache: 1},
	quiet: 5 * time.Second, idle: time.Second, starts: 1, partitions: 20_000, rounds: 100,
	bytes: 32 << 20, turns: 1, steady: time.Second, nodePartitions: 200, restartPartitions: 200, restartBytes: 32 << 20,
	grow: time.Second, topics: 500, load: 3 * time.Second,
	replicatedBytes: 16 << 20, brokerKills: map[side]int{kvorum: 1, apache: 1}, controllerKills: map[side]int{kvorum: 1, apache: 1}, replicatedPartitions: 300, provisionPartitions: 1000,
}

func init() {
	if !full {
		return
	}
	sizes.one, sizes.many, sizes.calls = 10*time.Second, 15*time.Second, 3
	sizes.kills = map[side]int{kvorum: 50, apache: 10}
	sizes.quiet, sizes.idle, sizes.starts = 10*time.Minute, 15*time.Second, 10
	sizes.partitions, sizes.rounds, sizes.timingQuiet = 1_000_000, 3000, time.Minute
	sizes.bytes, sizes.turns, sizes.steady, sizes.nodePartitions = 3<<30, 3, 20*time.Second, 5000
	sizes.restartPartitions, sizes.restartBytes = 6000, 6_700_000_000
	sizes.grow, sizes.topics, sizes.load = time.Minute, 6000, 10*time.Minute
	sizes.replicatedBytes, sizes.replicatedPartitions, sizes.removal = 1<<30, 30_000, 90*time.Second
	sizes.provisionPartitions = 10_000
	sizes.brokerKills, sizes.controllerKills = map[side]int{kvorum: 10, apache: 3}, map[side]int{kvorum: 20, apache: 5}
	if d, err := time.ParseDuration(os.Getenv("KVORUM_BENCH_LOAD")); err == nil {
		sizes.quiet = d
	}
}

// release is the metadata.version of all quorums that are measured.
const release = "4.3-IV0"

// bench runs a benchmark on kvorum and then on Apache.
func bench(t *testing.T, run func(t *testing.T, s side, start func(cluster.Options) *cluster.Quorum)) {
	for _, s := range []side{kvorum, apache} {
		t.Run(string(s), func(t *testing.T) {
			run(t, s, func(o cluster.Options) *cluster.Quorum { return s.format(t, o) })
		})
	}
}

// format formats a quorum of this side.
func (s side) format(t *testing.T, o cluster.Options) *cluster.Quorum {
	o.ReleaseVersion = release
	if s == kvorum {
		return cluster.FormatKvorum(t.Context(), t, o)
	}
	kit := peer.Require(t, peer.V43)
	return cluster.FormatApache(t.Context(), t, kit, kit.StartDriver(t), o)
}

// brokers starts three bench brokers and waits until they are unfenced.
func brokers(t *testing.T, q *cluster.Quorum) []*broker.Broker {
	t.Helper()
	var all []*broker.Broker
	for i := range 3 {
		b, err := broker.Start(t.Context(), broker.Config{ID: int32(11 + i), ClusterID: q.ClusterID, Controllers: q.Addresses, Address: loopback.Address(t)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		all = append(all, b)
	}
	for _, b := range all {
		select {
		case <-b.Unfenced():
		case <-time.After(time.Minute):
			t.Fatalf("a bench broker was not unfenced within a minute: %v", b.Err())
		}
	}
	return all
}

// callPatience bounds one call to a controller.
const callPatience = 30 * time.Second

// dial connects to a controller; the connection ends with the test.
func dial(t *testing.T, address string) *broker.Conn {
	t.Helper()
	c, err := broker.Dial(t.Context(), address, "bench")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// create asks for one topic on three brokers. The error is Kafka's.
func create(c *broker.Conn, name string, partitions int32, within time.Duration) error {
	return createReplicated(c, name, partitions, 3, within)
}

func createReplicated(c *broker.Conn, name string, partitions int32, replicas int16, within time.Duration) error {
	req, resp := kmsg.NewPtrCreateTopicsRequest(), kmsg.NewPtrCreateTopicsResponse()
	req.Version, req.TimeoutMillis = 7, int32(callPatience.Milliseconds())
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, replicas
	req.Topics = append(req.Topics, topic)
	if err := c.Call(req, resp, within); err != nil {
		return err
	}
	if len(resp.Topics) != 1 {
		return fmt.Errorf("CreateTopics of one topic was answered for %d", len(resp.Topics))
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		message := ""
		if m := resp.Topics[0].ErrorMessage; m != nil {
			message = *m
		}
		return &refusal{err, message}
	}
	return nil
}

// refusal is an error that a server answered, with its own words.
type refusal struct {
	error
	message string
}

func (r *refusal) Unwrap() error { return r.error }

// remove deletes one topic.
func remove(c *broker.Conn, name string) error {
	req, resp := kmsg.NewPtrDeleteTopicsRequest(), kmsg.NewPtrDeleteTopicsResponse()
	req.Version, req.TimeoutMillis = 6, int32(callPatience.Milliseconds())
	topic := kmsg.NewDeleteTopicsRequestTopic()
	topic.Topic = &name
	req.Topics = append(req.Topics, topic)
	if err := c.Call(req, resp, callPatience); err != nil {
		return err
	}
	if len(resp.Topics) != 1 {
		return errors.New("DeleteTopics of one topic was answered for another number")
	}
	return kerr.ErrorForCode(resp.Topics[0].ErrorCode)
}

// epoch is the epoch of the controller that says it leads.
func epoch(c *broker.Conn) (int32, error) {
	req, resp := kmsg.NewPtrDescribeQuorumRequest(), kmsg.NewPtrDescribeQuorumResponse()
	req.Version = 1
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic = "__cluster_metadata"
	topic.Partitions = append(topic.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	req.Topics = append(req.Topics, topic)
	if err := c.Call(req, resp, callPatience); err != nil {
		return 0, err
	}
	if resp.ErrorCode != 0 || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return 0, fmt.Errorf("DescribeQuorum: error %d", resp.ErrorCode)
	}
	p := &resp.Topics[0].Partitions[0]
	return p.LeaderEpoch, kerr.ErrorForCode(p.ErrorCode)
}

// leads waits until the server at an address leads and returns when it was seen.
// A connection that is not accepted yet is tried again at once.
func leads(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var last error
	for ctx.Err() == nil {
		var c *broker.Conn
		if c, last = broker.Dial(ctx, address, "bench"); last == nil {
			for ctx.Err() == nil {
				if _, last = epoch(c); last == nil {
					c.Close()
					return nil
				}
				if kerr.IsRetriable(last) || errors.Is(last, kerr.NotLeaderForPartition) {
					time.Sleep(time.Millisecond)
					continue
				}
				break
			}
			c.Close()
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("%s does not lead: %w", address, last)
}

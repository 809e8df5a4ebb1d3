package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/integration/bench/broker"
	"kvorum/integration/cluster"
	"kvorum/integration/peer"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// TestReadYourWrites creates a topic by one Apache broker and at once asks
// another one for it and produces to its leader, with the controllers' wait for
// the brokers and without, and on Apache's controllers, which do not wait.
func TestReadYourWrites(t *testing.T) {
	const row = "UNKNOWN_TOPIC_OR_PARTITION right after CreateTopics with RF %d, Metadata + Produce"
	run := func(s side, row, target, wait string) {
		t.Run(string(s)+"/wait="+wait, func(t *testing.T) {
			if s != kvorum && !full {
				t.Skip("skipped: Apache's own cluster is started by the full run only")
			}
			o := cluster.Options{Size: 3}
			if s == kvorum {
				o.Properties = map[string]string{"kvorum.metadata.propagation.max.wait.ms": wait}
			}
			kit := peer.Require(t, peer.V43)
			q := s.format(t, o)
			q.Start(t.Context(), t)
			var conns []*broker.Conn
			for _, n := range q.Brokers(t.Context(), t, kit.StartDriver(t), map[string]string{"auto.create.topics.enable": "false"}, kit, kit, kit) {
				conns = append(conns, dial(t, n.Listener))
			}
			patience := 2 * time.Minute
			if full && target != "" {
				patience = time.Hour // a target is of all the rounds
			}
			for _, replicas := range []int16{1, 3} {
				r := readYourWrites(t, conns, replicas, patience)
				note(t, s, fmt.Sprintf(row, replicas), target, 0, fmt.Sprintf("%d + %d of %d", r.metadata, r.produce, len(r.creations)))
				t.Logf("Produce to a leader that was not ready, which clients retry: %v", r.others)
				noteSpread(t, s, fmt.Sprintf("CreateTopics with RF %d in these rounds, longest wait %s ms: min / p50 / worst", replicas, wait), "", r.creations)
			}
		})
	}
	run(kvorum, row, "at most 3", "1000")
	run(kvorum, row+", without the wait", "", "0")
	run(apache, row, "", "none")
}

// ownWrites is what came of creating topics and using them at once.
type ownWrites struct {
	metadata, produce int             // answers of UNKNOWN_TOPIC_OR_PARTITION
	others            map[string]int  // other errors of Produce
	creations         []time.Duration // how long CreateTopics took, for each round
}

// readYourWrites counts what brokers did not know yet, in Metadata and in
// Produce. conns are the connections to the brokers 11, 12 and 13. A run ends when
// its patience does, but not before 50 rounds.
func readYourWrites(t *testing.T, conns []*broker.Conn, replicas int16, patience time.Duration) ownWrites {
	t.Helper()
	out := ownWrites{others: map[string]int{}}
	began := time.Now()
	for rounds := 0; rounds < sizes.rounds && (rounds < 50 || time.Since(began) < patience); rounds++ {
		topic := name()
		asked := time.Now()
		if err := createReplicated(conns[rounds%3], topic, 1, replicas, callPatience); err != nil {
			t.Fatalf("create a topic: %v", err)
		}
		out.creations = append(out.creations, time.Since(asked))
		leader, code := ask(t, conns[(rounds+1)%3], topic)
		if code == kerr.UnknownTopicOrPartition.Code {
			out.metadata++
			leader = int32(11 + (rounds+1)%3) // the broker that was asked
		}
		switch code = produce(t, conns[leader-11], topic); code {
		case 0:
		case kerr.UnknownTopicOrPartition.Code:
			out.produce++
		default:
			out.others[kerr.TypedErrorForCode(code).Message]++
		}
	}
	return out
}

// ask asks a broker for a topic; leader is that of its only partition.
func ask(t *testing.T, c *broker.Conn, name string) (leader int32, code int16) {
	t.Helper()
	req, resp := kmsg.NewPtrMetadataRequest(), kmsg.NewPtrMetadataResponse()
	req.Version, req.AllowAutoTopicCreation = 12, false
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &name
	req.Topics = append(req.Topics, topic)
	if err := c.Call(req, resp, callPatience); err != nil {
		t.Fatal(err)
	}
	if len(resp.Topics) != 1 {
		t.Fatalf("Metadata of one topic was answered for %d", len(resp.Topics))
	}
	if code = resp.Topics[0].ErrorCode; code != 0 {
		return -1, code
	}
	p := resp.Topics[0].Partitions[0]
	if p.Leader < 11 || p.Leader > 13 {
		return -1, kerr.UnknownTopicOrPartition.Code
	}
	return p.Leader, 0
}

// produce writes one record with acks=1, so that what is counted is whether the
// leader knows the topic.
func produce(t *testing.T, c *broker.Conn, name string) (code int16) {
	t.Helper()
	req, resp := kmsg.NewPtrProduceRequest(), kmsg.NewPtrProduceResponse()
	req.Version, req.Acks, req.TimeoutMillis = 9, 1, int32(callPatience.Milliseconds())
	topic, part := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	topic.Topic, part.Records = name, batch.AppendData(nil, 0, kafka.LeaderEpoch(0), time.Now().UnixMilli(), [][]byte{[]byte("record")})
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	if err := c.Call(req, resp, callPatience); err != nil {
		t.Fatal(err)
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		t.Fatalf("Produce to one partition was answered for %d topics", len(resp.Topics))
	}
	return resp.Topics[0].Partitions[0].ErrorCode
}

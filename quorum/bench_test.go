package quorum

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
	"kvorum/quorum/controller"
)

// BenchmarkCreateTopic is one CreateTopics of a topic with three partitions in
// an active core: decided, folded, encoded, proposed, committed and answered. It
// is to cost at most twice as much in a cluster of a million partitions as in an
// empty one.
func BenchmarkCreateTopic(b *testing.B) {
	for _, partitions := range []int{0, 1_000_000} {
		b.Run(fmt.Sprintf("%d partitions", partitions), func(b *testing.B) {
			core := activeCore(b, partitions)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				out := mustStep(b, core, Request{ID: uint64(i + 1), Caller: controller.Caller{Principal: "User:a"},
					Body: simCreate(fmt.Sprintf("bench-%d", i), 3), DeadlineMs: 1 << 60})
				if out.Append == nil {
					b.Fatalf("nothing was appended: %+v", out)
				}
				out = mustStep(b, core, Committed{Batches: out.Append.Batches})
				if len(out.Replies) != 1 || out.Replies[0].Err != nil {
					b.Fatalf("replies %+v", out.Replies)
				}
			}
		})
	}
}

func mustStep(tb testing.TB, c *Core, ev Event) Effects {
	out, err := c.Step(1_700_000_000_000, ev)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// activeCore is an active core of a cluster with 12 unfenced brokers and topics
// of 1,000 partitions each.
func activeCore(tb testing.TB, partitions int) *Core {
	cfg := simConfig(100, 1)
	cfg.PropagationWaitMs, cfg.MaxIdleMs, cfg.BalanceIntervalMs, cfg.UncleanIntervalMs = 0, 0, 0, 0
	core := NewCore(cfg)
	log := &benchLog{tb: tb}
	log.put(&record.FeatureLevelRecord{Name: image.FeatureMetadataVersion, FeatureLevel: int16(simLevel)}, 0)
	for id := range kafka.BrokerID(12) {
		log.put(&record.RegisterBrokerRecord{BrokerID: id, IncarnationID: kafka.UUID{1, 15: byte(id)}, BrokerEpoch: kafka.BrokerEpoch(id + 1),
			LogDirs: []kafka.UUID{{2, 15: byte(id)}}}, 3)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for t := range partitions / 1000 {
		topic := kafka.TopicID{3, 14: byte(t >> 8), 15: byte(t)}
		log.put(&record.TopicRecord{Name: fmt.Sprintf("topic-%d", t), TopicID: topic}, 0)
		for p := range 1000 {
			first := kafka.BrokerID(rnd.IntN(12))
			replicas := []kafka.BrokerID{first, (first + 1) % 12, (first + 5) % 12}
			log.put(&record.PartitionRecord{PartitionID: kafka.PartitionID(p), TopicID: topic, Replicas: replicas, ISR: replicas, Leader: first,
				Directories: []kafka.UUID{{2, 15: byte(first)}, {2, 15: byte((first + 1) % 12)}, {2, 15: byte((first + 5) % 12)}}}, 1)
		}
	}
	log.flush()
	mustStep(tb, core, Committed{Batches: log.data})
	out := mustStep(tb, core, Leadership{Term: 2, Self: true})
	v, _, err := batch.Next(out.Claim.Batch)
	if err != nil {
		tb.Fatal(err)
	}
	batch.Restamp(v, log.at, 2)
	mustStep(tb, core, Committed{Batches: v})
	out = mustStep(tb, core, Claimed{Term: 2, Accepted: true, Epoch: 2, End: log.at + 1})
	for out.Append != nil {
		out = mustStep(tb, core, Committed{Batches: out.Append.Batches})
	}
	return core
}

// benchLog collects records into batches.
type benchLog struct {
	tb     testing.TB
	at     kafka.Offset
	values [][]byte
	data   []byte
}

func (l *benchLog) put(r record.Record, version int16) {
	v, err := record.Message{Record: r, Version: version}.Append(nil)
	if err != nil {
		l.tb.Fatal(err)
	}
	if l.values = append(l.values, v); len(l.values) == 10_000 {
		l.flush()
	}
}

func (l *benchLog) flush() {
	if len(l.values) > 0 {
		l.data = batch.AppendData(l.data, l.at, 1, 1000, l.values)
		l.at += kafka.Offset(len(l.values))
		l.values = nil
	}
}

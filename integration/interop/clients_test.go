package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	segment "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/peer"
)

// records is how many records each client writes and reads.
const records = 30

// createByFranz creates a topic with franz-go and prints the outcome.
func (s *story) createByFranz(topic string, partitions int32) {
	_, err := s.admin.CreateTopic(s.ctx, partitions, 3, nil, topic)
	s.must(err)
	_, err = s.admin.CreateTopic(s.ctx, partitions, 3, nil, topic)
	s.say("franz-go creates %s: ok; again: %v", topic, err)
}

// deleteByFranz deletes a topic with franz-go.
func (s *story) deleteByFranz(topic string) {
	_, err := s.admin.DeleteTopic(s.ctx, topic)
	s.must(err)
	s.say("franz-go deletes %s: ok", topic)
}

// createBySegment creates a topic with kafka-go and prints the outcome.
func (s *story) createBySegment(topic string, partitions int) {
	client := &segment.Client{Addr: segment.TCP(s.bootstrap...), Timeout: patience}
	req := &segment.CreateTopicsRequest{Topics: []segment.TopicConfig{{Topic: topic, NumPartitions: partitions, ReplicationFactor: 3}}}
	resp, err := client.CreateTopics(s.ctx, req)
	s.must(err)
	s.must(resp.Errors[topic])
	resp, err = client.CreateTopics(s.ctx, req)
	s.must(err)
	s.say("kafka-go creates %s: ok; again: %v", topic, errors.Is(resp.Errors[topic], segment.TopicAlreadyExists))
}

// stepClients: each client writes and reads its own topic in a group; Java in a
// transaction too.
func (s *story) stepClients() {
	s.java("produce", peer.Args{"topic": "java", "prefix": "plain", "count": records})
	s.java("produce", peer.Args{"topic": "java", "prefix": "transaction", "count": records, "properties": map[string]string{"transactional.id": "tx"}})
	var consumed struct{ Values []string }
	s.must(s.do("consume", peer.Args{
		"topic": "java", "group": "java-group", "count": 2 * records,
		"properties": map[string]string{"isolation.level": "read_committed"},
	}, &consumed))
	s.consumed("java", consumed.Values, append(named("plain"), named("transaction")...))
	s.toolSorted(peer.ConsumerGroups, "--describe", "--group", "java-group")
	s.franz()
	s.segment()
}

// named returns the values prefix-0, prefix-1 and so on.
func named(prefix string) []string {
	var out []string
	for i := range records {
		out = append(out, fmt.Sprintf("%s-%d", prefix, i))
	}
	return out
}

// consumed prints how many records came, and fails unless they are those written.
func (s *story) consumed(client string, got, want []string) {
	s.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.Errorf("%s wrote\n%s\nand read\n%s", client, strings.Join(want, " "), strings.Join(got, " "))
	}
	s.say("%s wrote and read %d records in a group", client, len(got))
}

// franz writes idempotently and reads as a group with franz-go.
func (s *story) franz() {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	producer, err := kgo.NewClient(kgo.SeedBrokers(s.bootstrap...), kgo.DefaultProduceTopic("franz"))
	s.must(err)
	defer producer.Close()
	for _, value := range named("franz") {
		s.must(producer.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr())
	}
	consumer, err := kgo.NewClient(kgo.SeedBrokers(s.bootstrap...), kgo.ConsumerGroup("franz-group"), kgo.ConsumeTopics("franz"))
	s.must(err)
	defer consumer.Close()
	var values []string
	for len(values) < records {
		fetches := consumer.PollFetches(ctx)
		s.must(fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	s.must(consumer.CommitUncommittedOffsets(ctx))
	s.consumed("franz-go", values, named("franz"))
}

// segment writes and reads as a group with kafka-go.
func (s *story) segment() {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	writer := &segment.Writer{Addr: segment.TCP(s.bootstrap...), Topic: "segment", RequiredAcks: segment.RequireAll, BatchTimeout: time.Millisecond}
	var messages []segment.Message
	for _, value := range named("segment") {
		messages = append(messages, segment.Message{Value: []byte(value)})
	}
	s.must(writer.WriteMessages(ctx, messages...))
	s.must(writer.Close())
	reader := segment.NewReader(segment.ReaderConfig{Brokers: s.bootstrap, Topic: "segment", GroupID: "segment-group", StartOffset: segment.FirstOffset, MaxWait: 100 * time.Millisecond})
	defer func(c io.Closer) { s.must(c.Close()) }(reader)
	var values []string
	for len(values) < records {
		m, err := reader.ReadMessage(ctx)
		s.must(err)
		values = append(values, string(m.Value))
	}
	s.consumed("kafka-go", values, named("segment"))
}

package clients

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
	segmentio "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// create makes a job's topic by franz-go, for clients that cannot.
func create(ctx context.Context, j job) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(j.bootstrap))
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = kadm.NewClient(client).CreateTopic(ctx, 3, 1, nil, j.topic)
	return err
}

// committed is the sum of a group's committed offsets.
func committed(ctx context.Context, j job) (sum int, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(j.bootstrap))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	offsets, err := kadm.NewClient(client).FetchOffsets(ctx, j.group)
	if err != nil {
		return 0, err
	}
	offsets.Each(func(o kadm.OffsetResponse) { sum += int(o.At) })
	return sum, nil
}

func franz(ctx context.Context, t *testing.T, j job) (got seen, err error) {
	if err := create(ctx, j); err != nil {
		return got, err
	}
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for _, codec := range j.codecs {
		client, err := kgo.NewClient(kgo.SeedBrokers(j.bootstrap), kgo.DefaultProduceTopic(j.topic), kgo.ProducerBatchCompression(codecs[codec]))
		if err != nil {
			return got, err
		}
		var records []*kgo.Record
		for i := range count {
			records = append(records, &kgo.Record{
				Key: fmt.Appendf(nil, "%s-%d", codec, i), Value: fmt.Appendf(nil, "value-%s-%d", codec, i),
				Headers: []kgo.RecordHeader{{Key: "codec", Value: []byte(codec)}},
			})
		}
		err = client.ProduceSync(ctx, records...).FirstErr()
		client.Close()
		if err != nil {
			return got, err
		}
	}
	if got.Values, err = franzRead(ctx, t, j); err != nil {
		return got, err
	}
	got.Committed, err = committed(ctx, j)
	return got, err
}

// franzRead reads a job's topic in its group and commits.
func franzRead(ctx context.Context, _ *testing.T, j job) (values []string, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(j.bootstrap), kgo.ConsumeTopics(j.topic), kgo.ConsumerGroup(j.group), kgo.DisableAutoCommit())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	for len(values) < len(j.want()) {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read, %d records came: %w", len(values), err)
		}
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return values, client.CommitUncommittedOffsets(ctx)
}

func segment(ctx context.Context, _ *testing.T, j job) (got seen, err error) {
	client := &segmentio.Client{Addr: segmentio.TCP(j.bootstrap)}
	resp, err := client.CreateTopics(ctx, &segmentio.CreateTopicsRequest{Topics: []segmentio.TopicConfig{{Topic: j.topic, NumPartitions: 3, ReplicationFactor: 1}}})
	if err != nil {
		return got, err
	}
	if err := resp.Errors[j.topic]; err != nil {
		return got, err
	}
	codecs := map[string]segmentio.Compression{"gzip": segmentio.Gzip, "snappy": segmentio.Snappy, "lz4": segmentio.Lz4, "zstd": segmentio.Zstd}
	for _, codec := range j.codecs {
		w := &segmentio.Writer{Addr: client.Addr, Topic: j.topic, RequiredAcks: segmentio.RequireAll, Compression: codecs[codec], BatchTimeout: 5 * time.Millisecond, Balancer: &segmentio.Hash{}}
		var messages []segmentio.Message
		for i := range count {
			messages = append(messages, segmentio.Message{
				Key: fmt.Appendf(nil, "%s-%d", codec, i), Value: fmt.Appendf(nil, "value-%s-%d", codec, i), Headers: []segmentio.Header{{Key: "codec", Value: []byte(codec)}},
			})
		}
		if err := errors.Join(w.WriteMessages(ctx, messages...), w.Close()); err != nil {
			return got, err
		}
	}
	r := segmentio.NewReader(segmentio.ReaderConfig{Brokers: []string{j.bootstrap}, Topic: j.topic, GroupID: j.group, StartOffset: segmentio.FirstOffset, MaxWait: 100 * time.Millisecond})
	var last []segmentio.Message
	for len(got.Values) < len(j.want()) {
		m, err := r.FetchMessage(ctx)
		if err != nil {
			return got, fmt.Errorf("read, %d records came: %w", len(got.Values), err)
		}
		got.Values, last = append(got.Values, string(m.Value)), append(last, m)
	}
	if err := errors.Join(r.CommitMessages(ctx, last...), r.Close()); err != nil {
		return got, err
	}
	got.Committed, err = committed(ctx, j)
	return got, err
}

func shopify(ctx context.Context, _ *testing.T, j job) (got seen, err error) {
	codecs := map[string]sarama.CompressionCodec{
		"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	config.Producer.RequiredAcks, config.Producer.Idempotent, config.Net.MaxOpenRequests = sarama.WaitForAll, true, 1
	config.Producer.Return.Successes = true
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	admin, err := sarama.NewClusterAdmin([]string{j.bootstrap}, config)
	if err != nil {
		return got, err
	}
	defer admin.Close()
	if err := admin.CreateTopic(j.topic, &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1}, false); err != nil {
		return got, err
	}
	for _, codec := range j.codecs {
		config.Producer.Compression = codecs[codec]
		producer, err := sarama.NewSyncProducer([]string{j.bootstrap}, config)
		if err != nil {
			return got, err
		}
		var messages []*sarama.ProducerMessage
		for i := range count {
			messages = append(messages, &sarama.ProducerMessage{
				Topic: j.topic, Key: sarama.StringEncoder(fmt.Sprintf("%s-%d", codec, i)), Value: sarama.StringEncoder(fmt.Sprintf("value-%s-%d", codec, i)),
				Headers: []sarama.RecordHeader{{Key: []byte("codec"), Value: []byte(codec)}},
			})
		}
		if err := errors.Join(producer.SendMessages(messages), producer.Close()); err != nil {
			return got, err
		}
	}
	if got.Values, err = saramaRead(ctx, j, config); err != nil {
		return got, err
	}
	got.Committed, err = committed(ctx, j)
	return got, err
}

// reader is sarama's handler of a group's member: it ends when all have come.
type reader struct {
	values chan string // has room for every record, so that a claim never waits
}

func (*reader) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*reader) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (r *reader) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for m := range claim.Messages() {
		session.MarkMessage(m, "")
		r.values <- string(m.Value)
	}
	return nil
}

func saramaRead(ctx context.Context, j job, config *sarama.Config) (values []string, err error) {
	group, err := sarama.NewConsumerGroup([]string{j.bootstrap}, j.group, config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &reader{values: make(chan string, len(j.want()))}
	ended := make(chan error, 1)
	go func() { ended <- group.Consume(ctx, []string{j.topic}, r) }()
	for len(values) < len(j.want()) {
		select {
		case v := <-r.values:
			values = append(values, v)
		case err := <-ended:
			return nil, fmt.Errorf("the group ended after %d records: %w", len(values), err)
		}
	}
	cancel() // the session's end commits what is marked
	return values, errors.Join(<-ended, group.Close())
}

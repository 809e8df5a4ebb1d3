package tools

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// staticMember is the instance id of the member that leaves only when told to.
const staticMember = "static"

// join lets two members of a group, one of them static, read a topic of three
// partitions, and returns when both have partitions and have committed; the
// function that it returns lets them leave.
func (s *story) join(group, topic string) (leave func()) {
	s.Helper()
	var members []*kgo.Client
	for _, instance := range []string{"", staticMember} {
		options := []kgo.Opt{
			kgo.SeedBrokers(s.bootstrap), kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group), kgo.ClientID("member" + instance),
			kgo.Balancers(kgo.RangeBalancer()), kgo.DisableAutoCommit(), kgo.HeartbeatInterval(100 * time.Millisecond),
		}
		if instance != "" {
			options = append(options, kgo.InstanceID(instance))
		}
		c, err := kgo.NewClient(options...)
		s.must(err)
		members = append(members, c)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.bootstrap))
	s.must(err)
	admin := kadm.NewClient(client)
	s.until("two members of "+group, func(ctx context.Context) (bool, error) {
		described, err := admin.DescribeGroups(ctx, group)
		if err != nil {
			return false, err
		}
		g := described[group]
		for _, m := range g.Members {
			if assigned, ok := m.Assigned.AsConsumer(); !ok || len(assigned.Topics) == 0 {
				return false, g.Err
			}
		}
		return g.State == "Stable" && len(g.Members) == len(members), g.Err
	})
	s.until("a commit of "+group, func(ctx context.Context) (bool, error) {
		offsets := map[string]map[int32]kgo.EpochOffset{topic: {0: {Epoch: -1, Offset: 4}, 1: {Epoch: -1, Offset: 1}, 2: {Epoch: -1, Offset: 2}}}
		done := make(chan error, 1)
		members[0].CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, err error) { done <- err })
		return true, <-done
	})
	return func() {
		for _, m := range members {
			m.Close()
		}
		_, err := admin.LeaveGroup(s.ctx, kadm.LeaveGroup(group).InstanceIDs(staticMember))
		s.must(err)
		client.Close()
	}
}

// timed writes records that are a millisecond apart to the first partition of a
// topic, in two batches.
func (s *story) timed(topic string, first int64) {
	s.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	s.must(err)
	defer client.Close()
	for half := range int64(2) {
		var records []*kgo.Record
		for i := range int64(10) {
			records = append(records, &kgo.Record{Topic: topic, Value: []byte("v"), Timestamp: time.UnixMilli(first + 10*half + i)})
		}
		s.must(client.ProduceSync(s.ctx, records...).FirstErr())
	}
}

// until repeats a question until its answer is yes.
func (s *story) until(what string, ask func(context.Context) (bool, error)) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	for {
		ok, err := ask(ctx)
		if ok && err == nil {
			return
		}
		if ctx.Err() != nil {
			s.Fatalf("waited %v for %s: %v", patience, what, err)
		}
		time.Sleep(20 * time.Millisecond) // between two questions
	}
}

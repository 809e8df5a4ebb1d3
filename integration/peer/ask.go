package peer

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
)

// askPatience bounds one question to one server.
const askPatience = 5 * time.Second

// Ask connects to one server, of any make, and asks once.
func Ask(ctx context.Context, address string, question func(context.Context, *kgo.Broker) error) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	return question(ctx, client.SeedBrokers()[0])
}

// Brokers returns the ids of the brokers that are in a broker's metadata: those
// that it knows to be unfenced.
func Brokers(ctx context.Context, address string) (ids []int32, err error) {
	err = Ask(ctx, address, func(ctx context.Context, b *kgo.Broker) error {
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = []kmsg.MetadataRequestTopic{} // none
		resp, err := req.RequestWith(ctx, b)
		if err != nil {
			return err
		}
		for _, broker := range resp.Brokers {
			ids = append(ids, broker.NodeID)
		}
		return nil
	})
	return ids, err
}

// DescribeQuorum asks a server, of any make, about the quorum and returns the
// error of the answer and that of its partition, nil for none.
func DescribeQuorum(ctx context.Context, address string) (top, partition, err error) {
	err = Ask(ctx, address, func(ctx context.Context, b *kgo.Broker) error {
		req := kmsg.NewPtrDescribeQuorumRequest()
		topic := kmsg.NewDescribeQuorumRequestTopic()
		topic.Topic = kafka.MetadataTopic
		topic.Partitions = append(topic.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
		req.Topics = append(req.Topics, topic)
		resp, err := req.RequestWith(ctx, b)
		if err != nil {
			return err
		}
		top = kerr.ErrorForCode(resp.ErrorCode)
		if top == nil && (len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1) {
			return fmt.Errorf("the answer about the quorum has %d topics", len(resp.Topics))
		}
		if top == nil {
			partition = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
		}
		return nil
	})
	return top, partition, err
}

// Leads asks a controller, of any make, whether it is the active one. A follower
// answers too: with an error that says so, which is no error of Leads.
func Leads(ctx context.Context, address string) (leads bool, err error) {
	top, partition, err := DescribeQuorum(ctx, address)
	switch answer := cmp.Or(top, partition); {
	case err != nil:
		return false, err
	case answer == kerr.NotLeaderForPartition, answer == kerr.NotController:
		return false, nil
	default:
		return answer == nil, answer
	}
}

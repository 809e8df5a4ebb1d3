package visible

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/integration/bench/broker"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// unknownTopic is UNKNOWN_TOPIC_OR_PARTITION.
const unknownTopic = 3

func millis() int32 { return int32(patience.Milliseconds()) }

func createTopic(c *broker.Conn, name string, partitions int32) error {
	req, resp := kmsg.NewPtrCreateTopicsRequest(), kmsg.NewPtrCreateTopicsResponse()
	req.Version, req.TimeoutMillis = 7, millis()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	req.Topics = append(req.Topics, topic)
	if err := c.Call(req, resp, patience); err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.Topics[0].ErrorCode)
}

func createPartitions(c *broker.Conn, name string, partitions int32) error {
	req, resp := kmsg.NewPtrCreatePartitionsRequest(), kmsg.NewPtrCreatePartitionsResponse()
	req.Version, req.TimeoutMillis = 3, millis()
	topic := kmsg.NewCreatePartitionsRequestTopic()
	topic.Topic, topic.Count = name, partitions
	req.Topics = append(req.Topics, topic)
	if err := c.Call(req, resp, patience); err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.Topics[0].ErrorCode)
}

func deleteTopic(c *broker.Conn, name string) error {
	req, resp := kmsg.NewPtrDeleteTopicsRequest(), kmsg.NewPtrDeleteTopicsResponse()
	req.Version, req.TimeoutMillis = 6, millis()
	topic := kmsg.NewDeleteTopicsRequestTopic()
	topic.Topic = &name
	req.Topics = append(req.Topics, topic)
	if err := c.Call(req, resp, patience); err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.Topics[0].ErrorCode)
}

func alterConfig(c *broker.Conn, topic, key, value string) error {
	req, resp := kmsg.NewPtrIncrementalAlterConfigsRequest(), kmsg.NewPtrIncrementalAlterConfigsResponse()
	req.Version = 1
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = key, &value
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	resource.Configs = append(resource.Configs, config)
	req.Resources = append(req.Resources, resource)
	if err := c.Call(req, resp, patience); err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.Resources[0].ErrorCode)
}

// describeConfig returns a value of a topic.
func describeConfig(c *broker.Conn, topic, key string) (string, error) {
	req, resp := kmsg.NewPtrDescribeConfigsRequest(), kmsg.NewPtrDescribeConfigsResponse()
	req.Version = 4
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName, resource.ConfigNames = kmsg.ConfigResourceTypeTopic, topic, []string{key}
	req.Resources = append(req.Resources, resource)
	if err := c.Call(req, resp, patience); err != nil {
		return "", err
	}
	if len(resp.Resources) != 1 || len(resp.Resources[0].Configs) != 1 || resp.Resources[0].Configs[0].Value == nil {
		return fmt.Sprintf("nothing, error %d", resp.Resources[0].ErrorCode), nil
	}
	return *resp.Resources[0].Configs[0].Value, nil
}

func alterQuota(c *broker.Conn, user string, rate float64) error {
	req, resp := kmsg.NewPtrAlterClientQuotasRequest(), kmsg.NewPtrAlterClientQuotasResponse()
	req.Version = 1
	entry := kmsg.NewAlterClientQuotasRequestEntry()
	entry.Entity = append(entry.Entity, kmsg.AlterClientQuotasRequestEntryEntity{Type: "user", Name: &user})
	entry.Ops = append(entry.Ops, kmsg.AlterClientQuotasRequestEntryOp{Key: "producer_byte_rate", Value: 1 + rate})
	req.Entries = append(req.Entries, entry)
	if err := c.Call(req, resp, patience); err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.Entries[0].ErrorCode)
}

// describeQuota returns the rate that alterQuota was given.
func describeQuota(c *broker.Conn, user string) (string, error) {
	req, resp := kmsg.NewPtrDescribeClientQuotasRequest(), kmsg.NewPtrDescribeClientQuotasResponse()
	req.Version = 1
	component := kmsg.NewDescribeClientQuotasRequestComponent()
	component.EntityType, component.MatchType, component.Match = "user", 0, &user
	req.Components = append(req.Components, component)
	if err := c.Call(req, resp, patience); err != nil {
		return "", err
	}
	if len(resp.Entries) != 1 || len(resp.Entries[0].Values) != 1 {
		return "nothing", nil
	}
	return fmt.Sprint(resp.Entries[0].Values[0].Value - 1), nil
}

// known is what a broker says of a topic: the leaders by partition, -1 for none.
type known struct {
	code    int16
	leaders []int32
}

func leadersOf(c *broker.Conn, name string) (k known, err error) {
	req, resp := kmsg.NewPtrMetadataRequest(), kmsg.NewPtrMetadataResponse()
	req.Version, req.AllowAutoTopicCreation = 12, false
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &name
	req.Topics = append(req.Topics, topic)
	if err := c.Call(req, resp, patience); err != nil {
		return k, err
	}
	if len(resp.Topics) != 1 {
		return k, fmt.Errorf("Metadata of one topic was answered for %d", len(resp.Topics))
	}
	k = known{code: resp.Topics[0].ErrorCode, leaders: make([]int32, len(resp.Topics[0].Partitions))}
	for _, p := range resp.Topics[0].Partitions {
		if k.leaders[p.Partition] = p.Leader; p.ErrorCode != 0 {
			k.leaders[p.Partition] = -1
		}
	}
	return k, nil
}

// produce writes one record with acks=all.
func produce(c *broker.Conn, name string, partition int32) (code int16, err error) {
	req, resp := kmsg.NewPtrProduceRequest(), kmsg.NewPtrProduceResponse()
	req.Version, req.Acks, req.TimeoutMillis = 9, -1, millis()
	topic, part := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	topic.Topic, part.Partition = name, partition
	part.Records = batch.AppendData(nil, 0, kafka.LeaderEpoch(0), time.Now().UnixMilli(), [][]byte{[]byte("record")})
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	if err := c.Call(req, resp, patience); err != nil {
		return 0, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return 0, fmt.Errorf("Produce to one partition was answered for %d topics", len(resp.Topics))
	}
	return resp.Topics[0].Partitions[0].ErrorCode, nil
}

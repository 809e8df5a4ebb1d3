package interop

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/integration/peer"
)

// A broker knows of a change a moment after the reply, and Apache's tools ask any
// broker. So before a tool lists something, every running broker is asked by
// itself until it knows.

// everyBroker asks each running broker until all answer as wished.
func (s *story) everyBroker(what string, known func(context.Context, *kgo.Broker) (bool, error)) {
	s.Helper()
	for _, address := range s.bootstrap {
		s.until(fmt.Sprintf("%s to know %s", address, what), func() (ok bool, err error) {
			err = peer.Ask(s.ctx, address, func(ctx context.Context, b *kgo.Broker) error {
				ok, err = known(ctx, b)
				return err
			})
			return ok, err
		})
	}
}

// knownTopics waits until every broker has exactly these topics of its own.
func (s *story) knownTopics(names ...string) {
	s.Helper()
	s.everyBroker(fmt.Sprintf("exactly the topics %v", names), func(ctx context.Context, b *kgo.Broker) (bool, error) {
		topics, err := metadata(ctx, b)
		var have []string
		for _, t := range topics {
			if !t.IsInternal {
				have = append(have, *t.Topic)
			}
		}
		slices.Sort(have)
		return slices.Equal(have, names), err
	})
}

// knownPartition waits until every broker says that the first partition of a
// topic has this leader (0 for any) and this ISR.
func (s *story) knownPartition(topic string, leader int32, isr ...int32) {
	s.Helper()
	s.everyBroker(fmt.Sprintf("%s-0 with the leader %d and the ISR %v", topic, leader, isr), func(ctx context.Context, b *kgo.Broker) (bool, error) {
		topics, err := metadata(ctx, b)
		for _, t := range topics {
			for _, p := range t.Partitions {
				if *t.Topic == topic && p.Partition == 0 {
					slices.Sort(p.ISR)
					return slices.Equal(p.ISR, isr) && (leader == 0 || p.Leader == leader) && len(p.Replicas) >= len(isr), nil
				}
			}
		}
		return false, err
	})
}

// knownPartitions waits until a topic has that many partitions on every broker.
func (s *story) knownPartitions(topic string, n int) {
	s.Helper()
	s.everyBroker(fmt.Sprintf("%d partitions of %s", n, topic), func(ctx context.Context, b *kgo.Broker) (bool, error) {
		topics, err := metadata(ctx, b)
		for _, t := range topics {
			if *t.Topic == topic {
				return len(t.Partitions) == n, err
			}
		}
		return false, err
	})
}

// metadata asks a broker for all topics.
func metadata(ctx context.Context, b *kgo.Broker) ([]kmsg.MetadataResponseTopic, error) {
	resp, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, b)
	if err != nil {
		return nil, err
	}
	return resp.Topics, nil
}

// knownConfigs waits until a topic has that many values of its own.
func (s *story) knownConfigs(topic string, n int) {
	s.Helper()
	s.everyBroker(fmt.Sprintf("%d values of %s", n, topic), func(ctx context.Context, b *kgo.Broker) (bool, error) {
		req := kmsg.NewPtrDescribeConfigsRequest()
		resource := kmsg.NewDescribeConfigsRequestResource()
		resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
		req.Resources = append(req.Resources, resource)
		resp, err := req.RequestWith(ctx, b)
		if err != nil {
			return false, err
		}
		own := 0
		for _, r := range resp.Resources {
			for _, c := range r.Configs {
				if c.Source == kmsg.ConfigSourceDynamicTopicConfig {
					own++
				}
			}
		}
		return own == n, nil
	})
}

// knownACLs waits until every broker has that many entries.
func (s *story) knownACLs(n int) {
	s.Helper()
	s.everyBroker(fmt.Sprintf("%d ACLs", n), func(ctx context.Context, b *kgo.Broker) (bool, error) {
		req := kmsg.NewPtrDescribeACLsRequest()
		req.ResourceType, req.ResourcePatternType = kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny
		req.Operation, req.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
		resp, err := req.RequestWith(ctx, b)
		if err != nil {
			return false, err
		}
		entries := 0
		for _, r := range resp.Resources {
			entries += len(r.ACLs)
		}
		return entries == n, nil
	})
}

// knownQuotas waits until every broker has quotas for that many entities. The
// log has one order: who knows a quota knows the credentials before it.
func (s *story) knownQuotas(n int) {
	s.Helper()
	s.everyBroker(fmt.Sprintf("quotas of %d entities", n), func(ctx context.Context, b *kgo.Broker) (bool, error) {
		resp, err := kmsg.NewPtrDescribeClientQuotasRequest().RequestWith(ctx, b)
		if err != nil {
			return false, err
		}
		return len(resp.Entries) == n, nil
	})
}

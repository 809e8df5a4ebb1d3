package leaving

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/integration/peer"
)

// takeOver puts kvorum's broker in the place of broker i, when every replica is in
// sync, and waits until all are again.
func (c *Cluster) takeOver(ctx context.Context, t *testing.T, adm *kadm.Client, i int) {
	t.Helper()
	inSync(ctx, t, adm)
	began := time.Now()
	n := c.TakeOver(ctx, t, i)
	serves := time.Since(began)
	inSync(ctx, t, adm)
	t.Logf("%v serves after %v, and is in sync after %v", n, serves.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
}

// inSync waits until every replica of every topic is in sync.
func inSync(ctx context.Context, t *testing.T, adm *kadm.Client) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		topics, err := adm.ListTopicsWithInternal(ctx)
		out := ""
		topics.EachPartition(func(p kadm.PartitionDetail) {
			if len(p.ISR) < len(p.Replicas) || p.Leader < 0 {
				out = fmt.Sprintf("%s-%d has leader %d and ISR %v of %v", p.Topic, p.Partition, p.Leader, p.ISR, p.Replicas)
			}
		})
		if err == nil && out == "" && len(topics) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not in sync: %s, %v", out, err)
		}
	}
}

// follower is a member of a group that reads numbered records all the time.
type follower struct {
	client *kgo.Client
	stop   context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex
	seen map[uint64]int
	errs []error
}

func startFollower(t *testing.T, c *Cluster, topic string) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{
		client: c.Client(t, kgo.ConsumerGroup("followers"), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitInterval(time.Second)),
		stop:   cancel, done: make(chan struct{}), seen: map[uint64]int{},
	}
	go func() {
		defer close(f.done)
		for ctx.Err() == nil {
			fetches := f.client.PollFetches(ctx)
			f.mu.Lock()
			fetches.EachRecord(func(r *kgo.Record) { f.seen[binary.BigEndian.Uint64(r.Value)]++ })
			fetches.EachError(func(_ string, _ int32, err error) {
				if ctx.Err() == nil {
					f.errs = append(f.errs, err)
				}
			})
			f.mu.Unlock()
		}
	}()
	t.Cleanup(func() { cancel(); <-f.done })
	return f
}

// check waits until the member has read all of the numbers.
func (f *follower) check(ctx context.Context, t *testing.T, n int64) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		f.mu.Lock()
		missing, twice := int64(0), 0
		for i := range n {
			switch f.seen[uint64(i)] {
			case 0:
				missing++
			case 1:
			default:
				twice++
			}
		}
		errs := f.errs
		f.mu.Unlock()
		if missing == 0 {
			t.Logf("the group's member has read %d records, %d of them more than once, and had %d errors: %v", n, twice, len(errs), errs[:min(3, len(errs))])
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the group's member has not read %d of %d records; errors: %v", missing, n, errs)
		}
	}
	f.stop()
	<-f.done
}

// description is what Apache's tools would show of a cluster, in lines.
type description map[string]string

// describe asks for all that a migration must keep.
func describe(ctx context.Context, t *testing.T, c *Cluster) description {
	t.Helper()
	// A new client, since kgo asks for a coordinator only once, and an old one may hold a
	// connection whose broker has been restarted.
	adm := kadm.NewClient(c.Client(t))
	d := description{}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	topics, err := adm.ListTopics(ctx)
	must(err)
	configs, err := adm.DescribeTopicConfigs(ctx, topics.Names()...)
	must(err)
	live, err := adm.ListBrokers(ctx)
	must(err)
	brokers, err := adm.DescribeBrokerConfigs(ctx, live.NodeIDs()...)
	must(err)
	defaults, err := adm.DescribeBrokerConfigs(ctx)
	must(err)
	for _, r := range slices.Concat(configs, brokers, defaults) {
		must(r.Err)
		for _, c := range r.Configs {
			if dynamic := c.Source == kmsg.ConfigSourceDynamicTopicConfig || c.Source == kmsg.ConfigSourceDynamicBrokerConfig || c.Source == kmsg.ConfigSourceDynamicDefaultBrokerConfig; dynamic {
				d[fmt.Sprintf("config of %q: %s", r.Name, c.Key)] = c.MaybeValue()
			}
		}
	}
	topics.EachPartition(func(p kadm.PartitionDetail) {
		d[fmt.Sprintf("replicas of %s-%d", p.Topic, p.Partition)] = fmt.Sprint(topics[p.Topic].ID, p.Replicas)
	})
	users, err := adm.DescribeUserSCRAMs(ctx)
	must(err)
	for name, u := range users {
		slices.SortFunc(u.CredInfos, func(a, b kadm.CredInfo) int { return int(a.Mechanism) - int(b.Mechanism) })
		d["user "+name] = fmt.Sprint(u.CredInfos)
	}
	quotas, err := adm.DescribeClientQuotas(ctx, false, nil)
	must(err)
	for _, q := range quotas { // whose parts, too, come in any order
		slices.SortFunc(q.Entity, func(a, b kadm.ClientQuotaEntityComponent) int { return strings.Compare(a.Type, b.Type) })
		slices.SortFunc(q.Values, func(a, b kadm.ClientQuotaValue) int { return strings.Compare(a.Key, b.Key) })
		d["quotas of "+q.Entity.String()] = fmt.Sprint(q.Values)
	}
	offsets, err := adm.FetchOffsets(ctx, "g1")
	must(err)
	offsets.Each(func(o kadm.OffsetResponse) {
		d[fmt.Sprintf("offset of g1 in %s-%d", o.Topic, o.Partition)] = fmt.Sprint(o.At)
	})
	return d
}

// describeACLs asks a controller for every ACL: kvorum's brokers have no authorizer to
// ask.
func describeACLs(ctx context.Context, t *testing.T, address string) description {
	t.Helper()
	d := description{}
	err := peer.Ask(ctx, address, func(ctx context.Context, b *kgo.Broker) error {
		req := kmsg.NewPtrDescribeACLsRequest()
		req.ResourceType, req.ResourcePatternType, req.Operation, req.PermissionType = kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny, kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
		answer, err := b.Request(ctx, req)
		if err != nil {
			return err
		}
		resp := answer.(*kmsg.DescribeACLsResponse)
		for _, r := range resp.Resources {
			for _, rule := range r.ACLs {
				d[fmt.Sprint("ACL ", r.ResourceType, r.ResourceName, r.ResourcePatternType, rule)] = ""
			}
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
	if err != nil || len(d) == 0 {
		t.Fatalf("ACLs: %d, %v", len(d), err)
	}
	return d
}

// same compares what was with what is now, and may have more topics.
func same(t *testing.T, before, after description) {
	t.Helper()
	for _, what := range slices.Sorted(maps.Keys(before)) {
		if got, ok := after[what]; !ok || got != before[what] {
			t.Errorf("%s was %q and is %q (there: %v)", what, before[what], got, ok)
		}
	}
	t.Logf("%d configs, assignments, ACLs, users, quotas and offsets are as before", len(before))
}

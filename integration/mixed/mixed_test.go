package mixed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
)

const (
	patience = time.Minute
	records  = 30
)

// node is a broker of any make.
type node struct {
	name, address string
	id            int32
}

// world is the cluster and its clients.
type world struct {
	*testing.T
	ctx    context.Context
	driver *peer.Driver
	nodes  []node
	admin  *kadm.Client
}

// TestMixed: one broker of each make. Topics live on each of them alone and on all
// three, groups are led by each, and each takes changes of the cluster.
func TestMixed(t *testing.T) {
	kits := []*peer.Kit{peer.Require(t, peer.V39), peer.Require(t, peer.V43)}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	w := &world{T: t, ctx: ctx, driver: kits[1].StartDriver(t)}
	// A broker of 3.9 runs with levels that it knows.
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 3, ReleaseVersion: "3.9-IV0"})
	coordinators := map[string]string{"offsets.topic.replication.factor": "3", "offsets.topic.num.partitions": "6"}
	for _, b := range q.Brokers(ctx, t, w.driver, coordinators, kits...) {
		w.nodes = append(w.nodes, node{b.String(), b.Listener, b.ID})
	}
	for _, b := range q.StartKvorumBrokers(ctx, t, 1, coordinators) {
		w.nodes = append(w.nodes, node{b.String(), b.Client, b.ID})
	}
	for _, n := range w.nodes {
		w.until(n.name+" sees all", func() error {
			ids, err := peer.Brokers(ctx, n.address)
			if err == nil && len(ids) != len(w.nodes) {
				err = fmt.Errorf("it sees %v", ids)
			}
			return err
		})
	}
	client := w.client(w.addresses())
	w.admin = kadm.NewClient(client)
	w.topics()
	w.groups()
	w.changes()
	w.replicas()
}

func (w *world) addresses() (all []string) {
	for _, n := range w.nodes {
		all = append(all, n.address)
	}
	return all
}

func (w *world) client(seeds []string, options ...kgo.Opt) *kgo.Client {
	w.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(seeds...), kgo.AlwaysRetryEOF(), kgo.MetadataMinAge(50 * time.Millisecond)}, options...)...)
	w.must(err)
	w.Cleanup(c.Close)
	return c
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// until repeats a check until it has no error.
func (w *world) until(what string, check func() error) {
	w.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("%s: after %v: %v", what, patience, err)
		}
	}
}

// create makes a topic by one broker, partition i on the brokers replicas[i].
func (w *world) create(by node, name string, replicas ...[]int32) {
	w.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, -1, -1
	for i, on := range replicas {
		topic.ReplicaAssignment = append(topic.ReplicaAssignment, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(i), Replicas: on})
	}
	req.Topics = append(req.Topics, topic)
	w.must(peer.Ask(w.ctx, by.address, func(ctx context.Context, b *kgo.Broker) error {
		resp, err := req.RequestWith(ctx, b)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}))
}

// topics: by each broker a topic with a partition on every broker. franz-go writes
// it knowing that broker alone, and Java reads it knowing that broker alone.
func (w *world) topics() {
	began := time.Now()
	for i, by := range w.nodes {
		topic := fmt.Sprintf("each-%d", i)
		w.create(by, topic, []int32{w.nodes[0].id}, []int32{w.nodes[1].id}, []int32{w.nodes[2].id})
		want := w.write(w.client([]string{by.address}, kgo.RecordPartitioner(kgo.RoundRobinPartitioner())), topic)
		var read struct{ Values []string }
		w.must(w.driver.Do(w.ctx, "consume", peer.Args{"bootstrap": by.address, "topic": topic, "group": "java-" + topic, "count": len(want)}, &read))
		w.same(topic+" by "+by.name, read.Values, want)
	}
	w.Logf("topics on each broker: %v", time.Since(began).Round(time.Millisecond))
}

// write writes records to a topic and returns their values.
func (w *world) write(c *kgo.Client, topic string) (values []string) {
	w.Helper()
	for i := range records {
		value := fmt.Sprintf("%s-%d", topic, i)
		w.must(c.ProduceSync(w.ctx, &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr())
		values = append(values, value)
	}
	return values
}

func (w *world) same(what string, got, want []string) {
	w.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.Errorf("%s: read %v, want %v", what, got, want)
	}
}

// groups: for each broker a group that it coordinates. What the group commits is
// there by every broker that a client begins with.
func (w *world) groups() {
	began := time.Now()
	missing := map[int32]string{}
	for _, n := range w.nodes {
		missing[n.id] = n.name
	}
	for i := 0; len(missing) > 0; i++ {
		if i > 100 {
			w.Fatalf("none of 100 groups is coordinated by %v", missing)
		}
		group := fmt.Sprintf("group-%d", i)
		var at int32
		w.until("the coordinator of "+group, func() error {
			found := w.admin.FindGroupCoordinators(w.ctx, group)[group]
			at = found.NodeID
			return found.Err
		})
		if missing[at] == "" {
			continue
		}
		delete(missing, at)
		w.group(group)
	}
	w.Logf("groups on each broker: %v", time.Since(began).Round(time.Millisecond))
}

// group reads a topic of every broker by two members, and commits.
func (w *world) group(name string) {
	w.Helper()
	const topic = "each-0"
	var members []*kgo.Client
	for range 2 {
		members = append(members, w.client(w.addresses(), kgo.ConsumerGroup(name), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond), kgo.HeartbeatInterval(100*time.Millisecond)))
	}
	seen := map[string]bool{}
	w.until("all records for "+name, func() error {
		for _, m := range members {
			ctx, cancel := context.WithTimeout(w.ctx, 200*time.Millisecond)
			fetches := m.PollFetches(ctx)
			cancel()
			fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Value)] = true })
			if fetches.NumRecords() > 0 {
				// A member that has just lost its partitions commits nothing of them.
				if err := m.CommitUncommittedOffsets(w.ctx); err != nil && !errors.Is(err, kerr.RebalanceInProgress) && !errors.Is(err, kerr.IllegalGeneration) {
					return err
				}
			}
		}
		if len(seen) < records {
			return fmt.Errorf("%d of %d records", len(seen), records)
		}
		return nil
	})
	for _, m := range members {
		w.must(m.CommitUncommittedOffsets(w.ctx))
		m.Close()
	}
	for _, n := range w.nodes {
		offsets, err := kadm.NewClient(w.client([]string{n.address})).FetchOffsets(w.ctx, name)
		w.must(err)
		sum := int64(0)
		offsets.Each(func(o kadm.OffsetResponse) { sum += o.At })
		if sum != records {
			w.Errorf("%s says that %s has committed %d records of %d", n.name, name, sum, records)
		}
	}
}

// changes: each broker takes each kind of change, and Apache's tools of 4.3.1 show
// it by each other one.
func (w *world) changes() {
	began := time.Now()
	for i, by := range w.nodes {
		topic := fmt.Sprintf("each-%d", i)
		admin := kadm.NewClient(w.client([]string{by.address}))
		// The client sends what needs the controller to any broker, so to this one.
		results, err := admin.CreatePartitions(w.ctx, 1, topic)
		w.must(errors.Join(err, results.Error()))
		altered, err := admin.AlterTopicConfigs(w.ctx, []kadm.AlterConfig{{Name: "retention.ms", Value: kadm.StringPtr("7777777")}}, topic)
		w.must(err)
		for _, a := range altered {
			w.must(a.Err)
		}
		for _, other := range w.nodes {
			w.until(other.name+" to show what "+by.name+" took", func() error {
				out, err := w.driver.Tool(w.ctx, peer.Topics, "--bootstrap-server", other.address, "--describe", "--topic", topic)
				if err == nil && (!strings.Contains(out.Stdout, "PartitionCount: 4") || !strings.Contains(out.Stdout, "retention.ms=7777777")) {
					err = errors.New(out.String())
				}
				return err
			})
		}
	}
	w.Logf("changes by each broker: %v", time.Since(began).Round(time.Millisecond))
}

// replicas: a topic on all three, led by each in turn, written with acks=all.
func (w *world) replicas() {
	began := time.Now()
	a, b, c := w.nodes[0].id, w.nodes[1].id, w.nodes[2].id
	w.create(w.nodes[2], "all", []int32{a, b, c}, []int32{b, c, a}, []int32{c, a, b})
	writer := w.client(w.addresses(), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	want := w.write(writer, "all")
	w.until("every replica in sync", func() error {
		topics, err := w.admin.ListTopics(w.ctx, "all")
		for _, p := range topics["all"].Partitions {
			if len(p.ISR) != len(w.nodes) {
				err = errors.Join(err, fmt.Errorf("partition %d has the ISR %v", p.Partition, p.ISR))
			}
		}
		return err
	})
	var read struct{ Values []string }
	w.must(w.driver.Do(w.ctx, "consume", peer.Args{"bootstrap": w.nodes[2].address, "topic": "all", "group": "java-all", "count": len(want)}, &read))
	w.same("the topic on all brokers", read.Values, want)
	w.Logf("a topic on all brokers: %v", time.Since(began).Round(time.Millisecond))
}

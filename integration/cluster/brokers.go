package cluster

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"kvorum/integration/loopback"
	"kvorum/integration/peer"
)

// firstKvorumBroker is the id of the first of kvorum's brokers; Apache's count
// from 11.
const firstKvorumBroker = 101

// FormatKvorumBrokers formats n of kvorum's brokers on the quorum, with the ids
// 101, 102 and so on. The properties are added to each server.properties.
func (q *Quorum) FormatKvorumBrokers(ctx context.Context, t testing.TB, n int, properties map[string]string) []*Node {
	t.Helper()
	dir, addresses := t.TempDir(), q.options.addresses(t, q.options.Size, n, clientPort)
	replication := fmt.Sprint(min(n, 3))
	binary := q.options.Binary
	if binary == "" {
		binary = Binary(t)
	}
	var brokers []*Node
	for i, address := range addresses {
		id := int32(firstKvorumBroker + i)
		p := map[string]string{
			"process.roles":                       "broker",
			"node.id":                             fmt.Sprint(id),
			"controller.quorum.bootstrap.servers": strings.Join(q.Addresses, ","),
			"controller.listener.names":           "CONTROLLER",
			"listeners":                           "PLAINTEXT://" + address,
			"listener.security.protocol.map":      "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
			"inter.broker.listener.name":          "PLAINTEXT",
			"offsets.topic.replication.factor":    replication,
			"offsets.topic.num.partitions":        "4",
			"group.initial.rebalance.delay.ms":    "0",
		}
		maps.Copy(p, properties)
		b := &Node{ID: id, Binary: binary, Dir: filepath.Join(dir, fmt.Sprintf("broker-%d", id)), Client: address, Properties: p, Wrap: q.options.wrap(q.options.Size + i)}
		b.Format(ctx, t, q.ClusterID)
		brokers = append(brokers, b)
	}
	return brokers
}

// StartKvorumBrokers formats and starts n of kvorum's brokers and waits until each
// sees all.
func (q *Quorum) StartKvorumBrokers(ctx context.Context, t testing.TB, n int, properties map[string]string) []*Node {
	t.Helper()
	brokers := q.FormatKvorumBrokers(ctx, t, n, properties)
	q.RunKvorumBrokers(ctx, t, brokers)
	return brokers
}

// RunKvorumBrokers starts brokers that are formatted and waits until each sees all.
func (q *Quorum) RunKvorumBrokers(ctx context.Context, t testing.TB, brokers []*Node) {
	t.Helper()
	for _, b := range brokers {
		b.Start(t)
	}
	waitForAll(ctx, t, brokers)
}

// waitForAll waits until each of the brokers sees all.
func waitForAll(ctx context.Context, t testing.TB, brokers []*Node) {
	t.Helper()
	for _, b := range brokers {
		peer.WaitReady(ctx, t, b.String(), b.Process(), func(ctx context.Context) error {
			ids, err := peer.Brokers(ctx, b.Client)
			if err == nil && len(ids) < len(brokers) {
				err = fmt.Errorf("it sees the brokers %v, of which there are %d of kvorum's alone", ids, len(brokers))
			}
			return err
		})
	}
}

// StartKvorumCombined formats and starts n nodes of kvorum that are controller and
// broker each, with the ids 1, 2 and so on, and waits until each sees all.
func StartKvorumCombined(ctx context.Context, t testing.TB, n int) []*Node {
	t.Helper()
	clients := loopback.Addresses(t, n)
	q := formatKvorum(ctx, t, Options{Size: n}, func(i int, p map[string]string) string {
		p["process.roles"] = "broker,controller"
		p["listeners"] += ",PLAINTEXT://" + clients[i]
		p["advertised.listeners"] = p["listeners"]
		p["listener.security.protocol.map"] = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
		p["inter.broker.listener.name"] = "PLAINTEXT"
		p["offsets.topic.replication.factor"] = fmt.Sprint(min(n, 3))
		p["group.initial.rebalance.delay.ms"] = "0"
		return clients[i]
	})
	var nodes []*Node
	for _, c := range q.Controllers {
		nodes = append(nodes, c.(*Node))
	}
	for _, b := range nodes {
		b.Start(t)
	}
	waitForAll(ctx, t, nodes)
	return nodes
}

package cluster

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"testing"

	"kvorum/integration/loopback"
	"kvorum/integration/peer"
	"kvorum/integration/process"
)

// Server is the process of one node, of either make.
type Server interface {
	Controller
	Process() *process.Process
	DataDir() string
}

// Single is a formatted cluster of one node that is controller and broker, of
// either make.
type Single struct {
	Server
	ClusterID string
	Bootstrap string // the listener of clients

	ControllerListener string
}

// singleDefaults are what one node alone needs, and no waiting.
func singleDefaults(properties map[string]string) map[string]string {
	p := map[string]string{
		"offsets.topic.replication.factor":         "1",
		"transaction.state.log.replication.factor": "1",
		"transaction.state.log.min.isr":            "1",
		"group.initial.rebalance.delay.ms":         "0",
	}
	maps.Copy(p, properties)
	return p
}

// FormatSingleKvorum formats a combined node of kvorum. The properties are added
// to its server.properties.
func FormatSingleKvorum(ctx context.Context, t testing.TB, properties map[string]string) *Single {
	t.Helper()
	addresses := loopback.Addresses(t, 2)
	client, controller := addresses[0], addresses[1]
	p := map[string]string{
		"process.roles":                       "broker,controller",
		"node.id":                             "1",
		"controller.quorum.bootstrap.servers": controller,
		"listeners":                           fmt.Sprintf("PLAINTEXT://%s,CONTROLLER://%s", client, controller),
		"advertised.listeners":                fmt.Sprintf("PLAINTEXT://%s,CONTROLLER://%s", client, controller),
		"listener.security.protocol.map":      "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"controller.listener.names":           "CONTROLLER",
		"inter.broker.listener.name":          "PLAINTEXT",
	}
	maps.Copy(p, singleDefaults(properties))
	n := &Node{ID: 1, Binary: Binary(t), Dir: filepath.Join(t.TempDir(), "node"), Address: controller, Client: client, Properties: p}
	s := &Single{Server: n, ClusterID: randomID(t), Bootstrap: client, ControllerListener: controller}
	n.Format(ctx, t, s.ClusterID, "--standalone", "")
	return s
}

// FormatSingleApache formats a combined node of Apache's.
func FormatSingleApache(ctx context.Context, t testing.TB, kit *peer.Kit, d *peer.Driver, properties map[string]string) *Single {
	t.Helper()
	addresses := loopback.Addresses(t, 2)
	n := &peer.Node{
		Kit: kit, ID: 1, ClusterID: randomID(t), Dir: filepath.Join(t.TempDir(), "node"),
		Listener: addresses[0], Controller: addresses[1], Bootstrap: addresses[1:], Properties: singleDefaults(properties),
	}
	n.Format(ctx, t, d)
	return &Single{Server: n, ClusterID: n.ClusterID, Bootstrap: n.Listener, ControllerListener: n.Controller}
}

// StartReady starts the node and waits until it serves.
func (s *Single) StartReady(ctx context.Context, t testing.TB) {
	t.Helper()
	s.Start(t)
	s.WaitReady(ctx, t)
}

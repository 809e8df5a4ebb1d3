package quorum

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"kvorum/internal/kafka"
	"kvorum/internal/testlog"
	"kvorum/listener"
	"kvorum/metadatalog"
	"kvorum/protocol"
)

// wired is one whole controller: store and snapshots on disk, a listener on
// loopback, and a testlog in the place of Raft.
type wired struct {
	t       *testing.T
	cfg     ControllerConfig
	store   *metadatalog.Store
	cluster *testlog.Cluster
	ctl     *Controller
	conn    net.Conn
	stop    func()
}

// newWired starts controller 100 and waits until it is active. change sets up
// the configuration; it may be nil.
func newWired(t *testing.T, change func(*ControllerConfig)) *wired {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
	w := &wired{t: t}
	dir := t.TempDir()
	var err error
	if w.store, err = metadatalog.Open(filepath.Join(dir, "store"), metadatalog.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	w.cluster = testlog.NewCluster(0, map[kafka.NodeID]*metadatalog.Store{100: w.store})
	t.Cleanup(w.cluster.Close)
	core := simConfig(100, 1)
	core.MaxIdleMs, core.PropagationWaitMs, core.BalanceIntervalMs, core.UncleanIntervalMs = 0, 0, 0, 0
	core.Settings.SessionTimeoutMs = 3_600_000
	w.cfg = ControllerConfig{
		Core: core, ClusterID: core.Settings.ClusterID, Log: w.cluster.Log(100), SnapshotDir: dir,
		Snapshots: SnapshotConfig{Bytes: 1 << 40, RetentionBytes: -1, Retention: -1},
		Logger:    slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if change != nil {
		change(&w.cfg)
	}
	w.start()
	t.Cleanup(func() { w.stop() })
	w.cluster.Elect(100)
	w.wait(func(s *State) bool { return s.Active && s.Image.Controller(100) != nil })
	return w
}

// start runs the controller and a listener before it.
func (w *wired) start() {
	w.t.Helper()
	var err error
	if w.ctl, err = New(w.cfg); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l, err := listener.New(ctx, listener.Config{Name: "CONTROLLER", Addr: "127.0.0.1:0", Handlers: w.ctl.Handlers(),
		Features: w.ctl.Features, Budget: listener.NewBudget(listener.DefaultBudget), Log: w.cfg.Logger})
	if err != nil {
		w.t.Fatal(err)
	}
	l.Serve(ctx)
	done := make(chan error, 1)
	go func() { done <- w.ctl.Run(ctx) }()
	if w.conn, err = new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String()); err != nil {
		w.t.Fatal(err)
	}
	w.stop = func() {
		w.stop = func() {}
		w.conn.Close()
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
		if err := l.Close(context.Background()); err != nil {
			w.t.Error(err)
		}
	}
}

// wait waits until the published state is as wanted.
func (w *wired) wait(want func(*State) bool) *State {
	w.t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for {
		changed := w.ctl.WaitState()
		if s := w.ctl.State(); want(s) {
			return s
		}
		select {
		case <-changed:
		case <-deadline.C:
			w.t.Fatalf("the state stays %+v", w.ctl.State())
		}
	}
}

// ask sends a request and reads its response.
func (w *wired) ask(req kmsg.Request) kmsg.Response {
	w.t.Helper()
	resp := req.ResponseKind()
	if err := w.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		w.t.Fatal(err)
	}
	if err := exchange(w.conn, req, resp); err != nil {
		w.t.Fatal(err)
	}
	return resp
}

// grow adds a record to the log by a request that always writes one.
func (w *wired) grow() {
	w.t.Helper()
	req := simAlter("", "1")
	req.Resources[0].ResourceType, req.Resources[0].ResourceName = kmsg.ConfigResourceTypeBroker, ""
	value := time.Now().Format("150405.000000000")
	req.Resources[0].Configs[0].Name, req.Resources[0].Configs[0].Value = "leader.replication.throttled.replicas", &value
	resp := w.ask(req).(*kmsg.IncrementalAlterConfigsResponse)
	if code := resp.Resources[0].ErrorCode; code != 0 {
		w.t.Fatalf("growing the log gives %d: %s", code, deref(resp.Resources[0].ErrorMessage))
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// fetchRequest is a broker's Fetch of the metadata log.
func (w *wired) fetchRequest(version int16, offset kafka.Offset, epoch kafka.LeaderEpoch) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version = version
	req.ClusterID = &w.cfg.ClusterID
	req.ReplicaID, req.ReplicaState.ID, req.ReplicaState.Epoch = 1, 1, -1
	req.MaxBytes, req.SessionEpoch = 8<<20, -1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = kafka.MetadataTopic, kafka.MetadataTopicID
	p := kmsg.NewFetchRequestTopicPartition()
	p.CurrentLeaderEpoch, p.FetchOffset, p.LastFetchedEpoch, p.LogStartOffset = int32(w.ctl.State().Epoch), int64(offset), int32(epoch), -1
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	return req
}

// envelope wraps a request of a client as a broker does.
func envelopeOf(t *testing.T, principal protocol.Principal, inner kmsg.Request) *kmsg.EnvelopeRequest {
	client := "tool"
	env := kmsg.NewPtrEnvelopeRequest()
	env.RequestPrincipal = protocol.AppendPrincipal(nil, principal)
	env.ClientHostAddress = []byte{10, 1, 2, 3}
	env.RequestData = protocol.AppendRequest(nil, 9, &client, inner)[4:]
	return env
}

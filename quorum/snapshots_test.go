package quorum

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/internal/testlog"
	"kvorum/metadatalog"
	"kvorum/protocol/errors"
	"kvorum/snapshot"
)

// often makes a snapshot of nearly every commit and keeps few bytes.
func often(cfg *ControllerConfig) {
	cfg.Snapshots = SnapshotConfig{Bytes: 1, RetentionBytes: 3000, Retention: time.Hour}
}

// waitSnapshot waits for the newest snapshot to be as wanted.
func (w *wired) waitSnapshot(want func(latest, earliest kafka.EpochOffset) bool) kafka.EpochOffset {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		latest, earliest, ok := w.ctl.snapshots.Range()
		if ok && want(latest, earliest) {
			return latest
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the snapshots stay %v to %v", earliest, latest)
		}
	}
}

func (w *wired) snapshotPiece(id kafka.EpochOffset, position int64, maxBytes int32, change func(*kmsg.FetchSnapshotRequest)) *kmsg.FetchSnapshotResponse {
	w.t.Helper()
	req := kmsg.NewPtrFetchSnapshotRequest()
	req.Version, req.ReplicaID, req.MaxBytes, req.ClusterID = 1, 1, maxBytes, &w.cfg.ClusterID
	p := kmsg.NewFetchSnapshotRequestTopicPartition()
	p.CurrentLeaderEpoch, p.Position = int32(w.ctl.State().Epoch), position
	p.SnapshotID.EndOffset, p.SnapshotID.Epoch = int64(id.Offset), int32(id.Epoch)
	topic := kmsg.NewFetchSnapshotRequestTopic()
	topic.Topic = kafka.MetadataTopic
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	if change != nil {
		change(req)
	}
	return w.ask(req).(*kmsg.FetchSnapshotResponse)
}

// TestFetchSnapshot: a new replica is sent to the snapshot and gets the file's
// bytes in pieces; what it may ask wrongly has Apache's answers.
func TestFetchSnapshot(t *testing.T) {
	w := newWired(t, func(cfg *ControllerConfig) { cfg.Snapshots.Bytes = 1 })
	id := w.waitSnapshot(func(latest, _ kafka.EpochOffset) bool { return latest.Offset == w.store.EndOffset() })
	p := w.ask(w.fetchRequest(17, 0, 0)).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if p.ErrorCode != 0 || len(p.RecordBatches) > 0 || p.SnapshotID.EndOffset != int64(id.Offset) || p.SnapshotID.Epoch != int32(id.Epoch) {
		t.Errorf("a fetch from 0 is answered error %d, snapshot %+v", p.ErrorCode, p.SnapshotID)
	}
	var got []byte
	for {
		resp := w.snapshotPiece(id, int64(len(got)), 100, nil)
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.Position != int64(len(got)) || len(p.Bytes) == 0 || len(p.Bytes) > 100 || p.CurrentLeader.LeaderID != 100 || len(resp.NodeEndpoints) != 1 {
			t.Fatalf("the piece at %d is %+v", len(got), p)
		}
		if got = append(got, p.Bytes...); int64(len(got)) == p.Size {
			break
		}
	}
	want, err := os.ReadFile(filepath.Join(w.cfg.SnapshotDir, snapshot.Name(id)))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("fetched %d bytes of a snapshot of %d (%v)", len(got), len(want), err)
	}
	other := "BAAAAAAAAAAAAAAAAAAAAA"
	cases := []struct {
		name      string
		id        kafka.EpochOffset
		position  int64
		change    func(*kmsg.FetchSnapshotRequest)
		top, code errors.Code
	}{
		{"another cluster", id, 0, func(r *kmsg.FetchSnapshotRequest) { r.ClusterID = &other }, errors.InconsistentClusterID, 0},
		{"no topics", id, 0, func(r *kmsg.FetchSnapshotRequest) { r.Topics = nil }, errors.InvalidRequest, 0},
		{"another topic", id, 0, func(r *kmsg.FetchSnapshotRequest) { r.Topics[0].Topic = "x" }, 0, errors.UnknownTopicOrPartition},
		{"another partition", id, 0, func(r *kmsg.FetchSnapshotRequest) { r.Topics[0].Partitions[0].Partition = 1 }, 0, errors.UnknownTopicOrPartition},
		{"an older epoch", id, 0, func(r *kmsg.FetchSnapshotRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch-- }, 0, errors.FencedLeaderEpoch},
		{"a newer epoch", id, 0, func(r *kmsg.FetchSnapshotRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch++ }, 0, errors.UnknownLeaderEpoch},
		{"no such snapshot", kafka.EpochOffset{Offset: 1, Epoch: 1}, 0, nil, 0, errors.SnapshotNotFound},
		{"the bootstrap snapshot", kafka.EpochOffset{}, 0, nil, 0, errors.SnapshotNotFound},
		{"before the start", id, -1, nil, 0, errors.PositionOutOfRange},
		{"at the end", id, int64(len(want)), nil, 0, errors.PositionOutOfRange},
	}
	for _, c := range cases {
		resp := w.snapshotPiece(c.id, c.position, 100, c.change)
		if errors.Code(resp.ErrorCode) != c.top {
			t.Errorf("%s: top-level error %d, want %s", c.name, resp.ErrorCode, c.top)
		} else if c.top == 0 && errors.Code(resp.Topics[0].Partitions[0].ErrorCode) != c.code {
			t.Errorf("%s: error %d, want %s", c.name, resp.Topics[0].Partitions[0].ErrorCode, c.code)
		}
	}
}

// TestSnapshotsBoundTheLog: a log that goes on and on stays small, and what
// remains is enough to start from.
func TestSnapshotsBoundTheLog(t *testing.T) {
	w := newWired(t, often)
	for range 60 {
		w.grow()
	}
	w.waitSnapshot(func(latest, earliest kafka.EpochOffset) bool {
		return latest.Offset == w.store.EndOffset() && earliest.Offset == w.store.LogStart()
	})
	if n := len(w.ctl.snapshots.dir.Load().List()); n > 5 || w.store.LogBytes() > 6000 {
		t.Errorf("%d snapshots and %d bytes of log remain, from offset %d", n, w.store.LogBytes(), w.store.LogStart())
	}
	before := w.ctl.State()
	w.stop()
	w.start()
	after := w.wait(func(s *State) bool { return s.End == before.End })
	if after.Image.Hash() != before.Image.Hash() || after.KRaftVersion != before.KRaftVersion || len(after.Voters.Voters) != 3 {
		t.Errorf("after a restart the state is %+v, before it was %+v", after, before)
	}
}

// TestDamagedSnapshot: a start goes on with the snapshot before a damaged one.
func TestDamagedSnapshot(t *testing.T) {
	w := newWired(t, func(cfg *ControllerConfig) { cfg.Snapshots.Bytes = 1 })
	// A slow snapshot covers what was committed meanwhile, so each is waited for.
	w.waitSnapshot(func(latest, _ kafka.EpochOffset) bool { return latest.Offset == w.store.EndOffset() })
	w.grow()
	w.waitSnapshot(func(latest, earliest kafka.EpochOffset) bool {
		return latest.Offset == w.store.EndOffset() && earliest != latest
	})
	before := w.ctl.State()
	w.stop()
	newest, _ := w.ctl.snapshots.dir.Load().Latest()
	name := filepath.Join(w.cfg.SnapshotDir, snapshot.Name(newest.ID))
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 4
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	w.start()
	after := w.wait(func(s *State) bool { return s.End == before.End })
	if after.Image.Hash() != before.Image.Hash() {
		t.Error("the image is another one after a start with a damaged snapshot")
	}
	if _, err := os.Stat(name + ".damaged"); err != nil {
		t.Error(err)
	}
}

// TestStoreReplaced: a controller that was far behind gets another one's store
// while it runs, and goes on from its snapshot.
func TestStoreReplaced(t *testing.T) {
	w := newWired(t, func(cfg *ControllerConfig) { cfg.Snapshots.Bytes = 1 })
	dir := t.TempDir()
	store, err := metadatalog.Open(filepath.Join(dir, "store"), metadatalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	cluster := testlog.NewCluster(0, map[kafka.NodeID]*metadatalog.Store{101: store})
	defer cluster.Close()
	cfg := w.cfg
	cfg.Core.Self, cfg.SnapshotDir, cfg.Log = 101, dir, cluster.Log(101)
	behind, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- behind.Run(ctx) }()
	w.grow()
	id := w.waitSnapshot(func(latest, _ kafka.EpochOffset) bool { return latest.Offset == w.store.EndOffset() })
	err = cluster.Copy(101, id, func() error {
		data, err := os.ReadFile(filepath.Join(w.cfg.SnapshotDir, snapshot.Name(id)))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, snapshot.Name(id)), data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	other := *w
	other.ctl = behind
	got := other.wait(func(s *State) bool { return s.End == id.Offset })
	if got.Image.Hash() != w.ctl.State().Image.Hash() || got.Epoch != id.Epoch || got.Active {
		t.Errorf("the copy is %+v", got)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !slices.ContainsFunc(behind.snapshots.dir.Load().List(), func(i snapshot.Info) bool { return i.ID == id }) {
		t.Error("the snapshot of the copy is not served")
	}
}

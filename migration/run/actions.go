package run

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/migration/convert"
	"kvorum/migration/driver"
	"kvorum/migration/mirror"
	"kvorum/migration/zk"
	"kvorum/migration/zkbroker"
	"kvorum/migration/zkbroker/control"
	"kvorum/migration/znode"
)

// look reads who controls the cluster and which brokers it has.
func (t *term) look(ctx context.Context, done *driver.Done) error {
	tree, err := t.client.Look(ctx)
	if err != nil {
		return err
	}
	z, err := t.seen(tree)
	done.ZooKeeper = z
	return err
}

// seen is what the driver has to know of a tree.
func (t *term) seen(tree *znode.Tree) (driver.ZooKeeper, error) {
	z := driver.ZooKeeper{Migration: znode.NoMigration}
	snapshot := znode.Decode(tree)
	if snapshot.ClusterID != t.runner.config.ClusterID {
		return z, fmt.Errorf("ZooKeeper's /cluster/id is %q, and this cluster of controllers is %q: format the controllers with ZooKeeper's, or correct zookeeper.connect", snapshot.ClusterID, t.runner.config.ClusterID)
	}
	if snapshot.Migration != nil {
		z.Migration = snapshot.Migration.Value
	}
	if snapshot.Controller != nil {
		z.Controller, z.HasController = snapshot.Controller.Value, true
	}
	for _, p := range snapshot.Problems { // a node that is there and says nothing must not count as none
		if p.Path == znode.ControllerPath || p.Path == znode.MigrationPath {
			return z, p
		}
	}
	found := map[kafka.BrokerID]bool{}
	for _, name := range tree.Children(znode.BrokerIDsPath) {
		id, err := strconv.ParseInt(name, 10, 32)
		if err != nil {
			return z, fmt.Errorf("%s/%s is no broker id", znode.BrokerIDsPath, name)
		}
		found[kafka.BrokerID(id)] = true
	}
	for i := range snapshot.Topics {
		for _, p := range snapshot.Topics[i].Partitions {
			for _, b := range p.Replicas {
				found[b] = true
			}
		}
	}
	for id := range found {
		z.Brokers = append(z.Brokers, id)
	}
	slices.Sort(z.Brokers)
	return z, nil
}

// claim takes ZooKeeper. Before the copy it first makes sure that everything can be
// converted and every broker be told: a cluster that cannot be copied keeps its
// controller.
func (t *term) claim(ctx context.Context) error {
	floor := kafka.NoEpoch // after the copy it is below ours: dual write puts the epochs of our predecessors there
	if im := t.runner.newestImage(); im.ZkMigrationState() == int8(driver.PreMigration) {
		if err := t.canSpeak(im); err != nil {
			return err
		}
		snapshot, _, err := t.convert(ctx)
		if err != nil {
			return err
		}
		floor = highestEpoch(snapshot)
	}
	return t.take(ctx, floor, false)
}

// canSpeak makes sure that every broker in ZooKeeper mode can be told what changes.
func (t *term) canSpeak(im *image.Image) error {
	if t.runner.config.Dial != nil {
		return nil // it knows how
	}
	for b := range im.Brokers() {
		if !b.IsMigratingZkBroker {
			continue
		}
		if err := zkbroker.CanSpeak(b, t.runner.config.Listener); err != nil {
			return fmt.Errorf("ZooKeeper is not claimed: %w", err)
		}
	}
	return nil
}

// take claims ZooKeeper with a /controller_epoch of at least floor; over says that it
// may be a controller's of a higher KRaft epoch.
func (t *term) take(ctx context.Context, floor kafka.LeaderEpoch, over bool) error {
	r := t.runner
	fence, err := t.client.Claim(ctx, zk.Claim{ID: r.config.Node, Epoch: t.epoch, NowMs: r.config.Clock.Now().UnixMilli(), Floor: floor, Over: over})
	if err != nil {
		return err
	}
	if t.sender != nil { // of a claim before this one
		t.sender.Close()
		t.sender = nil
	}
	t.fence, t.mirror, t.read = fence, nil, nil // what was read before it may be old
	t.sender, err = zkbroker.New(zkbroker.Config{
		Head: control.Head{Controller: r.config.Node, ControllerEpoch: fence.ControllerEpoch.Value, Listener: r.config.Listener},
		Dial: r.config.Dial, Log: r.config.Log,
	})
	if err != nil {
		return err
	}
	r.note(t, func(s *Status) { s.ControllerEpoch, s.sender = fence.ControllerEpoch.Value, t.sender })
	return nil
}

// highestEpoch is the highest epoch in the state of any partition.
func highestEpoch(s *znode.Snapshot) kafka.LeaderEpoch {
	highest := kafka.NoEpoch
	for i := range s.Topics {
		for _, state := range s.Topics[i].States {
			highest = max(highest, state.ControllerEpoch)
		}
	}
	return highest
}

// convert reads all of ZooKeeper and makes the records of it. What cannot be
// converted is an error.
func (t *term) convert(ctx context.Context) (*znode.Snapshot, []record.Message, error) {
	r := t.runner
	read := 0
	tree, err := t.client.Read(ctx, func(nodes int) {
		if nodes-read >= 1000 { // the status is for people
			read = nodes
			r.note(t, func(s *Status) { s.Read = nodes })
		}
	})
	if err != nil {
		return nil, nil, err
	}
	r.note(t, func(s *Status) { s.Read = tree.Len() })
	t.read = tree
	snapshot := znode.Decode(tree)
	if err := snapshot.Blocking(); err != nil {
		return nil, nil, fmt.Errorf("ZooKeeper cannot be copied: %w", err)
	}
	messages, problems := convert.Records(snapshot, convert.Options{
		MetadataVersion: r.newestImage().MetadataVersion(), Secret: r.config.Secret, NewID: newID,
	})
	if len(problems) > 0 {
		var all []error
		for _, p := range problems[:min(len(problems), maxProblems)] {
			all = append(all, p)
		}
		return nil, nil, fmt.Errorf("ZooKeeper cannot be copied, %d nodes cannot be converted: %w", len(problems), errors.Join(all...))
	}
	return snapshot, messages, nil
}

// maxProblems bounds what one message tells of nodes.
const maxProblems = 10

// newID is a fresh id of an access control entry.
func newID() kafka.UUID {
	id, err := kafka.RandomUUID(rand.Reader)
	if err != nil {
		panic(err) // crypto/rand never fails
	}
	return id
}

// waits says for people that ZooKeeper is awaited; the end of the action takes it back.
func (t *term) waits(err error) {
	t.runner.note(t, func(s *Status) { s.Err = "ZooKeeper is awaited: " + err.Error() })
}

// write writes the newest image to ZooKeeper.
func (t *term) write(ctx context.Context, done *driver.Done) error {
	im := t.runner.newestImage()
	if state := driver.LogState(im.ZkMigrationState()); state != driver.Migration {
		panic(fmt.Sprintf("run: an image in state %d is to replace what ZooKeeper holds", state)) // it would delete everything
	}
	if t.mirror == nil {
		t.mirror = mirror.New(mirror.Config{Client: t.client, Fence: t.fence, Secret: t.runner.config.Secret, Read: t.read, Waits: t.waits})
		t.read = nil
	}
	report, err := t.mirror.Apply(ctx, im)
	if err != nil {
		return err
	}
	if report.Reconciled || report.Conflicts > 0 {
		t.runner.config.Log.Info("ZooKeeper holds the metadata", "offset", im.At().Offset, "writes", report.Writes, "reconciled", report.Reconciled, "conflicts", report.Conflicts)
		for _, p := range report.Problems {
			t.runner.config.Log.Warn("ZooKeeper cannot hold a part of the metadata", "path", p.Path, "err", p.Err)
		}
	}
	t.told, done.Written = im, im.At().Offset
	t.runner.note(t, func(s *Status) { s.Written = im.At().Offset })
	return nil
}

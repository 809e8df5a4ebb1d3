package mirror

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/migration/convert"
	"kvorum/migration/zk"
	"kvorum/migration/znode"
)

const (
	// maxConflicts is how often a node may turn out to be changed behind our back
	// while one image is written. Somebody who writes without end is no reason to go on
	// without end.
	maxConflicts = 8
	// pause is the rest after a lost connection; the client connects by itself.
	pause = 100 * time.Millisecond
)

// ErrOlder is in the chain when an image is older than what ZooKeeper holds.
var ErrOlder = errors.New("ZooKeeper holds newer metadata")

// Config is what a Mirror is made of.
type Config struct {
	Client *zk.Client
	// Fence is that of our claim; the Mirror is its one user from now on.
	Fence *zk.Fence
	// Secret is the brokers' password.encoder.secret, "" if they have none.
	Secret string
	// Read is what Client.Read has read since the claim, for the first reconciliation to
	// compare with; nil to read. The Mirror changes it, and keeps it no longer than that.
	Read *znode.Tree
	// Waits, which may be nil, is called while Apply waits for ZooKeeper: with each error
	// that says that the connection is lost.
	Waits func(err error)
}

// Mirror writes images to ZooKeeper. It has one user at a time.
//
// Nothing that it remembers is needed to go on: a new Mirror, of this controller or
// of the next, begins with a reconciliation that reads ZooKeeper and writes what is
// different, and nothing else.
type Mirror struct {
	config Config
	// at is the image that ZooKeeper holds, nil if that is not known.
	at *image.Image
}

// New returns a Mirror that has not looked at ZooKeeper yet.
func New(c Config) *Mirror { return &Mirror{config: c} }

// Written is what /migration says: the last offset of the metadata log that
// ZooKeeper has, and its epoch.
func (m *Mirror) Written() (kafka.Offset, kafka.LeaderEpoch) {
	v := m.config.Fence.Migration.Value
	return v.Offset, v.Epoch
}

// Report is what one Apply did.
type Report struct {
	// Writes is the number of nodes that were created, set, deleted or told of.
	Writes int
	// Reconciled says that everything was read and compared, not only what changed.
	Reconciled bool
	// Conflicts is the number of times that a node was changed behind our back.
	Conflicts int
	// Problems are what of the image ZooKeeper cannot hold, with reasons. The rest was
	// written.
	Problems []znode.Problem
}

// Apply makes ZooKeeper hold an image, and then says so in /migration: when it
// returns without an error, both are on a majority of the ZooKeeper servers. The
// image must be committed, and complete: what is not in it is deleted.
//
// Only nodes that mean something else than the image are written, each with the
// version that was read just before. A node that was changed behind our back is read
// and written again. When the connection or the session is lost, Apply waits for the
// next, reads what became of the transaction on its way, and goes on. It gives up
// when ctx ends, which also ends the client; with zk.ErrDeposed when another
// controller has claimed ZooKeeper; with ErrOlder, without a write, when the image is
// older than what is there. After an error the next Apply reconciles.
func (m *Mirror) Apply(ctx context.Context, im *image.Image) (Report, error) {
	if written, _ := m.Written(); im.At().Offset < written {
		return Report{}, fmt.Errorf("write the metadata up to offset %d to ZooKeeper: %w, up to offset %d", im.At().Offset, ErrOlder, written)
	}
	var conflicts, doubts int
	for {
		report, err := m.write(ctx, im)
		if err == nil {
			m.at = im
			report.Conflicts = conflicts
			return report, nil
		}
		var conflict *zk.ConflictError
		switch {
		case errors.As(err, &conflict) && conflicts < maxConflicts:
			if conflicts++; conflicts > 1 {
				m.at = nil // it is not what changed alone: look at everything
			}
			continue
		case ctx.Err() == nil && (zk.Lost(err) || errors.Is(err, zk.ErrDeposed) && doubts == 0):
			// A transaction of ours whose answer was lost may have moved /migration, which then
			// looks like somebody else's work.
			if errors.Is(err, zk.ErrDeposed) {
				doubts++
			}
			if err = m.refence(ctx); err == nil {
				continue
			}
		}
		m.at = nil
		return Report{}, fmt.Errorf("write the metadata up to offset %d to ZooKeeper: %w", im.At().Offset, err)
	}
}

// refence waits for the connection and finds out whether we may still write.
func (m *Mirror) refence(ctx context.Context) error {
	for {
		err := m.config.Client.Refence(ctx, m.config.Fence)
		if err == nil || !zk.Lost(err) {
			return err
		}
		if m.config.Waits != nil {
			m.config.Waits(err)
		}
		if !clock.Rest(ctx, pause) {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// write reads what the image may change and writes what is different.
func (m *Mirror) write(ctx context.Context, im *image.Image) (Report, error) {
	options := convert.WriteOptions{ControllerEpoch: m.config.Fence.Migration.Value.ControllerEpoch, Secret: m.config.Secret, Random: random}
	report := Report{Reconciled: m.at == nil}
	var tree *znode.Tree
	var wanted convert.Wanted
	var err error
	if m.at == nil {
		if tree, m.config.Read = m.config.Read, nil; tree == nil { // a second try looks at ZooKeeper itself
			if tree, err = m.config.Client.Read(ctx, nil); err != nil {
				return report, err
			}
		}
		wanted = convert.All(im, options)
		wanted.Nodes = append(wanted.Nodes, convert.Extra(tree, im, wanted.Nodes)...)
	} else {
		tree, wanted = znode.NewTree(), convert.Changed(image.Diff(m.at, im), options)
	}
	if err := m.look(ctx, tree, wanted.Nodes, m.at != nil); err != nil {
		return report, err
	}
	writes := convert.WithNotices(convert.Writes(tree, wanted.Nodes), func(path string) bool { _, ok := tree.Get(path); return ok })
	report.Writes, report.Problems = len(writes), wanted.Problems
	at := im.At()
	mine := m.config.Fence.Migration.Value
	return report, m.config.Client.Apply(ctx, m.config.Fence, writes, &znode.Migration{
		ControllerID: mine.ControllerID, ControllerEpoch: mine.ControllerEpoch, Offset: at.Offset, Epoch: at.Epoch,
	})
}

// look reads into the tree what writing must know of nodes: they themselves if
// fresh, the parents of those that are missing, and where brokers watch.
func (m *Mirror) look(ctx context.Context, tree *znode.Tree, nodes []convert.Node, fresh bool) error {
	if len(nodes) == 0 {
		return nil
	}
	asked := map[string]bool{}
	var paths []string
	ask := func(path string) {
		if !asked[path] {
			asked[path] = true
			paths = append(paths, path)
		}
	}
	for _, path := range znode.ChangePaths {
		ask(path)
	}
	for _, n := range nodes {
		if fresh && (n.Data != nil || n.Gone) {
			ask(n.Path)
		}
	}
	if err := m.get(ctx, tree, paths); err != nil {
		return err
	}
	paths = nil
	for _, n := range nodes {
		if _, ok := tree.Get(n.Path); ok || n.Gone {
			continue
		}
		for path := n.Path; path != "/"; path = znode.Parent(path) {
			if _, ok := tree.Get(path); !ok {
				ask(path)
			}
		}
	}
	return m.get(ctx, tree, paths)
}

// get reads nodes into the tree. The parents of a node that is there are there.
func (m *Mirror) get(ctx context.Context, tree *znode.Tree, paths []string) error {
	if len(paths) == 0 {
		return nil
	}
	found, err := m.config.Client.GetAll(ctx, paths)
	if err != nil {
		return err
	}
	for path, n := range found {
		tree.Add(path, n)
	}
	for path := range found {
		for path = znode.Parent(path); path != "/"; path = znode.Parent(path) {
			if _, ok := tree.Get(path); ok {
				break
			}
			tree.Add(path, znode.Node{})
		}
	}
	return nil
}

// random is the salt and the initialization vector of one password.
func random() (out [272]byte) {
	rand.Read(out[:]) // never fails: crypto/rand ends the process instead
	return out
}

package zk

import (
	"context"
	"errors"
	"fmt"
	"slices"

	client "github.com/go-zookeeper/zk"

	"kvorum/migration/znode"
)

// Fill creates the nodes of a tree, and the nodes above them, in a ZooKeeper that has none
// of Kafka's: it has no fence, since there is nobody yet. A node that is there stays as it
// is, so that Fill may be repeated after an error; /cluster/id comes last, and says that
// everything is there. Nodes that go with a session, and those that say who the controller
// is, are left out. It returns how many nodes it created, durable on a majority of the
// ZooKeeper servers. When ctx ends the client is closed.
func (z *Client) Fill(ctx context.Context, tree *znode.Tree) (created int, err error) {
	defer z.closeWhenDone(ctx)()
	if err := z.makeChroot(); err != nil {
		return 0, err
	}
	writes := filling(tree)
	for len(writes) > 0 {
		batch := writes[:batchLength(writes)]
		writes = writes[len(batch):]
		n, err := z.create(ctx, batch)
		if created += n; err != nil {
			return created, err
		}
	}
	return created, nil
}

// filling are the nodes to create, parents first.
func filling(tree *znode.Tree) []znode.Write {
	made := map[string]bool{"/": true, znode.ControllerPath: true, znode.MigrationPath: true, znode.ClusterIDPath: true}
	var writes []znode.Write
	var add func(path string)
	add = func(path string) {
		n, _ := tree.Get(path)
		if made[path] || n.Ephemeral {
			return
		}
		made[path] = true
		add(znode.Parent(path))
		writes = append(writes, znode.Write{Op: znode.Create, Path: path, Data: n.Data})
	}
	for _, path := range tree.Paths() {
		add(path)
	}
	if n, ok := tree.Get(znode.ClusterIDPath); ok {
		add(znode.Parent(znode.ClusterIDPath))
		writes = append(writes, znode.Write{Op: znode.Create, Path: znode.ClusterIDPath, Data: n.Data})
	}
	return writes
}

// makeChroot creates the node below which everything is, and those above it.
func (z *Client) makeChroot() error {
	var paths []string
	for path := z.chroot; path != "" && path != "/"; path = znode.Parent(path) {
		paths = append(paths, path)
	}
	for _, path := range slices.Backward(paths) {
		if _, err := z.conn.Create(path, nil, 0, client.WorldACL(client.PermAll)); err != nil && !errors.Is(err, client.ErrNodeExists) {
			return fmt.Errorf("create %s in ZooKeeper: %w", path, err)
		}
	}
	return nil
}

// create creates nodes in one transaction, or one by one if some are there.
func (z *Client) create(ctx context.Context, writes []znode.Write) (created int, err error) {
	var ops []any
	for _, w := range writes {
		ops = append(ops, z.op(w))
	}
	results, err := z.conn.Multi(ops...)
	switch {
	case err == nil:
		return len(writes), nil
	case !errors.Is(err, client.ErrNodeExists):
		return 0, z.refused(ctx, results, writes, 0, err)
	}
	for _, w := range writes {
		_, err := z.conn.Create(z.path(w.Path), w.Data, 0, client.WorldACL(client.PermAll))
		switch {
		case err == nil:
			created++
		case !errors.Is(err, client.ErrNodeExists):
			return created, z.explain(ctx, "create", w.Path, err)
		}
	}
	return created, nil
}

package zk

import (
	"context"
	"errors"
	"fmt"
	"sync"

	client "github.com/go-zookeeper/zk"
	"golang.org/x/sync/errgroup"

	"kvorum/migration/znode"
)

const (
	// outstanding bounds the requests that are on their way: enough to hide a round
	// trip of a millisecond, few enough for a ZooKeeper that also has brokers.
	outstanding = 64
	// maxNodes bounds what is read: five times what 100,000 partitions have.
	maxNodes = 2_000_000
)

// single are the nodes that are read by themselves.
var single = []string{
	znode.ClusterIDPath, znode.FeaturePath, znode.ControllerPath, znode.ControllerEpochPath, znode.MigrationPath,
	znode.ProducerIDBlockPath, znode.ReassignmentsPath, znode.PreferredElectionPath,
}

// lists are the nodes whose children are read with their data.
var lists = []string{
	znode.BrokerIDsPath, znode.BrokerConfigsPath, znode.ClientConfigsPath, znode.IPConfigsPath, znode.TopicConfigsPath, znode.TokensPath,
}

// names are the nodes whose children matter by name or number alone.
var names = []string{
	znode.DeleteTopicsPath, znode.ISRChangesPath, znode.LogDirEventsPath,
}

// Read reads every node that znode.Decode looks at. Nodes that go away meanwhile
// are as if they had never been: ZooKeeper has no snapshot of many nodes, so the
// tree is exact only when nobody writes, which a claimed controller knows.
//
// read, if not nil, is told how many nodes have been read so far, by one goroutine
// at a time. When ctx ends the client is closed. Errors name the node.
func (z *Client) Read(ctx context.Context, read func(nodes int)) (*znode.Tree, error) {
	defer z.closeWhenDone(ctx)()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(outstanding)
	r := &reader{z: z, group: group, tree: znode.NewTree(), told: read}
	if err := r.all(ctx); err != nil {
		_ = group.Wait()
		return nil, err
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return r.tree, nil
}

// reader is one Read. The goroutines of group fetch, and put what they got into
// the tree one at a time.
type reader struct {
	z     *Client
	group *errgroup.Group
	told  func(int)

	mu   sync.Mutex
	tree *znode.Tree
}

// all starts every fetch. It runs beside the goroutines of the group and starts no
// fetch from inside one, so that the limit cannot stop the reader itself.
func (r *reader) all(ctx context.Context) error {
	for _, path := range single {
		r.fetch(ctx, path)
	}
	for _, root := range lists {
		if err := r.each(ctx, root, func(path string) error { r.fetch(ctx, path); return nil }); err != nil {
			return err
		}
	}
	for _, root := range names {
		if err := r.each(ctx, root, r.name); err != nil {
			return err
		}
	}
	return errors.Join(r.users(ctx), r.acls(ctx), r.topics(ctx))
}

// each puts a node into the tree and does something with the path of each child.
func (r *reader) each(ctx context.Context, root string, do func(path string) error) error {
	children, exists, err := r.z.children(ctx, root)
	if err != nil || !exists {
		return err
	}
	if err := r.name(root); err != nil {
		return err
	}
	for _, name := range children {
		if err := do(root + "/" + name); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// users reads the quotas of users and of their clients.
func (r *reader) users(ctx context.Context) error {
	return r.each(ctx, znode.UserConfigsPath, func(path string) error {
		r.group.Go(func() error {
			if err := r.get(ctx, path); err != nil {
				return err
			}
			return r.each(ctx, path+"/clients", func(path string) error { return r.get(ctx, path) })
		})
		return nil
	})
}

// acls reads the rules below both patterns. The patterns and types themselves are
// put into the tree by name, so that Decode can tell of one that it does not know.
func (r *reader) acls(ctx context.Context) error {
	err := r.each(ctx, znode.ExtendedACLsPath, r.name)
	for _, root := range []string{znode.LiteralACLsPath, znode.PrefixedACLsPath} {
		err = errors.Join(err, r.each(ctx, root, func(kind string) error {
			r.group.Go(func() error {
				return r.each(ctx, kind, func(path string) error { return r.get(ctx, path) })
			})
			return nil
		}))
	}
	return err
}

// topics reads every topic and the states of its partitions.
func (r *reader) topics(ctx context.Context) error {
	return r.each(ctx, znode.TopicsPath, func(path string) error {
		r.group.Go(func() error { return r.topic(ctx, path) })
		return nil
	})
}

// topic reads one topic: its assignment, then the state of each partition. The
// states are asked for together, because one topic may have most of a cluster's
// partitions.
func (r *reader) topic(ctx context.Context, path string) error {
	if err := r.get(ctx, path); err != nil {
		return err
	}
	states, ctx := errgroup.WithContext(ctx)
	states.SetLimit(outstanding)
	err := r.each(ctx, path+"/partitions", func(partition string) error {
		states.Go(func() error { return r.get(ctx, partition+"/state") })
		return r.name(partition)
	})
	return errors.Join(err, states.Wait())
}

// name puts a node into the tree whose data nobody reads.
func (r *reader) name(path string) error { return r.add(path, znode.Node{}) }

// fetch reads a node in a goroutine of the group.
func (r *reader) fetch(ctx context.Context, path string) {
	r.group.Go(func() error { return r.get(ctx, path) })
}

// get reads a node into the tree, if it exists.
func (r *reader) get(ctx context.Context, path string) error {
	n, ok, err := r.z.Get(ctx, path)
	if err != nil || !ok {
		return err
	}
	return r.add(path, n)
}

// add puts a node into the tree.
func (r *reader) add(path string, n znode.Node) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tree.Len() >= maxNodes {
		return fmt.Errorf("ZooKeeper has more than %d nodes of Kafka's", maxNodes)
	}
	if _, ok := r.tree.Get(path); !ok || n.Data != nil {
		r.tree.Add(path, n)
	}
	if r.told != nil {
		r.told(r.tree.Len())
	}
	return nil
}

// Get reads one node; the second result is false if it does not exist.
func (z *Client) Get(ctx context.Context, path string) (znode.Node, bool, error) {
	if err := ctx.Err(); err != nil {
		return znode.Node{}, false, context.Cause(ctx)
	}
	data, stat, err := z.conn.Get(z.path(path))
	switch {
	case errors.Is(err, client.ErrNoNode):
		return znode.Node{}, false, nil
	case err != nil:
		return znode.Node{}, false, z.explain(ctx, "read", path, err)
	}
	return znode.Node{Data: data, Version: stat.Version, Ephemeral: stat.EphemeralOwner != 0, CreatedMs: stat.Ctime}, true, nil
}

// GetAll reads some nodes, many at a time. Those that do not exist are not in the
// result.
func (z *Client) GetAll(ctx context.Context, paths []string) (map[string]znode.Node, error) {
	defer z.closeWhenDone(ctx)()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(outstanding)
	var mu sync.Mutex
	found := make(map[string]znode.Node, len(paths))
	for _, path := range paths {
		group.Go(func() error {
			n, ok, err := z.Get(ctx, path)
			if err == nil && ok {
				mu.Lock()
				defer mu.Unlock()
				found[path] = n
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return found, nil
}

// children are the names of a node's children, and whether the node exists.
func (z *Client) children(ctx context.Context, path string) (list []string, exists bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, context.Cause(ctx)
	}
	list, _, err = z.conn.Children(z.path(path))
	switch {
	case errors.Is(err, client.ErrNoNode):
		return nil, false, nil
	case err != nil:
		return nil, false, z.explain(ctx, "list", path, err)
	}
	return list, true, nil
}

// explain says what a failed request was about, and what helps.
func (z *Client) explain(ctx context.Context, verb, path string, err error) error {
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case z.closed.Load():
		err = fmt.Errorf("%w: %w", ErrClosed, err)
	case errors.Is(err, client.ErrNoAuth):
		err = fmt.Errorf("%w: the node's ACL does not let this session (kvorum speaks ZooKeeper's digest scheme, not SASL)", err)
	}
	return fmt.Errorf("%s ZooKeeper's %s: %w", verb, z.path(path), err)
}

package zk

import (
	"context"

	"golang.org/x/sync/errgroup"

	"kvorum/migration/znode"
)

// Look reads what says who controls the cluster and which brokers it has:
// /cluster/id, /controller, /migration, /brokers/ids and the assignment of every
// topic, without the states of partitions. It is what is read again and again while
// brokers are awaited. When ctx ends the client is closed.
func (z *Client) Look(ctx context.Context) (*znode.Tree, error) {
	defer z.closeWhenDone(ctx)()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(outstanding)
	r := &reader{z: z, group: group, tree: znode.NewTree()}
	for _, path := range []string{znode.ClusterIDPath, znode.ControllerPath, znode.MigrationPath} {
		r.fetch(ctx, path)
	}
	err := r.each(ctx, znode.BrokerIDsPath, r.name)
	if err == nil {
		err = r.each(ctx, znode.TopicsPath, func(path string) error { r.fetch(ctx, path); return nil })
	}
	if waited := group.Wait(); err == nil {
		err = waited
	}
	if err != nil {
		return nil, err
	}
	return r.tree, nil
}

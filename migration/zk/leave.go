package zk

import (
	"context"
	"errors"
	"fmt"

	client "github.com/go-zookeeper/zk"

	"kvorum/internal/kafka"
	"kvorum/migration/znode"
)

// Leave ends what is left of a migration when /controller is a broker's, or nobody's:
// /migration goes. If /controller_epoch is below floor, the highest epoch that the states
// of partitions hold, it is raised to it and /controller goes, too: a broker becomes the
// controller anew, with an epoch at which it may elect. Nothing else is changed: the rest
// is the brokers'. It is one transaction, and an error, ErrDeposed, if a KRaft controller
// has ZooKeeper. Durable when it returns.
func (z *Client) Leave(ctx context.Context, floor kafka.LeaderEpoch) error {
	defer z.closeWhenDone(ctx)()
	found, err := z.GetAll(ctx, []string{znode.ControllerEpochPath, znode.ControllerPath, znode.MigrationPath})
	if err != nil {
		return err
	}
	ops, err := z.leaving(found, floor)
	if err != nil || len(ops) == 0 {
		return err
	}
	_, err = z.conn.Multi(ops...)
	switch {
	case errors.Is(err, client.ErrBadVersion), errors.Is(err, client.ErrNoNode):
		return fmt.Errorf("end what is left of a migration: somebody else was faster, and nothing was changed: %w", err)
	case err != nil:
		return fmt.Errorf("end what is left of a migration: %w", z.refused(ctx, nil, nil, 0, err))
	}
	return nil
}

// leaving are the operations of Leave. The version of /controller_epoch is what no claim
// leaves as it is.
func (z *Client) leaving(found map[string]znode.Node, floor kafka.LeaderEpoch) ([]any, error) {
	controller, held := found[znode.ControllerPath]
	if held {
		c, err := znode.DecodeController(controller.Data)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", znode.ControllerPath, err)
		case c.KRaftEpoch >= 0:
			return nil, fmt.Errorf("end what is left of a migration: %w: it is controller %d at epoch %d", ErrDeposed, c.ID, c.KRaftEpoch)
		}
	}
	epoch, err := znode.DecodeControllerEpoch(found[znode.ControllerEpochPath].Data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", znode.ControllerEpochPath, err)
	}
	at := found[znode.ControllerEpochPath].Version
	var ops []any
	if n, ok := found[znode.MigrationPath]; ok {
		ops = append(ops, &client.DeleteRequest{Path: z.path(znode.MigrationPath), Version: n.Version})
	}
	if epoch >= floor {
		if len(ops) == 0 {
			return nil, nil
		}
		return append(ops, &client.CheckVersionRequest{Path: z.path(znode.ControllerEpochPath), Version: at}), nil
	}
	if held {
		ops = append(ops, &client.DeleteRequest{Path: z.path(znode.ControllerPath), Version: controller.Version})
	}
	return append(ops, &client.SetDataRequest{Path: z.path(znode.ControllerEpochPath), Data: znode.EncodeControllerEpoch(floor), Version: at}), nil
}

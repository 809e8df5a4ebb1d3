package zk

import (
	"context"
	"errors"
	"fmt"

	client "github.com/go-zookeeper/zk"

	"kvorum/internal/kafka"
	"kvorum/migration/znode"
)

// Claim is a KRaft controller's claim to be the controller of ZooKeeper's brokers.
type Claim struct {
	ID    kafka.NodeID
	Epoch kafka.LeaderEpoch // the KRaft epoch of its leadership
	NowMs int64
	// Floor is the highest epoch in the state of any partition.
	Floor kafka.LeaderEpoch
	// Over takes /controller away from a controller of an equal or higher epoch, too: a
	// person has said that it is not to go on.
	Over bool
}

// epoch is the new /controller_epoch. Apache adds one to the old. That may leave it
// below the KRaft epochs that dual write puts into the states of partitions, and
// after a rollback no broker could elect leaders for those: so it is never below
// our own epoch, nor below any that is there.
func (c Claim) epoch(old kafka.LeaderEpoch) kafka.LeaderEpoch {
	return max(old+1, c.Epoch, c.Floor)
}

// Claim takes /controller away from whoever has it, unless that is a controller of
// an equal or higher KRaft epoch, which is ErrDeposed. It is one transaction: the
// epoch, and the node, which is persistent, so that no broker takes it while
// controllers change. /migration is made if it is not there, and then names the
// claimant.
//
// After ErrUnknown it may be repeated: a claim that was carried out is recognized.
func (z *Client) Claim(ctx context.Context, c Claim) (*Fence, error) {
	defer z.closeWhenDone(ctx)()
	f, err := z.claimController(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("claim ZooKeeper for controller %d at epoch %d: %w", c.ID, c.Epoch, err)
	}
	if err := z.claimMigration(ctx, f, c); err != nil {
		return nil, fmt.Errorf("claim ZooKeeper's /migration for controller %d at epoch %d: %w", c.ID, c.Epoch, err)
	}
	return f, nil
}

// claimController takes /controller and raises /controller_epoch.
func (z *Client) claimController(ctx context.Context, c Claim) (*Fence, error) {
	old, ok, err := z.Get(ctx, znode.ControllerEpochPath)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errors.New("there is no /controller_epoch: no broker was ever the controller")
	}
	epoch, err := znode.DecodeControllerEpoch(old.Data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", znode.ControllerEpochPath, err)
	}
	ops := []any{&client.SetDataRequest{Path: z.path(znode.ControllerEpochPath), Data: znode.EncodeControllerEpoch(c.epoch(epoch)), Version: old.Version}}
	present, ok, err := z.Get(ctx, znode.ControllerPath)
	if err != nil {
		return nil, err
	}
	if ok {
		rival, err := znode.DecodeController(present.Data)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", znode.ControllerPath, err)
		case rival.ID == c.ID && rival.KRaftEpoch == c.Epoch: // our own, of which we did not hear
			return &Fence{ControllerEpoch: znode.Versioned[int32]{Value: int32(epoch), Version: old.Version}}, nil
		case rival.KRaftEpoch >= c.Epoch && !c.Over:
			return nil, fmt.Errorf("%w: it is controller %d at epoch %d", ErrDeposed, rival.ID, rival.KRaftEpoch)
		}
		ops = append(ops, &client.DeleteRequest{Path: z.path(znode.ControllerPath), Version: present.Version})
	}
	me := znode.Controller{ID: c.ID, TimestampMs: c.NowMs, KRaftEpoch: c.Epoch}
	ops = append(ops, &client.CreateRequest{Path: z.path(znode.ControllerPath), Data: me.Encode(), Acl: client.WorldACL(client.PermAll)})
	results, err := z.conn.Multi(ops...)
	switch {
	case errors.Is(err, client.ErrBadVersion), errors.Is(err, client.ErrNodeExists), errors.Is(err, client.ErrNoNode):
		return nil, fmt.Errorf("somebody else was faster; the next try tells who: %w", err)
	case err != nil:
		return nil, z.refused(ctx, nil, nil, 0, err)
	}
	return &Fence{ControllerEpoch: znode.Versioned[int32]{Value: int32(c.epoch(epoch)), Version: results[0].Stat.Version}}, nil
}

// claimMigration makes or reads /migration, and puts the claimant's name there.
// How far ZooKeeper had come stays.
func (z *Client) claimMigration(ctx context.Context, f *Fence, c Claim) error {
	n, ok, err := z.Get(ctx, znode.MigrationPath)
	if err != nil {
		return err
	}
	m := znode.NoMigration
	if ok {
		if m, err = znode.DecodeMigration(n.Data); err != nil {
			return fmt.Errorf("%s: %w", znode.MigrationPath, err)
		}
	}
	m.ControllerID, m.ControllerEpoch = c.ID, c.Epoch
	ops := []any{&client.CheckVersionRequest{Path: z.path(znode.ControllerEpochPath), Version: f.ControllerEpoch.Version}}
	if ok {
		ops = append(ops, &client.SetDataRequest{Path: z.path(znode.MigrationPath), Data: m.Encode(), Version: n.Version})
	} else {
		ops = append(ops, &client.CreateRequest{Path: z.path(znode.MigrationPath), Data: m.Encode(), Acl: client.WorldACL(client.PermAll)})
	}
	results, err := z.conn.Multi(ops...)
	if err != nil {
		return z.refused(ctx, results, nil, 2, err)
	}
	f.Migration = znode.Versioned[znode.Migration]{Value: m}
	if ok {
		f.Migration.Version = results[1].Stat.Version
	}
	return nil
}

// Release gives ZooKeeper back: /controller and /migration go in one transaction, so
// that a broker can be the controller again at once. /controller_epoch stays, and is
// raised to floor if it is below: the highest epoch that the states of partitions
// hold. A release that was carried out, of which we did not hear, is recognized.
// Durable when it returns.
func (z *Client) Release(ctx context.Context, f *Fence, floor kafka.LeaderEpoch) error {
	defer z.closeWhenDone(ctx)()
	if released, err := z.Released(ctx); released || err != nil {
		return err
	}
	ops := []any{
		&client.SetDataRequest{Path: z.path(znode.ControllerEpochPath), Data: znode.EncodeControllerEpoch(max(floor, kafka.LeaderEpoch(f.ControllerEpoch.Value))), Version: f.ControllerEpoch.Version},
		&client.DeleteRequest{Path: z.path(znode.MigrationPath), Version: f.Migration.Version},
		&client.DeleteRequest{Path: z.path(znode.ControllerPath), Version: -1}, // ours, as long as the epoch's version holds
	}
	results, err := z.conn.Multi(ops...)
	if err != nil {
		return fmt.Errorf("give ZooKeeper back to its brokers: %w", z.refused(ctx, results, nil, len(ops), err))
	}
	return nil
}

// Released reports whether neither /controller nor /migration is a KRaft
// controller's.
func (z *Client) Released(ctx context.Context) (bool, error) {
	_, ok, err := z.Get(ctx, znode.MigrationPath)
	if ok || err != nil {
		return false, err
	}
	n, ok, err := z.Get(ctx, znode.ControllerPath)
	if !ok || err != nil {
		return err == nil, err
	}
	c, err := znode.DecodeController(n.Data)
	if err != nil {
		return false, fmt.Errorf("%s: %w", znode.ControllerPath, err)
	}
	return c.KRaftEpoch < 0, nil
}

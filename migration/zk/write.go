package zk

import (
	"context"
	"errors"
	"fmt"

	client "github.com/go-zookeeper/zk"

	"kvorum/migration/znode"
)

const (
	// maxOps and maxBytes bound one transaction. ZooKeeper takes 1 MiB in a request
	// (jute.maxbuffer), names and headers included.
	maxOps   = 500
	maxBytes = 512 << 10
)

// ErrDeposed is in the chain when a write was refused because another controller
// has claimed ZooKeeper, or moved /migration, since the claim: this one must stop.
var ErrDeposed = errors.New("another controller has claimed ZooKeeper")

// ErrUnknown is in the chain when the connection was lost while a transaction was
// on its way: it was carried out as a whole or not at all, and only reading tells.
var ErrUnknown = errors.New("the connection was lost, so it is not known whether ZooKeeper has carried it out")

// ConflictError says that a node was not as it was known: somebody has changed it
// behind our back. Nothing of its transaction was carried out.
type ConflictError struct {
	Write znode.Write
	Err   error
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%v ZooKeeper's %s at version %d: somebody else has changed it: %v", e.Write.Op, e.Write.Path, e.Write.Version, e.Err)
}

// Unwrap returns ZooKeeper's error.
func (e *ConflictError) Unwrap() error { return e.Err }

// Fence is the right to write: the versions of the two nodes that change when
// another controller takes over. Every transaction checks both. A Fence comes from
// Claim and has one user at a time.
type Fence struct {
	// ControllerEpoch is what /controller_epoch holds, the epoch in the head of every
	// request to a broker in ZooKeeper mode.
	ControllerEpoch znode.Versioned[int32]
	// Migration is what /migration holds.
	Migration znode.Versioned[znode.Migration]
}

// Apply carries out writes in their order, in transactions of a bounded size, each
// of them under the fence. The last of them, or one of its own if there are no
// writes, also moves /migration to m if m is not nil: then ZooKeeper has everything
// up to m.Offset. A transaction that is acknowledged is durable on a majority of
// the ZooKeeper servers.
//
// After an error some of the earlier transactions may have been carried out; the
// fence stays good unless the error is ErrDeposed or ErrUnknown.
func (z *Client) Apply(ctx context.Context, f *Fence, writes []znode.Write, m *znode.Migration) error {
	defer z.closeWhenDone(ctx)()
	for len(writes) > 0 {
		batch := writes[:batchLength(writes)]
		writes = writes[len(batch):]
		last := m
		if len(writes) > 0 {
			last = nil
		}
		if err := z.transact(ctx, f, batch, last); err != nil {
			return err
		}
		if last != nil {
			return nil
		}
	}
	if m == nil {
		return nil
	}
	return z.transact(ctx, f, nil, m)
}

// batchLength is how many writes fit into one transaction, at least one.
func batchLength(writes []znode.Write) int {
	bytes := 0
	for i, w := range writes {
		bytes += len(w.Path) + len(w.Data) + 64 // headers, ACL and counts
		if i == maxOps || i > 0 && bytes > maxBytes {
			return i
		}
	}
	return len(writes)
}

// transact is one transaction: the fence, then the writes.
func (z *Client) transact(ctx context.Context, f *Fence, writes []znode.Write, m *znode.Migration) error {
	ops := []any{&client.CheckVersionRequest{Path: z.path(znode.ControllerEpochPath), Version: f.ControllerEpoch.Version}}
	if m == nil {
		ops = append(ops, &client.CheckVersionRequest{Path: z.path(znode.MigrationPath), Version: f.Migration.Version})
	} else {
		ops = append(ops, &client.SetDataRequest{Path: z.path(znode.MigrationPath), Data: m.Encode(), Version: f.Migration.Version})
	}
	fence := len(ops)
	for _, w := range writes {
		ops = append(ops, z.op(w, 0))
	}
	results, err := z.conn.Multi(ops...)
	if err != nil {
		return z.refused(ctx, results, writes, fence, err)
	}
	if m != nil {
		f.Migration = znode.Versioned[znode.Migration]{Value: *m, Version: results[1].Stat.Version}
	}
	return nil
}

// op is a write as the library wants it.
func (z *Client) op(w znode.Write, flags int32) any {
	switch w.Op {
	case znode.Create:
		return &client.CreateRequest{Path: z.path(w.Path), Data: w.Data, Acl: client.WorldACL(client.PermAll), Flags: flags}
	case znode.Set:
		return &client.SetDataRequest{Path: z.path(w.Path), Data: w.Data, Version: w.Version}
	case znode.Delete:
		return &client.DeleteRequest{Path: z.path(w.Path), Version: w.Version}
	}
	panic(fmt.Sprintf("zk: a write of the unknown kind %d", w.Op))
}

// refused says why a transaction failed. ZooKeeper answers with a result for each
// operation: the first with an error of its own is the one that failed.
func (z *Client) refused(ctx context.Context, results []client.MultiResponse, writes []znode.Write, fence int, err error) error {
	for i, r := range results {
		if !errors.Is(r.Error, client.ErrBadVersion) && !errors.Is(r.Error, client.ErrNoNode) && !errors.Is(r.Error, client.ErrNodeExists) && !errors.Is(r.Error, client.ErrNotEmpty) {
			continue
		}
		if i < fence {
			return fmt.Errorf("write to ZooKeeper: %w (%w)", ErrDeposed, r.Error)
		}
		return &ConflictError{writes[i-fence], r.Error}
	}
	if unknown(err) {
		return fmt.Errorf("write to ZooKeeper: %w: %w", ErrUnknown, err)
	}
	return z.explain(ctx, "write", "/", err)
}

// unknown reports whether a request may have been carried out although it failed.
func unknown(err error) bool {
	return errors.Is(err, client.ErrConnectionClosed) || errors.Is(err, client.ErrSessionExpired) || errors.Is(err, client.ErrSessionMoved) || errors.Is(err, client.ErrNoServer) || errors.Is(err, client.ErrClosing)
}

// Notify creates notifications, sequential nodes whose Path is the prefix of their
// name, under the fence: a controller that was deposed tells brokers nothing. Kafka
// removes them after a while.
func (z *Client) Notify(ctx context.Context, f *Fence, notices []znode.Write) error {
	defer z.closeWhenDone(ctx)()
	for len(notices) > 0 {
		batch := notices[:batchLength(notices)]
		notices = notices[len(batch):]
		ops := []any{&client.CheckVersionRequest{Path: z.path(znode.ControllerEpochPath), Version: f.ControllerEpoch.Version}}
		for _, n := range batch {
			ops = append(ops, z.op(n, client.FlagSequence))
		}
		if results, err := z.conn.Multi(ops...); err != nil {
			return z.refused(ctx, results, batch, 1, err)
		}
	}
	return nil
}

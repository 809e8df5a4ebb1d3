package zk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

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

// ErrClosed is in the chain of what a client answers after its Close.
var ErrClosed = errors.New("the client of ZooKeeper was closed")

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

// batchLength is how many writes fit into one transaction, at least one. A
// notification stays with the write that it tells of.
func batchLength(writes []znode.Write) int {
	bytes := 0
	for i, w := range writes {
		bytes += len(w.Path) + len(w.Data) + 64 // headers, ACL and counts
		if w.Op != znode.CreateSequential && (i >= maxOps || i > 0 && bytes > maxBytes) {
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
		ops = append(ops, z.op(w))
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
func (z *Client) op(w znode.Write) any {
	switch w.Op {
	case znode.Create:
		return &client.CreateRequest{Path: z.path(w.Path), Data: w.Data, Acl: client.WorldACL(client.PermAll)}
	case znode.CreateSequential:
		return &client.CreateRequest{Path: z.path(w.Path), Data: w.Data, Acl: client.WorldACL(client.PermAll), Flags: client.FlagSequence}
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
	if unknown(err) && !z.closed.Load() {
		return fmt.Errorf("write to ZooKeeper: %w: %w", ErrUnknown, err)
	}
	return z.explain(ctx, "write", "/", err)
}

// unknown reports whether a request may have been carried out although it failed.
// The library gives the error of a write to the socket as it is.
func unknown(err error) bool {
	var socket *net.OpError
	if errors.As(err, &socket) || errors.Is(err, io.EOF) {
		return true
	}
	return errors.Is(err, client.ErrConnectionClosed) || errors.Is(err, client.ErrSessionExpired) || errors.Is(err, client.ErrSessionMoved) || errors.Is(err, client.ErrNoServer) || errors.Is(err, client.ErrClosing)
}

// Lost reports whether an error says that the connection or the session was lost,
// and not what ZooKeeper thinks of the request. The client connects again by
// itself; what was written must be read to know (Refence).
func Lost(err error) bool { return unknown(err) && !errors.Is(err, ErrClosed) }

// Refence reads the two nodes of the fence again, after an error that leaves open
// whether a transaction was carried out: one of ours may have moved /migration, and
// then the fence is brought up to date. It is ErrDeposed if somebody else has claimed
// or written, or /migration is gone. Nothing but the fence is changed.
func (z *Client) Refence(ctx context.Context, f *Fence) error {
	defer z.closeWhenDone(ctx)()
	epoch, ok, err := z.Get(ctx, znode.ControllerEpochPath)
	switch {
	case err != nil:
		return err
	case !ok || epoch.Version != f.ControllerEpoch.Version:
		return fmt.Errorf("%w: /controller_epoch is %s", ErrDeposed, epoch.Data)
	}
	n, ok, err := z.Get(ctx, znode.MigrationPath)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("%w, or somebody has begun a rollback: /migration is gone", ErrDeposed)
	}
	m, err := znode.DecodeMigration(n.Data)
	if err != nil {
		return fmt.Errorf("%s: %w", znode.MigrationPath, err)
	}
	if mine := f.Migration.Value; m.ControllerID != mine.ControllerID || m.ControllerEpoch != mine.ControllerEpoch {
		return fmt.Errorf("%w: /migration is controller %d's, of epoch %d", ErrDeposed, m.ControllerID, m.ControllerEpoch)
	}
	f.Migration = znode.Versioned[znode.Migration]{Value: m, Version: n.Version}
	return nil
}

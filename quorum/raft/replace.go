package raft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lni/dragonboat/v4"

	"kvorum/internal/clock"
	"kvorum/metadatalog"
)

// Replacing a controller whose disk is lost.
//
// Its directory is formatted again, which makes it another replica, and Replace
// is run on it while the other controllers run. The leader removes the old
// replica from the membership and adds the new one, both by raft itself, so that
// a majority of the controllers that are left must agree. The new replica starts
// with nothing and gets everything from the leader.
//
// Removing comes first: adding first would make one member more, of which two
// are away, and a quorum of three would have no majority.

const (
	// replaceTimeout bounds the leader's part, within the time that a connection
	// has for an exchange.
	replaceTimeout = helloTimeout - time.Second
	// replaceEvery is the pause between two rounds of asking.
	replaceEvery = 200 * time.Millisecond
)

// Replace makes cfg's formatted and empty directory the replica of its node, in
// the place of the one whose disk was lost. The other controllers must be
// running and have a majority. It asks them until ctx ends; when it returns nil
// the controller can be started. It may be repeated after any failure.
func Replace(ctx context.Context, cfg Config, store *metadatalog.Store) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	h, err := New(cfg, store)
	if err != nil {
		return err
	}
	if h.file, err = readMembership(cfg.Dir, cfg.ClusterID, h.self); err != nil {
		return err
	}
	if h.file != nil {
		return fmt.Errorf("raft: %s has its place in the quorum already: start it", cfg.Dir)
	}
	if err := h.checkFiles(); err != nil {
		return fmt.Errorf("%w, with an empty directory: move %s away first", err, cfg.Dir)
	}
	if end := store.EndOffset(); end > 0 {
		return fmt.Errorf("raft: the store in %s holds a log up to offset %d: a controller that replaces another begins with an empty directory", cfg.Dir, end)
	}
	last := errors.New("nobody answered")
	for {
		e, err := h.askForPlace(ctx)
		if err == nil {
			m := newMembership(cfg.ClusterID, h.self, e.members, e.origin)
			m.Join = true
			return m.write(cfg.Dir)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("raft: node %d was not replaced: %w", cfg.NodeID, last)
		}
		last = err
		clock.Rest(ctx, replaceEvery)
	}
}

// askForPlace asks each of the others once, until one answers that this replica
// is a member.
func (h *Host) askForPlace(ctx context.Context) (exchange, error) {
	var why error
	for _, p := range h.cfg.Peers {
		if p.NodeID == h.self.NodeID {
			continue
		}
		e, err := h.net.ask(ctx, p.NodeID, exchange{self: h.self, replace: true})
		switch {
		case err == nil && e.settled && slices.Contains(e.members, h.self):
			return e, nil
		case err == nil:
			err = fmt.Errorf("node %d: %q", p.NodeID, e.why)
		}
		why = errors.Join(why, err)
	}
	if why == nil {
		why = errors.New("no other controller is configured")
	}
	return exchange{}, why
}

// replace is the leader's part. Its steps are conditional on the membership that
// it read, and it ends at once when there is nothing left to do, so that it may
// be repeated by any leader.
func (h *Host) replace(ctx context.Context, by Replica) error {
	h.replacing.Lock()
	defer h.replacing.Unlock()
	if err := ctx.Err(); err != nil {
		return err // dragonboat is closed or about to be
	}
	if l := h.leads.now.Load(); !l.Self {
		return fmt.Errorf("node %d does not lead, node %d may", h.self.NodeID, l.Leader)
	}
	if _, ok := h.cfg.peer(by.NodeID); !ok || by.NodeID == h.self.NodeID {
		return fmt.Errorf("node %d is not another configured controller", by.NodeID)
	}
	ctx, cancel := context.WithTimeout(ctx, replaceTimeout)
	defer cancel()
	if err := h.cutImported(ctx); err != nil {
		return err
	}
	members, change, err := h.committedMembers(ctx)
	if err != nil {
		return err
	}
	for _, r := range members {
		switch {
		case r == by:
			h.publishMembers(members)
			return nil
		case r.NodeID != by.NodeID && r.DirectoryID == by.DirectoryID:
			return fmt.Errorf("directory %s belongs to %v", by.DirectoryID, r)
		case r.NodeID == by.NodeID:
			if err := h.remove(ctx, r, change); err != nil {
				return err
			}
			if members, change, err = h.committedMembers(ctx); err != nil {
				return err
			}
		}
	}
	if err := h.node.SyncRequestAddReplica(ctx, ShardID, uint64(by.ID()), by.address(), change); err != nil {
		return fmt.Errorf("add %v: %w", by, err)
	}
	h.publishMembers(append(slices.Clone(members), by))
	h.cfg.Logger.Info("raft: a controller is replaced", "by", by.String())
	return nil
}

// remove takes a replica out of the membership, unless it runs: then it is the
// operator who is wrong.
func (h *Host) remove(ctx context.Context, r Replica, change uint64) error {
	conn, err := h.net.dial(ctx, r.NodeID, r.ID(), purposeMessages)
	if err == nil {
		conn.Close()
		return fmt.Errorf("%v is running and cannot be replaced", r)
	}
	if err := h.node.SyncRequestDeleteReplica(ctx, ShardID, uint64(r.ID()), change); err != nil {
		return fmt.Errorf("remove %v: %w", r, err)
	}
	return nil
}

// committedMembers reads the membership from the quorum, with the number that a
// change of it must name.
func (h *Host) committedMembers(ctx context.Context) ([]Replica, uint64, error) {
	m, err := h.node.SyncGetShardMembership(ctx, ShardID)
	if err != nil {
		return nil, 0, fmt.Errorf("read the membership: %w", err)
	}
	var members []Replica
	for _, address := range m.Nodes {
		r, err := parseAddress(address)
		if err != nil {
			return nil, 0, err
		}
		members = append(members, r)
	}
	sortReplicas(members)
	return members, m.ConfigChangeID, nil
}

// cutImported makes sure that a new replica gets a copy of the store where
// raft's log does not hold everything; see machine.needsCopy.
func (h *Host) cutImported(ctx context.Context) error {
	if h.file.OriginOffset == 0 {
		return nil
	}
	log, err := h.node.GetLogReader(ShardID)
	if err != nil {
		return err
	}
	if first, _ := log.GetRange(); first > 1 {
		return nil
	}
	_, err = h.node.SyncRequestSnapshot(ctx, ShardID, dragonboat.SnapshotOption{OverrideCompactionOverhead: true, CompactionOverhead: 1})
	if err != nil {
		return fmt.Errorf("cut the raft log: %w", err)
	}
	return nil
}

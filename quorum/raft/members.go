package raft

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/raftio"

	"kvorum/internal/clock"
	"kvorum/internal/kafka"
)

// Members are the replicas of the quorum as applied here.
func (h *Host) Members() []Member {
	var out []Member
	for _, r := range *h.members.Load() {
		m := Member{Replica: r}
		if p, ok := h.cfg.peer(r.NodeID); ok {
			m.RaftAddress = p.RaftAddress
		}
		out = append(out, m)
	}
	return out
}

func (h *Host) publishMembers(members []Replica) {
	sortReplicas(members)
	h.members.Store(&members)
}

// nodeOf finds the node of a replica, kafka.NoNode if it is not a member.
func (h *Host) nodeOf(id ReplicaID) kafka.NodeID {
	if members := h.members.Load(); members != nil {
		for _, r := range *members {
			if r.ID() == id {
				return r.NodeID
			}
		}
	}
	return kafka.NoNode
}

// watch follows membership changes: what other controllers are told and the
// membership file follow the log.
func (h *Host) watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.moved:
		}
		members, change, err := h.appliedMembers()
		if err != nil {
			h.cfg.Logger.Error("raft: read the membership", "error", err)
			continue
		}
		if len(members) > 0 && h.file.gaveWayTo(members, change) {
			h.publishMembers(members)
			h.keepMembers(members, change)
		}
	}
}

// keepMembers lets the membership file follow the log, so that the next start
// knows the members before raft does. A replica that was removed keeps its last
// file: it is nobody's business any more.
func (h *Host) keepMembers(members []Replica, change uint64) {
	if h.file.Change == change || !slices.Contains(members, h.self) {
		return
	}
	next := *newMembership(h.cfg.ClusterID, h.self, members, h.file.origin())
	next.Change, next.Join, next.Started = change, h.file.Join, h.file.Started
	if err := next.write(h.cfg.Dir); err != nil {
		h.cfg.Logger.Error("raft: write the membership", "error", err)
		return
	}
	changed := !slices.Equal(h.file.Members, next.Members)
	h.file.Members, h.file.Change = next.Members, change
	if changed {
		h.cfg.Logger.Info("raft: the quorum has changed", "members", fmt.Sprint(members))
	}
}

// appliedMembers decodes dragonboat's membership and the raft index of its last
// change; nil while nothing is applied.
func (h *Host) appliedMembers() (members []Replica, change uint64, err error) {
	info := h.node.GetNodeHostInfo(dragonboat.NodeHostInfoOption{SkipLogInfo: true})
	for _, shard := range info.ShardInfoList { // there is one
		change = shard.ConfigChangeIndex
		for _, address := range shard.Replicas {
			r, err := parseAddress(address)
			if err != nil {
				return nil, 0, err
			}
			members = append(members, r)
		}
	}
	return members, change, nil
}

// TransferLeadership asks raft to make another node its leader.
func (h *Host) TransferLeadership(node kafka.NodeID) error {
	for _, r := range *h.members.Load() {
		if r.NodeID == node {
			if err := h.node.RequestLeaderTransfer(ShardID, uint64(r.ID())); err != nil {
				return fmt.Errorf("raft: transfer leadership to node %d: %w", node, err)
			}
			return nil
		}
	}
	return fmt.Errorf("raft: node %d is not a controller", node)
}

// ReadBarrier returns when everything that was committed before the call is
// applied here. It asks the leader, and asks again while there is none, until
// ctx ends.
func (h *Host) ReadBarrier(ctx context.Context) error {
	for {
		done, err := h.readIndex(ctx)
		if done || err != nil {
			return err
		}
		if !clock.Rest(ctx, retryAfter) {
			return fmt.Errorf("raft: read barrier: %w", ctx.Err())
		}
	}
}

func (h *Host) readIndex(ctx context.Context) (bool, error) {
	request, err := h.node.ReadIndex(ShardID, proposeTimeout)
	if errors.Is(err, dragonboat.ErrClosed) || errors.Is(err, dragonboat.ErrShardClosed) || errors.Is(err, dragonboat.ErrShardNotFound) {
		return false, fmt.Errorf("raft: read barrier: %w", ErrClosed)
	}
	if err != nil {
		return false, nil // busy or not ready
	}
	select {
	case r := <-request.ResultC():
		if r.Terminated() {
			return false, fmt.Errorf("raft: read barrier: %w", ErrClosed)
		}
		done := r.Completed()
		request.Release()
		return done, nil
	case <-ctx.Done():
		return false, fmt.Errorf("raft: read barrier: %w", ctx.Err())
	}
}

// events hears what happens inside dragonboat; only membership matters here.
type events struct {
	moved chan<- struct{}
}

// MembershipChanged wakes the host.
func (e *events) MembershipChanged(raftio.NodeInfo) { wake(e.moved) }

// NodeReady wakes the host: the membership can be read from here on.
func (e *events) NodeReady(raftio.NodeInfo) { wake(e.moved) }

// The rest of raftio.ISystemEventListener.

// NodeHostShuttingDown does nothing.
func (*events) NodeHostShuttingDown() {}

// NodeUnloaded does nothing.
func (*events) NodeUnloaded(raftio.NodeInfo) {}

// NodeDeleted does nothing.
func (*events) NodeDeleted(raftio.NodeInfo) {}

// ConnectionEstablished does nothing.
func (*events) ConnectionEstablished(raftio.ConnectionInfo) {}

// ConnectionFailed does nothing.
func (*events) ConnectionFailed(raftio.ConnectionInfo) {}

// SendSnapshotStarted does nothing.
func (*events) SendSnapshotStarted(raftio.SnapshotInfo) {}

// SendSnapshotCompleted does nothing.
func (*events) SendSnapshotCompleted(raftio.SnapshotInfo) {}

// SendSnapshotAborted does nothing.
func (*events) SendSnapshotAborted(raftio.SnapshotInfo) {}

// SnapshotReceived does nothing.
func (*events) SnapshotReceived(raftio.SnapshotInfo) {}

// SnapshotRecovered does nothing.
func (*events) SnapshotRecovered(raftio.SnapshotInfo) {}

// SnapshotCreated does nothing.
func (*events) SnapshotCreated(raftio.SnapshotInfo) {}

// SnapshotCompacted does nothing.
func (*events) SnapshotCompacted(raftio.SnapshotInfo) {}

// LogCompacted does nothing.
func (*events) LogCompacted(raftio.EntryInfo) {}

// LogDBCompacted does nothing.
func (*events) LogDBCompacted(raftio.EntryInfo) {}

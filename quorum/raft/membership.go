package raft

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/nodedir"
)

// membershipFile holds what a controller must not forget besides raft's own
// files: which replica its directory is, and whom it first agreed with. It is
// drawn in docs/formats/raft-files.md.
const membershipFile = "controllers.json"

// membershipVersion is the newest format of the file that this binary knows.
const membershipVersion = 1

// maxMembershipFile bounds what is read of the file: 15 members need 2 KiB.
const maxMembershipFile = 64 << 10

// membership is the content of the file.
type membership struct {
	Version   int          `json:"version"`
	ClusterID string       `json:"cluster_id"`
	Self      memberJSON   `json:"self"`
	Members   []memberJSON `json:"members"`
	// Change is the raft index of the last change that Members includes: while
	// raft's log is applied again, from its first entry on, older memberships
	// pass by. 0 is not known: a replica that joined, before it has applied its
	// own addition, or a file of a binary that did not note it.
	Change uint64 `json:"change_index"`
	// Join is true of a replica that was added to a running quorum: it starts
	// with nothing and learns everything from the others.
	Join bool `json:"join"`
	// Started is set before the first message of raft leaves or enters: from
	// then on raft's files must be there.
	Started bool `json:"started"`
	// What the quorum began with.
	OriginOffset kafka.Offset      `json:"origin_offset"`
	OriginEpoch  kafka.LeaderEpoch `json:"origin_epoch"`
	OriginBase   kafka.LeaderEpoch `json:"origin_base"`
}

type memberJSON struct {
	NodeID      kafka.NodeID      `json:"node_id"`
	DirectoryID kafka.DirectoryID `json:"directory_id"`
	Instance    uint64            `json:"formatting_instance"`
}

func newMembership(cluster string, self Replica, members []Replica, o origin) *membership {
	m := &membership{Version: membershipVersion, ClusterID: cluster, Self: memberJSON(self), OriginOffset: o.End.Offset, OriginEpoch: o.End.Epoch, OriginBase: o.Base}
	for _, r := range members {
		m.Members = append(m.Members, memberJSON(r))
	}
	return m
}

func (m *membership) replicas() []Replica {
	out := make([]Replica, 0, len(m.Members))
	for _, r := range m.Members {
		out = append(out, Replica(r))
	}
	return out
}

func (m *membership) origin() origin {
	return origin{End: kafka.EpochOffset{Offset: m.OriginOffset, Epoch: m.OriginEpoch}, Base: m.OriginBase}
}

// firstMembership is that of a quorum that begins: its log's first entries add
// one member each.
func firstMembership(cluster string, self Replica, s settled) *membership {
	m := newMembership(cluster, self, s.members, s.origin)
	m.Change = uint64(len(s.members))
	return m
}

// gaveWayTo says whether a membership that was applied at a raft index is this
// one or a later one.
func (m *membership) gaveWayTo(members []Replica, change uint64) bool {
	switch {
	case m.Change > 0:
		return change >= m.Change
	case m.Join:
		return slices.Contains(members, Replica(m.Self))
	default:
		return change >= uint64(len(m.Members))
	}
}

// write makes the membership durable: the file and its name are on disk when it
// returns, or the old file is still there whole.
func (m *membership) write(dir string) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", membershipFile, err)
	}
	return nodedir.WriteFile(filepath.Join(dir, membershipFile), append(text, '\n'))
}

// readMembership reads the file of a directory; nil without error when there is
// none. It refuses the file of another cluster, node or formatting.
func readMembership(dir, cluster string, self Replica) (*membership, error) {
	path := filepath.Join(dir, membershipFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && info.Size() > maxMembershipFile {
		err = fmt.Errorf("it has %d bytes", info.Size())
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("raft: read %s: %w", path, err)
	}
	m := new(membership)
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("raft: %s is damaged: %w", path, err)
	}
	return m, m.check(path, cluster, self)
}

func (m *membership) check(path, cluster string, self Replica) error {
	switch {
	case m.Version > membershipVersion:
		return fmt.Errorf("raft: %s has format version %d, this binary knows versions up to %d: use the newer binary", path, m.Version, membershipVersion)
	case m.Version < 1 || len(m.Members) > MaxControllers:
		return fmt.Errorf("raft: %s is damaged: version %d, %d members", path, m.Version, len(m.Members))
	case m.ClusterID != cluster:
		return fmt.Errorf("raft: %s belongs to cluster %q, not to %q: this directory is another cluster's", path, m.ClusterID, cluster)
	case Replica(m.Self) != self:
		return fmt.Errorf("raft: %s belongs to %v, not to %v: this directory is another controller's, or was copied, or was formatted over", path, Replica(m.Self), self)
	}
	for _, r := range m.Members {
		if Replica(r) == self {
			return nil
		}
	}
	return fmt.Errorf("raft: %s is damaged: its members do not include %v", path, self)
}

// HasPlace reports whether the metadata log's directory has a place in a quorum
// already, so that it can be started and needs no replacement.
func HasPlace(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, membershipFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("raft: look for the membership: %w", err)
	}
	return true, nil
}

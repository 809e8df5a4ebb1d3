package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/nodedir"
	"kvorum/snapshot"
)

// Export writes the metadata of a stopped kvorum controller as a log directory
// that an Apache Kafka controller starts on: what `kvorum metadata export` does.
// It is the way back from an import.
type Export struct {
	// Source is the controller's log directory, To the directory to write, which
	// must not exist or be empty.
	Source, To string
	// NodeID is the controller whose directory it becomes: a voter of the log.
	NodeID kafka.NodeID
	// SegmentBytes is the size of a .log file; 0 is Kafka's default.
	SegmentBytes int64
}

// ExportResult says what was written.
type ExportResult struct {
	ClusterID   string            `json:"cluster_id"`
	NodeID      kafka.NodeID      `json:"node_id"`
	DirectoryID kafka.DirectoryID `json:"directory_id"`
	LogStart    kafka.Offset      `json:"log_start"`
	EndOffset   kafka.Offset      `json:"end_offset"`
	LastEpoch   kafka.LeaderEpoch `json:"last_epoch"`
	Checkpoints []string          `json:"checkpoints"`
}

// Run exports. The whole log is folded first, so that nothing is written of a
// log that is damaged; meta.properties is written last, so that an interrupted
// export leaves nothing that a controller would start on.
func (e *Export) Run() (_ *ExportResult, err error) {
	m, err := OpenMetadata(e.Source)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if m.store == nil {
		return nil, fmt.Errorf("export: %s is not a kvorum controller's directory", e.Source)
	}
	meta, err := nodedir.ReadMeta(filepath.Dir(m.Path))
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	own, err := e.voter(m)
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	if entries, err := os.ReadDir(e.To); len(entries) > 0 || err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("export: %s must be an empty directory or a new one", e.To)
	}
	result := &ExportResult{
		ClusterID: meta.ClusterID, NodeID: e.NodeID, DirectoryID: own.DirectoryID,
		LogStart: m.store.LogStart(), EndOffset: m.store.EndOffset(), LastEpoch: m.store.LastEpoch(),
	}
	if err := e.write(m, result); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	return result, nil
}

// voter folds the log and finds the node among its voters.
func (e *Export) voter(m *Metadata) (own nodedir.Voter, err error) {
	state, err := m.StateAt(EndOfLog)
	if err != nil {
		return own, err
	}
	voters, err := votersOfLog(state.Voters)
	if err != nil {
		return own, err
	}
	own, ok := voterOf(voters, e.NodeID)
	if !ok {
		return own, fmt.Errorf("node %d is not among the controllers %v of the log", e.NodeID, voterIDs(voters))
	}
	return own, nil
}

func (e *Export) write(m *Metadata, r *ExportResult) error {
	dir := filepath.Join(e.To, nodedir.MetadataDir)
	view, err := m.store.View()
	if err != nil {
		return err
	}
	if err := errors.Join(view.ExportDir(dir, e.SegmentBytes), view.Close()); err != nil {
		return err
	}
	checkpoints := e.checkpoints(m, r)
	if r.LogStart > 0 && len(checkpoints) == 0 {
		return fmt.Errorf("the log begins at offset %d, and no whole checkpoint holds what was before", r.LogStart)
	}
	if err := copyCheckpoints(checkpoints, dir); err != nil {
		return err
	}
	for _, c := range checkpoints {
		r.Checkpoints = append(r.Checkpoints, filepath.Base(c.path))
	}
	if err := nodedir.WriteFile(filepath.Join(dir, quorumStateFile), quorumStateText(r.LastEpoch)); err != nil {
		return err
	}
	return nodedir.WriteMeta(e.To, &nodedir.MetaProperties{Version: 1, ClusterID: r.ClusterID, NodeID: r.NodeID, DirectoryID: r.DirectoryID})
}

// checkpoints are those that belong to the log and are whole: Apache's
// controller does not start with a newer one that is damaged.
func (e *Export) checkpoints(m *Metadata, r *ExportResult) (out []checkpoint) {
	for _, c := range m.checkpoints {
		if c.id.Offset >= r.LogStart && c.id.Offset <= r.EndOffset && verifyCheckpoint(c) == nil {
			out = append(out, c)
		}
	}
	return out
}

// copyCheckpoints writes checkpoints to dir, verified and durable.
func copyCheckpoints(checkpoints []checkpoint, dir string) error {
	target, err := snapshot.OpenDir(nil, dir)
	if err != nil {
		return err
	}
	for _, c := range checkpoints {
		f, err := os.Open(c.path)
		if err != nil {
			return err
		}
		if err := errors.Join(target.Install(c.id, f), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// quorumStateText is the file of a node that knows the epoch and neither leads
// nor has voted in it (QuorumStateData version 1, of kraft.version 1). The first
// election goes above the epoch.
func quorumStateText(epoch kafka.LeaderEpoch) []byte {
	text, err := json.Marshal(struct {
		LeaderID         kafka.NodeID      `json:"leaderId"`
		LeaderEpoch      kafka.LeaderEpoch `json:"leaderEpoch"`
		VotedID          kafka.NodeID      `json:"votedId"`
		VotedDirectoryID kafka.DirectoryID `json:"votedDirectoryId"`
		DataVersion      int               `json:"data_version"`
	}{kafka.NoNode, epoch, kafka.NoNode, kafka.ZeroUUID, 1})
	if err != nil {
		panic("admin: " + err.Error()) // numbers and ids
	}
	return text
}

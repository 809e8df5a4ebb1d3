package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/nodedir"
)

// Replace prepares the replacement of a controller whose disk is lost: it asks
// the others what there is to know and formats the new disk by it, so that nobody
// has to copy ids. raft.Replace then makes the directory a member.
type Replace struct {
	NodeID kafka.NodeID
	// LogDirs and MetadataLogDir are as in Format; ListenerName is the name of the
	// controllers' listener.
	LogDirs        []string
	MetadataLogDir string
	ListenerName   string
	// Bootstrap are the controllers to ask, HOST:PORT separated by commas.
	Bootstrap string
	// Timeout is how long one answer may take.
	Timeout time.Duration
}

// ReplacePlan is what a replacement does.
type ReplacePlan struct {
	ClusterID string       `json:"cluster_id"`
	NodeID    kafka.NodeID `json:"node_id"`
	Directory string       `json:"directory"`
	// OldDirectoryID is the lost one, as the quorum knows it. NewDirectoryID is
	// zero while the directory is not formatted.
	OldDirectoryID kafka.DirectoryID `json:"old_directory_id"`
	NewDirectoryID kafka.DirectoryID `json:"new_directory_id"`
	// Format is true if the directory is to be formatted first.
	Format bool `json:"format"`
	// Replaced is true after the deed.
	Replaced bool `json:"replaced"`

	voters []nodedir.Voter
}

// Plan asks the quorum and looks at the directory; nothing is written. It refuses
// while the controller that is to be replaced still answers.
func (r *Replace) Plan(ctx context.Context) (*ReplacePlan, error) {
	status, err := r.quorum(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the running controllers, of which a majority must be there: %w", err)
	}
	plan := &ReplacePlan{ClusterID: status.ClusterID, NodeID: r.NodeID, Directory: r.MetadataLogDir}
	i := slices.IndexFunc(status.Voters, func(v QuorumReplica) bool { return v.ID == r.NodeID })
	if i < 0 {
		return nil, fmt.Errorf("the quorum of cluster %s has no controller %d: node.id must be that of the controller whose disk was lost", status.ClusterID, r.NodeID)
	}
	old := status.Voters[i]
	plan.OldDirectoryID = old.DirectoryID
	if err := r.refuseRunning(ctx, status, old); err != nil {
		return nil, err
	}
	if plan.voters, err = r.voters(status); err != nil {
		return nil, err
	}
	return plan, r.inspect(plan)
}

// askAgain is the pause between two rounds of asking.
const askAgain = 200 * time.Millisecond

// quorum asks the controllers until ctx ends: after the loss of one the others may
// be about to elect.
func (r *Replace) quorum(ctx context.Context) (*QuorumStatus, error) {
	for {
		status, err := Quorum(ctx, r.Bootstrap, r.Timeout)
		if err == nil || r.Bootstrap == "" {
			return status, err
		}
		if !clock.Rest(ctx, askAgain) {
			return nil, err
		}
	}
}

// refuseRunning asks the controller that is to be replaced. One that answers has
// not lost its disk.
func (r *Replace) refuseRunning(ctx context.Context, status *QuorumStatus, old QuorumReplica) error {
	running := status.Leader == r.NodeID
	if !running && old.Address != "" {
		_, err := Quorum(ctx, old.Address, r.Timeout)
		running = err == nil
	}
	if running {
		return fmt.Errorf("controller %d answers at %s with directory %s: it is not lost; stop it before it is replaced", r.NodeID, old.Address, old.DirectoryID)
	}
	return nil
}

func (r *Replace) inspect(plan *ReplacePlan) error {
	meta, err := nodedir.ReadMeta(r.MetadataLogDir)
	switch {
	case errors.Is(err, nodedir.ErrNotFormatted):
		plan.Format = true
		_, err = r.format(plan).Plan()
		return err
	case err != nil:
		return err
	case meta.ClusterID != plan.ClusterID || meta.NodeID != r.NodeID:
		return fmt.Errorf("%s is formatted for node %d of cluster %s, but node %d of cluster %s is to be replaced: use an empty directory",
			r.MetadataLogDir, meta.NodeID, meta.ClusterID, r.NodeID, plan.ClusterID)
	}
	plan.NewDirectoryID = meta.DirectoryID
	return nil
}

// Format formats the directory as the plan says, which notes its new id.
func (r *Replace) Format(plan *ReplacePlan) error {
	if !plan.Format {
		return nil
	}
	results, err := r.format(plan).Run()
	if err != nil {
		return err
	}
	plan.NewDirectoryID = results[0].DirectoryID
	return nil
}

// format formats for the quorum as it is. It has no bootstrap records: the log is
// not empty.
func (r *Replace) format(plan *ReplacePlan) *Format {
	return &Format{
		ClusterID: plan.ClusterID, NodeID: r.NodeID, LogDirs: r.LogDirs, MetadataLogDir: r.MetadataLogDir,
		Controller: true, Voters: plan.voters, IgnoreFormatted: true,
	}
}

// voters are the quorum's, this node's own with a new directory.
func (r *Replace) voters(status *QuorumStatus) ([]nodedir.Voter, error) {
	var out []nodedir.Voter
	for _, v := range status.Voters {
		colon := strings.LastIndexByte(v.Address, ':') // its host has no brackets
		if colon < 0 {
			return nil, fmt.Errorf("the quorum does not say where controller %d is", v.ID)
		}
		port, err := strconv.ParseUint(v.Address[colon+1:], 10, 16)
		if err != nil {
			return nil, fmt.Errorf("the address %q of controller %d has no port: %w", v.Address, v.ID, err)
		}
		voter := nodedir.Voter{ID: v.ID, DirectoryID: v.DirectoryID, Host: v.Address[:colon], Port: uint16(port), Listener: r.ListenerName}
		if v.ID == r.NodeID {
			voter.DirectoryID = kafka.DirectoryID{} // Format draws one
		}
		out = append(out, voter)
	}
	return out, nil
}

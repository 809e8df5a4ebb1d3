package admin

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/nodedir"
	"kvorum/metadatalog/record"
)

// Format is the formatting of one node's directories: what `kvorum storage
// format` does.
type Format struct {
	ClusterID string
	NodeID    kafka.NodeID
	// LogDirs are log.dirs; MetadataLogDir is the one that holds the metadata log
	// (metadata.log.dir, by default the first of log.dirs).
	LogDirs        []string
	MetadataLogDir string
	// Controller is true if the node is a controller. Then Voters is its quorum,
	// itself included.
	Controller bool
	Voters     []nodedir.Voter
	// Bootstrap are the records that an empty log begins with
	// (controller.NewBootstrap).
	Bootstrap []record.Message
	// IgnoreFormatted leaves directories alone that are formatted for this cluster
	// and node.
	IgnoreFormatted bool
}

// FormatResult says what was done with each directory.
type FormatResult struct {
	Directory   string            `json:"directory"`
	DirectoryID kafka.DirectoryID `json:"directory_id"`
	Formatted   bool              `json:"formatted"` // false: it was formatted before
}

// Plan checks everything and says what Run would do; nothing is written.
func (f *Format) Plan() ([]FormatResult, error) {
	if err := f.validate(); err != nil {
		return nil, err
	}
	var results []FormatResult
	for _, dir := range f.dirs() {
		meta, err := nodedir.ReadMeta(dir)
		switch {
		case errors.Is(err, nodedir.ErrNotFormatted):
			results = append(results, FormatResult{Directory: dir, Formatted: true})
		case err != nil:
			return nil, err
		case meta.ClusterID != f.ClusterID || meta.NodeID != f.NodeID:
			return nil, fmt.Errorf("%s is formatted for node %d of cluster %s, not for node %d of %s: use an empty directory",
				dir, meta.NodeID, meta.ClusterID, f.NodeID, f.ClusterID)
		case !f.IgnoreFormatted:
			return nil, fmt.Errorf("%s is already formatted: use --ignore-formatted to leave it as it is", dir)
		default:
			results = append(results, FormatResult{Directory: dir, DirectoryID: meta.DirectoryID})
		}
	}
	return results, nil
}

// Run formats the directories. meta.properties is written last in each: a
// formatting that was interrupted leaves an unformatted directory.
func (f *Format) Run() ([]FormatResult, error) {
	results, err := f.Plan()
	if err != nil {
		return nil, err
	}
	for i := range results {
		r := &results[i]
		if !r.Formatted {
			continue
		}
		if r.DirectoryID, err = f.directoryID(r.Directory); err != nil {
			return nil, err
		}
		if err := f.formatDir(r); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// dirs are all directories of the node, that of the metadata log first.
func (f *Format) dirs() []string {
	dirs := []string{f.MetadataLogDir}
	for _, d := range f.LogDirs {
		if !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
	}
	return dirs
}

func (f *Format) validate() error {
	if id, err := kafka.ParseUUID(f.ClusterID); err != nil || id.Reserved() {
		return fmt.Errorf("cluster id %q must be a random id: make one with `kvorum storage random-uuid`", f.ClusterID)
	}
	if f.MetadataLogDir == "" {
		return errors.New("neither log.dirs nor metadata.log.dir is set")
	}
	if !f.Controller {
		return nil
	}
	if n := len(f.Voters); n != 1 && n != 3 && n != 5 {
		return fmt.Errorf("a quorum has 1, 3 or 5 controllers, not %d", n)
	}
	if !slices.ContainsFunc(f.Voters, func(v nodedir.Voter) bool { return v.ID == f.NodeID }) {
		return fmt.Errorf("node.id %d is not among the initial controllers", f.NodeID)
	}
	return nil
}

// directoryID is the id that the quorum knows the metadata directory by, and a
// new one for every other directory.
func (f *Format) directoryID(dir string) (kafka.DirectoryID, error) {
	if f.Controller && dir == f.MetadataLogDir {
		for _, v := range f.Voters {
			if v.ID == f.NodeID && !v.DirectoryID.IsZero() {
				return v.DirectoryID, nil
			}
		}
	}
	return kafka.RandomUUID(rand.Reader)
}

func (f *Format) formatDir(r *FormatResult) error {
	if err := os.MkdirAll(r.Directory, 0o755); err != nil {
		return fmt.Errorf("create log directory: %w", err)
	}
	if f.Controller && r.Directory == f.MetadataLogDir {
		metadata := filepath.Join(r.Directory, nodedir.MetadataDir)
		if err := refuseLeftovers(metadata); err != nil {
			return err
		}
		identity, err := f.identity(r.DirectoryID)
		if err != nil {
			return err
		}
		if err := nodedir.WriteIdentity(metadata, identity); err != nil {
			return err
		}
	}
	return nodedir.WriteMeta(r.Directory, &nodedir.MetaProperties{
		Version: 1, ClusterID: f.ClusterID, NodeID: f.NodeID, DirectoryID: r.DirectoryID,
	})
}

// refuseLeftovers keeps a formatting from making a fresh-looking controller out
// of a directory that still holds a metadata log. What an interrupted formatting
// left is no obstacle.
func refuseLeftovers(metadata string) error {
	entries, err := os.ReadDir(metadata)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look into the metadata directory: %w", err)
	}
	for _, e := range entries {
		if !nodedir.FormattingFile(e.Name()) {
			return fmt.Errorf("%s holds %s of an earlier metadata log: move it away before formatting", metadata, e.Name())
		}
	}
	return nil
}

func (f *Format) identity(own kafka.DirectoryID) (*nodedir.Identity, error) {
	instance, err := randomInstance(rand.Reader)
	if err != nil {
		return nil, err
	}
	id := &nodedir.Identity{Instance: instance, Voters: slices.Clone(f.Voters)}
	for i := range id.Voters {
		if id.Voters[i].ID == f.NodeID {
			id.Voters[i].DirectoryID = own
		}
	}
	for _, m := range f.Bootstrap {
		value, err := m.Append(nil)
		if err != nil {
			return nil, err
		}
		id.Bootstrap = append(id.Bootstrap, value)
	}
	return id, nil
}

// randomInstance draws a formatting instance; 0 stands for none.
func randomInstance(random io.Reader) (uint64, error) {
	for {
		var b [8]byte
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return 0, fmt.Errorf("draw a formatting instance: %w", err)
		}
		if n := binary.BigEndian.Uint64(b[:]); n != 0 {
			return n, nil
		}
	}
}

package storage

import (
	"errors"
	"fmt"
	"io"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/nodedir"
)

// Directory is one log directory of a broker.
type Directory struct {
	Path string
	ID   kafka.DirectoryID
	// Err says why the directory cannot be used; its id is not known then.
	Err error
}

// Identify reads meta.properties of the log directories and checks that they
// belong to this node of this cluster (MetaPropertiesEnsemble). A directory that
// was written in ZooKeeper's time (version 0) keeps its version and is given an
// id, drawn from random, where it has none. One that cannot be read gets an Err,
// so that the others can serve; a directory that was never formatted, or is
// another node's, or has the id of another one, is an error.
func Identify(paths []string, node kafka.NodeID, cluster string, random io.Reader) ([]Directory, error) {
	var all []Directory
	seen := map[kafka.DirectoryID]string{}
	for _, path := range paths {
		m, err := nodedir.ReadMeta(path)
		if errors.Is(err, nodedir.ErrNotFormatted) {
			return nil, err
		}
		if err != nil {
			all = append(all, Directory{Path: path, Err: err})
			continue
		}
		if m.NodeID != node || m.ClusterID != cluster && m.ClusterID != "" {
			return nil, fmt.Errorf("log directory %s belongs to node %d of cluster %s, and this is node %d of cluster %s", path, m.NodeID, m.ClusterID, node, cluster)
		}
		if m.DirectoryID.IsZero() {
			if m.DirectoryID, err = kafka.RandomUUID(random); err != nil {
				return nil, fmt.Errorf("draw an id for log directory %s: %w", path, err)
			}
			if m.ClusterID == "" {
				m.ClusterID = cluster
			}
			if err := nodedir.WriteMeta(path, m); err != nil {
				all = append(all, Directory{Path: path, Err: err})
				continue
			}
		}
		if other, twice := seen[m.DirectoryID]; twice {
			return nil, fmt.Errorf("log directories %s and %s have the same directory.id %s: one is a copy of the other", other, path, m.DirectoryID)
		}
		seen[m.DirectoryID] = path
		all = append(all, Directory{Path: path, ID: m.DirectoryID})
	}
	return all, nil
}

package server

import (
	"fmt"
	"path/filepath"

	"kvorum/config"
	"kvorum/metadatalog/nodedir"
)

// checkDirectories refuses a directory that is not this node's before anything
// in it is opened.
func checkDirectories(node *config.Node) (*nodedir.MetaProperties, error) {
	meta, err := nodedir.ReadMeta(node.MetadataLogDir)
	if err != nil {
		return nil, err
	}
	if node.Broker != nil {
		return meta, checkNode(node, meta) // a broker looks at each of its own, and goes on without one that failed
	}
	for _, dir := range node.LogDirs {
		m, err := nodedir.ReadMeta(dir)
		if err != nil {
			return nil, err
		}
		if m.ClusterID != meta.ClusterID || m.NodeID != meta.NodeID {
			return nil, fmt.Errorf("%s belongs to node %d of cluster %s and %s to node %d of cluster %s: use directories of one node",
				dir, m.NodeID, m.ClusterID, node.MetadataLogDir, meta.NodeID, meta.ClusterID)
		}
	}
	return meta, checkNode(node, meta)
}

func checkNode(node *config.Node, meta *nodedir.MetaProperties) error {
	if meta.NodeID != node.ID {
		return fmt.Errorf("%s belongs to node %d, but node.id is %d: use this node's own directory", node.MetadataLogDir, meta.NodeID, node.ID)
	}
	return nil
}

// ReadController reads who the controller is whose directories these are, and
// refuses what checkDirectories does.
func ReadController(node *config.Node) (*nodedir.Identity, *nodedir.MetaProperties, error) {
	meta, err := checkDirectories(node)
	if err != nil {
		return nil, nil, err
	}
	identity, err := nodedir.ReadIdentity(filepath.Join(node.MetadataLogDir, nodedir.MetadataDir))
	return identity, meta, err
}

package admin

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"unicode/utf8"

	"kvorum/internal/kafka"
	"kvorum/migration/znode"
)

// ZooKeeperExport says what an export of ZooKeeper holds.
type ZooKeeperExport struct {
	File      string `json:"file"`
	ClusterID string `json:"cluster_id"`
	// Offset is what /migration named before ZooKeeper was read, and OffsetAfter after it;
	// kafka.NoOffset without a copy. What the metadata log changed between the two may be in
	// the export or not; if they are equal it is exact.
	Offset      kafka.Offset `json:"offset"`
	OffsetAfter kafka.Offset `json:"offset_after"`
	Nodes       int          `json:"nodes"`
	SHA256      string       `json:"sha256"` // of the lines of the nodes
}

// exportFormat is in the first line of an export (docs/formats/zookeeper-export.md).
const exportFormat = "kvorum-zookeeper-export-1"

type exportHead struct {
	Format    string       `json:"format"`
	ClusterID string       `json:"cluster_id"`
	Offset    kafka.Offset `json:"offset"`
}

// exportNode is one line; Base64 holds data that is no text.
type exportNode struct {
	Path      string `json:"path"`
	Data      string `json:"data,omitempty"`
	Base64    []byte `json:"base64,omitempty"`
	Version   int32  `json:"version"`
	Ephemeral bool   `json:"ephemeral,omitempty"`
}

type exportFoot struct {
	OffsetAfter kafka.Offset `json:"offset_after"`
	Nodes       int          `json:"nodes"`
	SHA256      string       `json:"sha256"`
}

// Export writes every node that Kafka keeps in ZooKeeper to a file, which must not exist:
// it holds secrets, and only its owner may read it. It is fsynced when Export returns; after
// an error there is no file. Nothing in ZooKeeper is changed.
func (m *Migration) Export(ctx context.Context, file string) (_ *ZooKeeperExport, err error) {
	z, err := m.openZooKeeper(ctx)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	offset := func() (kafka.Offset, error) {
		n, ok, err := z.Get(ctx, znode.MigrationPath)
		if err != nil || !ok {
			return kafka.NoOffset, err
		}
		v, err := znode.DecodeMigration(n.Data)
		if err != nil {
			return kafka.NoOffset, nil // it is in the export as it is
		}
		return v.Offset, nil
	}
	e := &ZooKeeperExport{File: file}
	if e.Offset, err = offset(); err != nil {
		return nil, err
	}
	tree, err := z.Read(ctx, m.Progress)
	if err != nil {
		return nil, err
	}
	if e.OffsetAfter, err = offset(); err != nil {
		return nil, err
	}
	e.ClusterID = znode.Decode(tree).ClusterID
	out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s is there already: name another file, or move it away", file)
	}
	if err != nil {
		return nil, err
	}
	w := bufio.NewWriterSize(out, 1<<20)
	if err = errors.Join(e.write(w, tree), w.Flush(), out.Sync(), out.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("export ZooKeeper to %s: %w", file, err), os.Remove(file))
	}
	return e, nil
}

// write writes the lines of an export: a head, the nodes by path, and a foot that a file
// that was cut off does not have.
func (e *ZooKeeperExport) write(w io.Writer, tree *znode.Tree) error {
	lines := json.NewEncoder(w)
	if err := lines.Encode(exportHead{Format: exportFormat, ClusterID: e.ClusterID, Offset: e.Offset}); err != nil {
		return err
	}
	digest := sha256.New()
	nodes := json.NewEncoder(io.MultiWriter(w, digest))
	paths := slices.Sorted(slices.Values(tree.Paths()))
	for _, path := range paths {
		n, _ := tree.Get(path)
		line := exportNode{Path: path, Version: n.Version, Ephemeral: n.Ephemeral}
		if utf8.Valid(n.Data) {
			line.Data = string(n.Data)
		} else {
			line.Base64 = n.Data
		}
		if err := nodes.Encode(line); err != nil {
			return err
		}
	}
	e.Nodes, e.SHA256 = len(paths), hex.EncodeToString(digest.Sum(nil))
	return lines.Encode(exportFoot{OffsetAfter: e.OffsetAfter, Nodes: e.Nodes, SHA256: e.SHA256})
}

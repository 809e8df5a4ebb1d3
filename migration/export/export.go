// Package export is the file that keeps what ZooKeeper held: a line for each node, with
// a head before them and a foot after them (docs/formats/zookeeper-export.md). Package
// admin writes it before a migration is finalized, and reads it to go back after all.
package export

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"kvorum/internal/kafka"
	"kvorum/migration/znode"
)

// Export says what an export of ZooKeeper holds.
type Export struct {
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

// format is in the first line of an export (docs/formats/zookeeper-export.md).
const format = "kvorum-zookeeper-export-1"

type head struct {
	Format    string       `json:"format"`
	ClusterID string       `json:"cluster_id"`
	Offset    kafka.Offset `json:"offset"`
}

// node is one line; Base64 holds data that is no text.
type node struct {
	Path      string `json:"path"`
	Data      string `json:"data,omitempty"`
	Base64    []byte `json:"base64,omitempty"`
	Version   int32  `json:"version"`
	Ephemeral bool   `json:"ephemeral,omitempty"`
}

type foot struct {
	OffsetAfter kafka.Offset `json:"offset_after"`
	Nodes       int          `json:"nodes"`
	SHA256      string       `json:"sha256"`
}

const (
	// maxLine bounds one line: a node of ZooKeeper's has 1 MiB at most, and every
	// byte of it may be escaped to six.
	maxLine = 8 << 20
	// maxNodes is what zk.Client.Read reads at most.
	maxNodes = 2_000_000
)

// Write writes the lines of an export: a head, the nodes by path, and a foot that a file
// that was cut off does not have. It fills in Nodes and SHA256.
func (e *Export) Write(w io.Writer, tree *znode.Tree) error {
	lines := json.NewEncoder(w)
	if err := lines.Encode(head{Format: format, ClusterID: e.ClusterID, Offset: e.Offset}); err != nil {
		return err
	}
	digest := sha256.New()
	nodes := json.NewEncoder(io.MultiWriter(w, digest))
	paths := slices.Sorted(slices.Values(tree.Paths()))
	for _, path := range paths {
		n, _ := tree.Get(path)
		line := node{Path: path, Version: n.Version, Ephemeral: n.Ephemeral}
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
	return lines.Encode(foot{OffsetAfter: e.OffsetAfter, Nodes: e.Nodes, SHA256: e.SHA256})
}

// Read reads what Write has written, all of it into memory. What was cut off or changed
// is an error that names the line.
func Read(r io.Reader) (*Export, *znode.Tree, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	var first head
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &first) != nil || first.Format != format {
		return nil, nil, errors.Join(fmt.Errorf("line 1 is not that of a %s", format), lines.Err())
	}
	e, tree, digest := &Export{ClusterID: first.ClusterID, Offset: first.Offset}, znode.NewTree(), sha256.New()
	for number := 2; lines.Scan(); number++ {
		if bytes.HasPrefix(lines.Bytes(), []byte(`{"offset_after"`)) {
			return e, tree, e.checkFoot(lines.Bytes(), tree, hex.EncodeToString(digest.Sum(nil)))
		}
		if err := takeLine(lines.Bytes(), tree); err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", number, err)
		}
		digest.Write(lines.Bytes())
		digest.Write([]byte{'\n'})
	}
	return nil, nil, errors.Join(errors.New("it was cut off: the last line is not there"), lines.Err())
}

// takeLine puts the node of one line into the tree.
func takeLine(line []byte, tree *znode.Tree) error {
	n := node{}
	if err := json.Unmarshal(line, &n); err != nil {
		return err
	}
	if _, twice := tree.Get(n.Path); twice || n.Path == "" || n.Path[0] != '/' {
		return fmt.Errorf("the path %q is no path, or there twice", n.Path)
	}
	if tree.Len() >= maxNodes {
		return fmt.Errorf("there are more than %d nodes", maxNodes)
	}
	data := n.Base64
	if data == nil {
		data = []byte(n.Data)
	}
	tree.Add(n.Path, znode.Node{Data: data, Version: n.Version, Ephemeral: n.Ephemeral})
	return nil
}

// checkFoot checks the last line.
func (e *Export) checkFoot(line []byte, tree *znode.Tree, digest string) error {
	last := foot{OffsetAfter: kafka.NoOffset}
	if err := json.Unmarshal(line, &last); err != nil {
		return fmt.Errorf("the last line: %w", err)
	}
	if last.Nodes != tree.Len() || last.SHA256 != digest {
		return fmt.Errorf("it has %d nodes with SHA-256 %s, and its last line says %d with %s: it was changed", tree.Len(), digest, last.Nodes, last.SHA256)
	}
	e.OffsetAfter, e.Nodes, e.SHA256 = last.OffsetAfter, last.Nodes, digest
	return nil
}

package admin

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"kvorum/internal/kafka"
	"kvorum/migration/znode"
)

const (
	// maxExportLine bounds one line: a node of ZooKeeper's has 1 MiB at most, and every
	// byte of it may be escaped to six.
	maxExportLine = 8 << 20
	// maxExportNodes is what zk.Client.Read reads at most.
	maxExportNodes = 2_000_000
)

// ReadZooKeeperExport reads what Export has written, all of it into memory. A file that was
// cut off or changed is an error that names the line.
func ReadZooKeeperExport(file string) (*ZooKeeperExport, *znode.Tree, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() // only read
	e, tree, err := readExport(f)
	if err != nil {
		return nil, nil, fmt.Errorf("the export %s: %w", file, err)
	}
	e.File = file
	return e, tree, nil
}

func readExport(r io.Reader) (*ZooKeeperExport, *znode.Tree, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxExportLine)
	var head exportHead
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &head) != nil || head.Format != exportFormat {
		return nil, nil, errors.Join(fmt.Errorf("line 1 is not that of a %s", exportFormat), lines.Err())
	}
	e, tree, digest := &ZooKeeperExport{ClusterID: head.ClusterID, Offset: head.Offset}, znode.NewTree(), sha256.New()
	for number := 2; lines.Scan(); number++ {
		if bytes.HasPrefix(lines.Bytes(), []byte(`{"offset_after"`)) {
			return e, tree, e.foot(lines.Bytes(), tree, hex.EncodeToString(digest.Sum(nil)))
		}
		if err := exportLine(lines.Bytes(), tree); err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", number, err)
		}
		digest.Write(lines.Bytes())
		digest.Write([]byte{'\n'})
	}
	return nil, nil, errors.Join(errors.New("it was cut off: the last line is not there"), lines.Err())
}

// exportLine puts the node of one line into the tree.
func exportLine(line []byte, tree *znode.Tree) error {
	n := exportNode{}
	if err := json.Unmarshal(line, &n); err != nil {
		return err
	}
	if _, twice := tree.Get(n.Path); twice || n.Path == "" || n.Path[0] != '/' {
		return fmt.Errorf("the path %q is no path, or there twice", n.Path)
	}
	if tree.Len() >= maxExportNodes {
		return fmt.Errorf("there are more than %d nodes", maxExportNodes)
	}
	data := n.Base64
	if data == nil {
		data = []byte(n.Data)
	}
	tree.Add(n.Path, znode.Node{Data: data, Version: n.Version, Ephemeral: n.Ephemeral})
	return nil
}

// foot checks the last line.
func (e *ZooKeeperExport) foot(line []byte, tree *znode.Tree, digest string) error {
	foot := exportFoot{OffsetAfter: kafka.NoOffset}
	if err := json.Unmarshal(line, &foot); err != nil {
		return fmt.Errorf("the last line: %w", err)
	}
	if foot.Nodes != tree.Len() || foot.SHA256 != digest {
		return fmt.Errorf("it has %d nodes with SHA-256 %s, and its last line says %d with %s: it was changed", tree.Len(), digest, foot.Nodes, foot.SHA256)
	}
	e.OffsetAfter, e.Nodes, e.SHA256 = foot.OffsetAfter, foot.Nodes, digest
	return nil
}

// Package nodedir reads and writes the small files that say whose directory a
// directory is: meta.properties in every log directory, kvorum.node and the
// formatting records beside the metadata log.
//
// `kvorum storage format` writes them once; every start checks them before
// anything else is opened, so that a wiped, foreign or half-formatted directory
// is refused instead of being mistaken for a fresh one.
package nodedir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// MetaProperties is a directory's meta.properties (MetaProperties.java). Version
// 0 was written by ZooKeeper-mode brokers, version 1 by KRaft nodes; the version
// found is kept, so that a taken-over directory can go back.
type MetaProperties struct {
	Version     int
	ClusterID   string
	NodeID      kafka.NodeID
	DirectoryID kafka.DirectoryID // zero if the file has none (version 0)
}

// metaFile is the name of the file in each log directory.
const metaFile = "meta.properties"

// StoreDir is the directory of the metadata store within MetadataDir.
const StoreDir = "store"

// maxFile bounds what is read of a small file: far above any real one, and a
// limit for what somebody put in its place.
const maxFile = 64 << 10

// ErrNotFormatted is in the chain of ReadMeta's error when there is no
// meta.properties.
var ErrNotFormatted = errors.New("the directory is not formatted")

// ReadMeta reads dir's meta.properties.
func ReadMeta(dir string) (*MetaProperties, error) {
	path := filepath.Join(dir, metaFile)
	text, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: run `kvorum storage format` first", dir, ErrNotFormatted)
	}
	if err != nil {
		return nil, err
	}
	m, err := parseMeta(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

func parseMeta(text string) (*MetaProperties, error) {
	values := map[string]string{}
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("line %d is not KEY=VALUE", n+1)
		}
		values[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	m := &MetaProperties{ClusterID: values["cluster.id"], NodeID: kafka.NoNode}
	var err error
	if v, ok := values["version"]; ok {
		if m.Version, err = strconv.Atoi(v); err != nil {
			return nil, fmt.Errorf("version %q is not a number", v)
		}
	}
	if m.Version < 0 || m.Version > 1 {
		return nil, fmt.Errorf("version is %d and this kvorum knows 0 and 1: use a newer one", m.Version)
	}
	id := values["node.id"]
	if id == "" {
		id = values["broker.id"]
	}
	if m.Version == 1 && (id == "" || m.ClusterID == "") {
		return nil, errors.New("node.id or cluster.id is missing")
	}
	if id != "" {
		n, err := strconv.ParseInt(id, 10, 32)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("node id %q is not a number from 0 on", id)
		}
		m.NodeID = kafka.NodeID(n)
	}
	if d := values["directory.id"]; d != "" {
		if m.DirectoryID, err = kafka.ParseUUID(d); err != nil {
			return nil, fmt.Errorf("directory.id: %w", err)
		}
		if m.DirectoryID.Reserved() {
			return nil, fmt.Errorf("directory.id %s is reserved", m.DirectoryID)
		}
	}
	return m, nil
}

// WriteMeta writes dir's meta.properties durably: the file and its name are on
// disk when it returns.
func WriteMeta(dir string, m *MetaProperties) error {
	var b strings.Builder
	idKey := "node.id"
	if m.Version == 0 {
		idKey = "broker.id"
	}
	fmt.Fprintf(&b, "version=%d\ncluster.id=%s\n%s=%d\n", m.Version, m.ClusterID, idKey, m.NodeID)
	if !m.DirectoryID.IsZero() {
		fmt.Fprintf(&b, "directory.id=%s\n", m.DirectoryID)
	}
	return WriteFile(filepath.Join(dir, metaFile), []byte(b.String()))
}

func readSmall(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Size() > maxFile {
		return "", fmt.Errorf("%s has %d bytes, far more than such a file has", path, info.Size())
	}
	b, err := os.ReadFile(path)
	return string(b), err
}

// WriteFile replaces a file whole: temporary file, fsync, rename, fsync of the
// directory. After a crash there is the old content or the new.
func WriteFile(path string, content []byte) error {
	if err := vfs.Replace(vfs.Default, path, content); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

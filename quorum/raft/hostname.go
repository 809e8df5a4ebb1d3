package raft

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/lni/dragonboat/v4/raftpb"

	"kvorum/metadatalog/nodedir"
)

// flagFile is where dragonboat writes what a directory is bound to.
const flagFile = "dragonboat.ds"

// deploymentDir is the name of what lies below the directory that dragonboat
// names after the host.
var deploymentDir = regexp.MustCompile(`^\d{20}$`)

// adoptHostname makes a directory of dragonboat's usable under another host
// name. Dragonboat binds a directory to the operating system's host name twice:
// it names a subdirectory after it, and it writes it into its flag file and
// refuses to start when it differs. A container has a new host name at every
// start. The identity of a replica is checked by us, before dragonboat runs, so
// nothing is lost: the subdirectory is renamed, and the name in the flag file
// emptied, which dragonboat takes for "do not check".
//
// It must run while no dragonboat has the directory open. Each step is atomic
// and durable, and a crash between them leaves what the next start repairs.
func adoptHostname(dir, hostname string) error {
	if err := forgetHostname(filepath.Join(dir, flagFile)); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("raft: list %s: %w", dir, err)
	}
	var found []string
	for _, e := range entries {
		if e.IsDir() && holdsDeployment(filepath.Join(dir, e.Name())) {
			found = append(found, e.Name())
		}
	}
	switch {
	case len(found) == 0 || len(found) == 1 && found[0] == hostname:
		return nil
	case len(found) > 1:
		return fmt.Errorf("raft: %s holds the raft logs of %d host names (%q) instead of one: somebody copied files into it", dir, len(found), found)
	}
	if err := os.Rename(filepath.Join(dir, found[0]), filepath.Join(dir, hostname)); err != nil {
		return fmt.Errorf("raft: take over the raft log of host name %q: %w", found[0], err)
	}
	return syncDir(dir)
}

func holdsDeployment(dir string) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if e.IsDir() && deploymentDir.MatchString(e.Name()) {
			return true
		}
	}
	return false
}

// forgetHostname empties the host name in dragonboat's flag file: 8 bytes of
// MD5 and a protocol buffer.
func forgetHostname(path string) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("raft: read %s: %w", path, err)
	}
	var status raftpb.RaftDataStatus
	if len(content) < 8 || !bytes.Equal(content[:8], flagSum(content[8:])) || status.Unmarshal(content[8:]) != nil {
		return fmt.Errorf("raft: %s is damaged: this controller's disk has lost data, see `kvorum storage replace-controller`", path)
	}
	if status.Hostname == "" {
		return nil
	}
	status.Hostname = ""
	body, err := status.Marshal()
	if err != nil {
		return fmt.Errorf("raft: encode %s: %w", path, err)
	}
	return nodedir.WriteFile(path, append(flagSum(body), body...))
}

func flagSum(body []byte) []byte {
	sum := md5.Sum(body)
	return bytes.Clone(sum[8:])
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("raft: sync %s: %w", dir, err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("raft: sync %s: %w", dir, err)
	}
	return nil
}

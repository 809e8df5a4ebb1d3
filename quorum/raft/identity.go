package raft

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"kvorum/internal/kafka"
)

// ShardID is the raft group of the metadata log. There is only one.
const ShardID uint64 = 1

// ReplicaID is dragonboat's name of one replica; 0 means "none". It is never
// used twice: a removed one can never be added again.
type ReplicaID uint64

// Replica says which formatting of which directory of which node a raft replica
// is. Raft forbids that a replica forgets its vote or its log. A directory that
// was wiped and formatted again has forgotten both, so it must be another
// replica, even when the node id and the directory id are the same as before:
// `--initial-controllers` writes the same directory id again.
type Replica struct {
	NodeID      kafka.NodeID
	DirectoryID kafka.DirectoryID
	// Instance is a random number, not 0, drawn each time that the directory is
	// formatted.
	Instance uint64
}

// ID derives the replica id: the first 8 bytes that are not 0 of a hash of the
// directory id and the instance. The node id has no part in it.
func (r Replica) ID() ReplicaID {
	var text [len("kvorum replica") + 16 + 8]byte
	n := copy(text[:], "kvorum replica")
	n += copy(text[n:], r.DirectoryID[:])
	binary.BigEndian.PutUint64(text[n:], r.Instance)
	sum := sha256.Sum256(text[:])
	for at := 0; at < len(sum); at += 8 {
		if id := binary.BigEndian.Uint64(sum[at:]); id != 0 {
			return ReplicaID(id)
		}
	}
	panic("raft: a SHA-256 of 32 zero bytes")
}

// String names the replica in messages.
func (r Replica) String() string {
	return fmt.Sprintf("node %d (directory %s, formatting %016x)", r.NodeID, r.DirectoryID, r.Instance)
}

const addressPrefix = "kvorum"

// address is what dragonboat holds as the replica's address. It is no place in
// a network: it is the replica's identity, and stays the same for its whole
// life (dragonboat binds a directory to it). The network resolves the node id
// in it when it dials, so that a controller may change its host and port. As
// committed membership holds these, every controller knows the identity of
// every member from the log itself. Dragonboat turns addresses to lower case,
// so that the directory is in hexadecimal here.
func (r Replica) address() string {
	return fmt.Sprintf("%s/%d/%x/%016x", addressPrefix, r.NodeID, r.DirectoryID[:], r.Instance)
}

// parseAddress reads what address wrote.
func parseAddress(s string) (Replica, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 4 || parts[0] != addressPrefix {
		return Replica{}, fmt.Errorf("raft address %q is not of the form kvorum/node/directory/formatting", s)
	}
	node, err := strconv.ParseInt(parts[1], 10, 32)
	if err != nil || node < 0 {
		return Replica{}, fmt.Errorf("raft address %q: node id %q is not a number from 0", s, parts[1])
	}
	var dir kafka.DirectoryID
	if raw, err := hex.DecodeString(parts[2]); err != nil || len(raw) != len(dir) || copy(dir[:], raw) == 0 {
		return Replica{}, fmt.Errorf("raft address %q: directory %q has not 32 hexadecimal digits", s, parts[2])
	}
	instance, err := strconv.ParseUint(parts[3], 16, 64)
	if err != nil {
		return Replica{}, fmt.Errorf("raft address %q: formatting %q is not a hexadecimal number", s, parts[3])
	}
	r := Replica{NodeID: kafka.NodeID(node), DirectoryID: dir, Instance: instance}
	if r.address() != s {
		return Replica{}, fmt.Errorf("raft address %q is not in its canonical form %q", s, r.address())
	}
	return r, nil
}

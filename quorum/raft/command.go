package raft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"kvorum/internal/kafka"
)

// commandVersion is the format of commands that this binary writes, and the
// newest that it applies at level 1.
const commandVersion = 1

// commandKind says what a command does. Kinds are never given another meaning.
type commandKind byte

const (
	kindAppend     commandKind = 1
	kindClaim      commandKind = 2
	kindRaiseBase  commandKind = 3
	kindRaiseLevel commandKind = 4
)

// Places of the fixed fields; docs/formats/raft-files.md draws them.
const (
	commandHead = 2                    // version, kind
	appendHead  = commandHead + 4 + 8  // epoch, base
	claimHead   = commandHead + 4 + 16 // node, directory
	claimFixed  = claimHead + 8 + 4    // term, length of batch
	raiseSize   = commandHead + 4      // epoch or level
)

// maxPropose bounds the batches of one command, in bytes: one batch of the
// greatest size that a metadata log may hold, or many small ones. Commands near
// 1 MiB keep the raft log moving.
const maxPropose = 8 << 20

// command is a decoded command. Its slices share memory with what was decoded.
type command struct {
	kind commandKind
	// epoch is the proposer's in an append, and the new base in a raise.
	epoch kafka.LeaderEpoch
	// base is the offset at which an append expects the log to end.
	base kafka.Offset
	// batches are an append's records, or a claim's control batch.
	batches []byte
	// batchIfEmpty takes batches' place when a claim finds the log empty.
	batchIfEmpty []byte
	node         kafka.NodeID
	directory    kafka.DirectoryID
	term         uint64
	level        uint32
}

// append encodes the command after dst.
func (c *command) append(dst []byte) []byte {
	be := binary.BigEndian
	dst = append(dst, commandVersion, byte(c.kind))
	switch c.kind {
	case kindAppend:
		dst = be.AppendUint32(dst, uint32(c.epoch))
		dst = be.AppendUint64(dst, uint64(c.base))
		return append(dst, c.batches...)
	case kindClaim:
		dst = be.AppendUint32(dst, uint32(c.node))
		dst = append(dst, c.directory[:]...)
		dst = be.AppendUint64(dst, c.term)
		dst = be.AppendUint32(dst, uint32(len(c.batches)))
		dst = append(dst, c.batches...)
		return append(dst, c.batchIfEmpty...)
	case kindRaiseBase:
		return be.AppendUint32(dst, uint32(c.epoch))
	case kindRaiseLevel:
		return be.AppendUint32(dst, c.level)
	}
	panic(fmt.Sprintf("raft: command of kind %d", c.kind))
}

// size is the encoded length.
func (c *command) size() int { return claimFixed + len(c.batches) + len(c.batchIfEmpty) }

// errCommand marks bytes that are no command of a known version. Every replica
// rejects them alike, because what a level knows is part of the level.
var errCommand = errors.New("not a command of this level")

// decodeCommand reads a command. The result shares memory with b.
func decodeCommand(b []byte) (c command, err error) {
	if len(b) < commandHead || len(b) > claimFixed+2*maxPropose || b[0] != commandVersion {
		return c, errCommand
	}
	be := binary.BigEndian
	c.kind = commandKind(b[1])
	switch {
	case c.kind == kindAppend && len(b) >= appendHead:
		c.epoch, c.base = kafka.LeaderEpoch(be.Uint32(b[2:])), kafka.Offset(be.Uint64(b[6:]))
		c.batches = b[appendHead:]
	case c.kind == kindClaim && len(b) >= claimFixed:
		c.node = kafka.NodeID(be.Uint32(b[2:]))
		copy(c.directory[:], b[6:])
		c.term = be.Uint64(b[claimHead:])
		n := be.Uint32(b[claimHead+8:])
		if rest := b[claimFixed:]; uint64(n) <= uint64(len(rest)) {
			c.batches, c.batchIfEmpty = rest[:n], rest[n:]
		} else {
			return c, errCommand
		}
	case c.kind == kindRaiseBase && len(b) == raiseSize:
		c.epoch = kafka.LeaderEpoch(be.Uint32(b[2:]))
	case c.kind == kindRaiseLevel && len(b) == raiseSize:
		c.level = be.Uint32(b[2:])
	default:
		return c, errCommand
	}
	return c, nil
}

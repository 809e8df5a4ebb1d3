package raft

import (
	"encoding/binary"
	"fmt"

	"kvorum/internal/kafka"
)

// Level is what the replicated state machine's rules are numbered by. It is
// part of the replicated state: machines behave by it, not by their binary's
// age, so that old and new binaries apply the same log to the same state.
const Level uint32 = 1

// stateKey is where the state lies among the store's private values.
const stateKey = "raft"

// stateVersion is the format of the stored state.
const stateVersion = 1

// State is the part of the replicated state that is not the log. It is written
// in the same atomic write as the log, and published as an immutable value.
type State struct {
	// Level numbers the rules in force.
	Level uint32
	// Epoch is the current KRaft epoch: that of the last accepted claim, 0
	// before the first.
	Epoch kafka.LeaderEpoch
	// Leader is who claimed Epoch, kafka.NoNode before the first claim. Its
	// claim is committed; whether it still lives is another question.
	Leader kafka.NodeID
	// Directory is the leader's directory.
	Directory kafka.DirectoryID
	// Claim is the offset of that claim's first record, kafka.NoOffset before
	// the first.
	Claim kafka.Offset
	// Base is added to raft's term to make an epoch. It only grows.
	Base kafka.LeaderEpoch
}

func firstState() State {
	return State{Level: Level, Leader: kafka.NoNode, Claim: kafka.NoOffset}
}

const stateSize = 1 + 4 + 4 + 4 + 16 + 8 + 4

// append encodes the state:
//
//	version uint8 | level uint32 | epoch int32 | leader int32 | directory 16
//	claim int64 | base int32
func (s State) append(dst []byte) []byte {
	be := binary.BigEndian
	dst = append(dst, stateVersion)
	dst = be.AppendUint32(dst, s.Level)
	dst = be.AppendUint32(dst, uint32(s.Epoch))
	dst = be.AppendUint32(dst, uint32(s.Leader))
	dst = append(dst, s.Directory[:]...)
	dst = be.AppendUint64(dst, uint64(s.Claim))
	return be.AppendUint32(dst, uint32(s.Base))
}

// decodeState reads a stored state. A newer one is refused: this binary does
// not know the rules that made it.
func decodeState(b []byte) (s State, err error) {
	if len(b) > 0 && b[0] > stateVersion {
		return s, fmt.Errorf("raft: the store was written in state format %d, this binary knows formats up to %d: use the newer binary", b[0], stateVersion)
	}
	if len(b) != stateSize || b[0] != stateVersion {
		return s, fmt.Errorf("raft: the store's state has %d bytes instead of %d: the store is damaged", len(b), stateSize)
	}
	be := binary.BigEndian
	s.Level = be.Uint32(b[1:])
	s.Epoch, s.Leader = kafka.LeaderEpoch(be.Uint32(b[5:])), kafka.NodeID(be.Uint32(b[9:]))
	copy(s.Directory[:], b[13:])
	s.Claim, s.Base = kafka.Offset(be.Uint64(b[29:])), kafka.LeaderEpoch(be.Uint32(b[37:]))
	if s.Level > Level {
		return s, levelTooNew(s.Level)
	}
	return s, nil
}

func levelTooNew(level uint32) error {
	return fmt.Errorf("raft: the quorum runs at level %d, this binary knows levels up to %d: use the newer binary on this controller", level, Level)
}

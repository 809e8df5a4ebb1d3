package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"kvorum/internal/kafka"
)

// exchange is what controllers tell each other before raft runs, and go on
// telling late ones: who the sender is, and whom it knows.
type exchange struct {
	self Replica
	// settled: members is the membership that the sender has made durable and
	// runs with; otherwise it is what the sender has heard so far.
	settled bool
	// replace: the sender asks to take the place of the member with its node id.
	// Only an operator's command sets it.
	replace bool
	members []Replica // ordered by node id, at most MaxControllers
	origin  origin
	// why says to a controller that asked to replace another why it did not, in
	// at most maxRefusal bytes.
	why string
}

// origin is what the quorum begins with, before the first command: nothing, or
// an imported log. It must be the same on every controller.
type origin struct {
	// End is the end of the log, and the epoch of its last record.
	End kafka.EpochOffset
	// Base is the first value of State.Base, above every epoch that the brokers
	// of an imported cluster may have seen.
	Base kafka.LeaderEpoch
}

// String names the origin in messages.
func (o origin) String() string {
	return fmt.Sprintf("a log that ends at offset %d in epoch %d, with epochs after %d", o.End.Offset, o.End.Epoch, o.Base)
}

const (
	flagSettled = 1 << iota
	flagReplace
)

// Sizes of a replica, and of what precedes the members, in bytes.
const (
	replicaSize  = 4 + 16 + 8
	exchangeHead = replicaSize + 1 + 8 + 4 + 4 + 1
)

// append encodes the exchange:
//
//	self replica | flags uint8
//	origin: offset int64 | epoch int32 | base int32
//	count uint8 | count replicas | why: length uint8, text
//	replica: node int32 | directory 16 | formatting uint64
func (e exchange) append(dst []byte) []byte {
	dst = appendReplica(dst, e.self)
	flags := byte(0)
	if e.settled {
		flags |= flagSettled
	}
	if e.replace {
		flags |= flagReplace
	}
	dst = append(dst, flags)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.origin.End.Offset))
	dst = binary.BigEndian.AppendUint32(dst, uint32(e.origin.End.Epoch))
	dst = binary.BigEndian.AppendUint32(dst, uint32(e.origin.Base))
	dst = append(dst, byte(len(e.members)))
	for _, r := range e.members {
		dst = appendReplica(dst, r)
	}
	why := e.why[:min(len(e.why), maxRefusal)]
	return append(append(dst, byte(len(why))), why...)
}

func appendReplica(dst []byte, r Replica) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.NodeID))
	dst = append(dst, r.DirectoryID[:]...)
	return binary.BigEndian.AppendUint64(dst, r.Instance)
}

func decodeReplica(b []byte) (r Replica) {
	r.NodeID = kafka.NodeID(binary.BigEndian.Uint32(b))
	copy(r.DirectoryID[:], b[4:])
	r.Instance = binary.BigEndian.Uint64(b[20:])
	return r
}

var errNotExchange = errors.New("not an exchange of controllers")

// decodeExchange reads an exchange; it keeps no reference to b.
func decodeExchange(b []byte) (e exchange, err error) {
	if len(b) < exchangeHead {
		return e, fmt.Errorf("%w: %d bytes", errNotExchange, len(b))
	}
	e.self = decodeReplica(b)
	flags, count := b[replicaSize], int(b[exchangeHead-1])
	e.origin.End.Offset = kafka.Offset(binary.BigEndian.Uint64(b[replicaSize+1:]))
	e.origin.End.Epoch = kafka.LeaderEpoch(binary.BigEndian.Uint32(b[replicaSize+9:]))
	e.origin.Base = kafka.LeaderEpoch(binary.BigEndian.Uint32(b[replicaSize+13:]))
	b = b[exchangeHead:]
	if count > MaxControllers || len(b) < count*replicaSize+1 || len(b) != count*replicaSize+1+int(b[count*replicaSize]) || flags > flagSettled|flagReplace {
		return e, fmt.Errorf("%w: %d controllers in %d bytes, flags %#x", errNotExchange, count, len(b), flags)
	}
	e.settled, e.replace = flags&flagSettled != 0, flags&flagReplace != 0
	for ; count > 0; count-- {
		r := decodeReplica(b)
		if r.NodeID < 0 || r.Instance == 0 || (len(e.members) > 0 && e.members[len(e.members)-1].NodeID >= r.NodeID) {
			return e, fmt.Errorf("%w: controllers out of order or without identity", errNotExchange)
		}
		e.members = append(e.members, r)
		b = b[replicaSize:]
	}
	e.why = string(b[1:])
	return e, nil
}

// sortReplicas orders members as every list of them is ordered.
func sortReplicas(members []Replica) {
	slices.SortFunc(members, func(a, b Replica) int { return int(a.NodeID) - int(b.NodeID) })
}

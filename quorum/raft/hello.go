package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"kvorum/internal/kafka"
)

// protocolVersion is the version of everything that follows the hello. A
// controller that knows another one is refused in words.
const protocolVersion = 1

// helloMagic begins every connection, in both directions.
const helloMagic = "KVRM"

// purpose says what a connection carries after its hellos.
type purpose uint8

const (
	purposeRefused  purpose = iota // only in an answer: the text says why
	purposeExchange                // one exchange frame each way, see exchange.go
	purposeMessages                // frames of raft messages, one way
	purposeChunks                  // frames of snapshot chunks, one way
	purposes
)

// String names the purpose in messages.
func (p purpose) String() string {
	names := [...]string{"refused", "exchange", "messages", "snapshot"}
	if int(p) < len(names) {
		return names[p]
	}
	return "purpose " + strconv.Itoa(int(p))
}

// hello is the first frame that each end of a connection sends; the dialer
// speaks first. An end that does not find in it what it expects closes the
// connection before it reads anything else.
type hello struct {
	purpose purpose
	cluster string
	// sender and target are zero in an exchange, where the target's formatting
	// is not known yet; the nodes are known always.
	sender, target         ReplicaID
	senderNode, targetNode kafka.NodeID
	text                   string // of a refusal
}

// maxRefusal bounds the text of a refusal, in bytes.
const maxRefusal = 255

// append encodes the hello:
//
//	magic 4 | version uint16 | purpose uint8 | cluster length uint8 | cluster
//	sender uint64 | target uint64 | sender node int32 | target node int32
//	text length uint8 | text
func (h hello) append(dst []byte) []byte {
	be := binary.BigEndian
	dst = append(dst, helloMagic...)
	dst = be.AppendUint16(dst, protocolVersion)
	dst = append(dst, byte(h.purpose), byte(len(h.cluster)))
	dst = append(dst, h.cluster...)
	dst = be.AppendUint64(dst, uint64(h.sender))
	dst = be.AppendUint64(dst, uint64(h.target))
	dst = be.AppendUint32(dst, uint32(h.senderNode))
	dst = be.AppendUint32(dst, uint32(h.targetNode))
	text := h.text[:min(len(h.text), maxRefusal)]
	dst = append(dst, byte(len(text)))
	return append(dst, text...)
}

var errNotHello = errors.New("not the protocol of kvorum controllers")

// decodeHello reads a hello; it keeps no reference to b.
func decodeHello(b []byte) (h hello, err error) {
	be := binary.BigEndian
	if len(b) < len(helloMagic)+2 || string(b[:4]) != helloMagic {
		return h, errNotHello
	}
	if v := be.Uint16(b[4:]); v != protocolVersion {
		return h, fmt.Errorf("peer speaks version %d of the controllers' protocol, this binary version %d", v, protocolVersion)
	}
	if len(b) < 8 {
		return h, errNotHello
	}
	h.purpose = purpose(b[6])
	n := int(b[7])
	b = b[8:]
	if len(b) < n+8+8+4+4+1 || h.purpose >= purposes {
		return h, errNotHello
	}
	h.cluster, b = string(b[:n]), b[n:]
	h.sender, h.target = ReplicaID(be.Uint64(b)), ReplicaID(be.Uint64(b[8:]))
	h.senderNode, h.targetNode = kafka.NodeID(be.Uint32(b[16:])), kafka.NodeID(be.Uint32(b[20:]))
	if b = b[24:]; len(b) != 1+int(b[0]) {
		return h, errNotHello
	}
	h.text = string(b[1:])
	return h, nil
}

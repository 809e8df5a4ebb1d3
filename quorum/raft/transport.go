package raft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"

	"kvorum/internal/kafka"
)

// redialAfter is the time after a failed dial in which no other dial to that
// node is tried: dragonboat asks for a connection at every message.
const redialAfter = 50 * time.Millisecond

// transport gives dragonboat the network. Dragonboat creates it, through
// transportFactory, and closes it; the network itself outlives it.
type transport struct {
	net      *network
	messages raftio.MessageHandler
	chunks   raftio.ChunkHandler

	mu     sync.Mutex
	failed map[kafka.NodeID]time.Time // at most one entry a member

	// delivering is held for reading while dragonboat takes a frame: after Close
	// it must get none, not even one that is under way.
	delivering sync.RWMutex
	closed     bool
}

// transportFactory is dragonboat's way to get a transport of our own.
type transportFactory struct {
	net     *network
	created *transport
}

// Create is called once, by NewNodeHost.
func (f *transportFactory) Create(_ config.NodeHostConfig, messages raftio.MessageHandler, chunks raftio.ChunkHandler) raftio.ITransport {
	f.created = &transport{net: f.net, messages: messages, chunks: chunks, failed: map[kafka.NodeID]time.Time{}}
	return f.created
}

// Validate reports whether an address is one of ours.
func (f *transportFactory) Validate(address string) bool {
	_, err := parseAddress(address)
	return err == nil
}

// Name is the transport's name in dragonboat's log.
func (t *transport) Name() string { return "kvorum" }

// Start does nothing: the network listens already, and opens for raft when the
// host says so.
func (t *transport) Start() error { return nil }

// Close stops deliveries to dragonboat.
func (t *transport) Close() error {
	t.net.raft.Store(nil)
	t.delivering.Lock()
	t.closed = true
	t.delivering.Unlock()
	return nil
}

// open lets raft messages in and out.
func (t *transport) open() {
	var r receiver = t
	t.net.raft.Store(&r)
}

// GetConnection connects to a replica for raft messages.
func (t *transport) GetConnection(ctx context.Context, address string) (raftio.IConnection, error) {
	return t.connect(ctx, address, purposeMessages)
}

// GetSnapshotConnection connects to a replica for the chunks of a snapshot.
func (t *transport) GetSnapshotConnection(ctx context.Context, address string) (raftio.ISnapshotConnection, error) {
	return t.connect(ctx, address, purposeChunks)
}

func (t *transport) connect(ctx context.Context, address string, p purpose) (*connection, error) {
	if t.net.raft.Load() == nil {
		return nil, errors.New("this controller is still starting")
	}
	r, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	since := time.Since(t.failed[r.NodeID])
	t.mu.Unlock()
	if since < redialAfter {
		return nil, fmt.Errorf("node %d was not reachable a moment ago", r.NodeID)
	}
	conn, err := t.net.dial(ctx, r.NodeID, r.ID(), p)
	if err != nil {
		t.mu.Lock()
		t.failed[r.NodeID] = time.Now()
		t.mu.Unlock()
		return nil, err
	}
	return &connection{conn: conn}, nil
}

// limit is the largest frame that a purpose may have.
func (t *transport) limit(p purpose) int {
	if p == purposeChunks {
		return maxChunkFrame
	}
	return maxMessageFrame
}

// receive hands one frame to dragonboat. Dragonboat trusts what it is given, so
// that everything that can be checked is checked here.
func (t *transport) receive(sender ReplicaID, p purpose, frame []byte) error {
	t.delivering.RLock()
	defer t.delivering.RUnlock()
	if t.closed {
		return net.ErrClosed
	}
	if p == purposeChunks {
		c, err := decodeChunk(frame, sender, t.net.id)
		if err != nil {
			return err
		}
		if !t.chunks(c) {
			return errors.New("dragonboat refuses the chunk")
		}
		return nil
	}
	batch, err := decodeMessages(frame, sender, t.net.id)
	if err != nil {
		return err
	}
	t.messages(batch)
	return nil
}

var errNotRaft = errors.New("not a message of raft")

// decodeMessages reads a batch of raft messages from sender to self. The result
// shares no memory with b.
func decodeMessages(b []byte, sender, self ReplicaID) (batch raftpb.MessageBatch, err error) {
	defer recoverDecode(&err)
	if err := batch.Unmarshal(b); err != nil {
		return batch, fmt.Errorf("%w: %w", errNotRaft, err)
	}
	for i := range batch.Requests {
		m := &batch.Requests[i]
		switch {
		case m.ShardID != ShardID || m.From != uint64(sender) || m.To != uint64(self):
			return batch, fmt.Errorf("%w: %v from replica %016x to %016x of shard %d", errNotRaft, m.Type, m.From, m.To, m.ShardID)
		case !travels[m.Type]:
			return batch, fmt.Errorf("%w: %v never travels", errNotRaft, m.Type)
		}
	}
	// Dragonboat remembers the source as the sender's address.
	if r, err := parseAddress(batch.SourceAddress); err != nil || r.ID() != sender {
		return batch, fmt.Errorf("%w: source %q is not replica %016x", errNotRaft, batch.SourceAddress, uint64(sender))
	}
	return batch, nil
}

// travels are the messages that one replica sends to another; the others are
// only for use inside of one, and InstallSnapshot comes as chunks.
var travels = map[raftpb.MessageType]bool{
	raftpb.Ping: true, raftpb.Pong: true, raftpb.NoOP: true, raftpb.Propose: true,
	raftpb.Replicate: true, raftpb.ReplicateResp: true,
	raftpb.RequestVote: true, raftpb.RequestVoteResp: true,
	raftpb.RequestPreVote: true, raftpb.RequestPreVoteResp: true,
	raftpb.Heartbeat: true, raftpb.HeartbeatResp: true,
	raftpb.ReadIndex: true, raftpb.ReadIndexResp: true,
	raftpb.SnapshotReceived: true, raftpb.LeaderTransfer: true,
	raftpb.TimeoutNow: true, raftpb.RateLimit: true,
}

// decodeChunk reads one chunk of a snapshot from sender for self. The result
// shares no memory with b.
func decodeChunk(b []byte, sender, self ReplicaID) (c raftpb.Chunk, err error) {
	defer recoverDecode(&err)
	if err := c.Unmarshal(b); err != nil {
		return c, fmt.Errorf("%w: %w", errNotRaft, err)
	}
	if c.ShardID != ShardID || c.From != uint64(sender) || c.ReplicaID != uint64(self) {
		return c, fmt.Errorf("%w: chunk from replica %016x for %016x of shard %d", errNotRaft, c.From, c.ReplicaID, c.ShardID)
	}
	return c, nil
}

// recoverDecode turns a panic of dragonboat's decoders, which index without
// asking in places, into an error.
func recoverDecode(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: %v", errNotRaft, r)
	}
}

// connection is an outgoing one; one goroutine of dragonboat uses it.
type connection struct {
	conn net.Conn
	buf  []byte
}

// Close ends the connection.
func (c *connection) Close() { c.conn.Close() }

// marshaler is what dragonboat's messages have in common.
type marshaler interface {
	SizeUpperLimit() int
	MarshalTo([]byte) (int, error)
}

// SendMessageBatch writes the batch in one frame.
func (c *connection) SendMessageBatch(batch raftpb.MessageBatch) error { return c.send(&batch) }

// SendChunk writes the chunk in one frame.
func (c *connection) SendChunk(chunk raftpb.Chunk) error { return c.send(&chunkSize{chunk}) }

// chunkSize gives a chunk the name of the method that batches have.
type chunkSize struct{ raftpb.Chunk }

// SizeUpperLimit is the chunk's encoded size.
func (c *chunkSize) SizeUpperLimit() int { return c.Size() }

func (c *connection) send(m marshaler) error {
	size := frameHeader + m.SizeUpperLimit()
	if cap(c.buf) < size {
		c.buf = make([]byte, size)
	}
	frame := c.buf[:size]
	n, err := m.MarshalTo(frame[frameHeader:])
	if err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	if cap(c.buf) > keptFrame {
		c.buf = nil
	}
	return writeFrame(c.conn, frame[:frameHeader+n])
}

// closedByPeer reports whether a connection ended between frames, as all do
// when a controller stops.
func closedByPeer(err error) bool {
	return err == io.EOF || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET)
}

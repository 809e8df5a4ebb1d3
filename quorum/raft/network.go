package raft

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"kvorum/internal/kafka"
)

const (
	// maxPending bounds connections that have not said who they are. Controllers
	// open a handful; the rest is somebody else, and waits are short.
	maxPending = 64
	// maxEstablished bounds connections after their hello: dragonboat opens 4 to
	// a peer, plus one for a snapshot, and a peer that restarts leaves as many
	// behind for a while; times MaxControllers.
	maxEstablished = 10 * MaxControllers
	// helloTimeout is how long a connection may take to say who it is, TLS
	// included.
	helloTimeout = 5 * time.Second
	// idleTimeout ends a connection on which nothing arrives. Dragonboat closes
	// its own after a minute.
	idleTimeout = 3 * time.Minute
	// writeTimeout ends a connection whose peer takes no bytes.
	writeTimeout = 10 * time.Second
	dialTimeout  = 2 * time.Second
)

// receiver takes what arrives on a connection whose sender is known. An error
// closes the connection.
type receiver interface {
	receive(sender ReplicaID, p purpose, frame []byte) error
	// limit is the largest frame of a purpose, in bytes.
	limit(p purpose) int
}

// network listens for other controllers and dials them. It owns every accepted
// connection and the goroutine that reads it, from listen to close.
type network struct {
	cluster string
	self    Replica
	id      ReplicaID
	tls     *tls.Config
	resolve func(kafka.NodeID) (string, bool)
	answer  func(exchange) exchange // answers an exchange; any goroutine
	logger  *slog.Logger
	// patience is how long a peer may take to say who it is: helloTimeout.
	patience time.Duration

	// raft is nil until raft may speak and be spoken to.
	raft atomic.Pointer[receiver]

	listener    net.Listener
	wait        sync.WaitGroup
	pending     atomic.Int32
	established atomic.Int32

	mu     sync.Mutex
	conns  map[net.Conn]struct{} // accepted ones
	closed bool
}

// listen binds the address and begins to accept.
func (n *network) listen(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("raft: listen: %w", err)
	}
	n.listener, n.conns = l, map[net.Conn]struct{}{}
	n.wait.Add(1)
	go n.accept()
	return nil
}

// close ends every accepted connection and waits for their goroutines.
func (n *network) close() {
	n.mu.Lock()
	if n.closed || n.listener == nil {
		n.closed = true
		n.mu.Unlock()
		return
	}
	n.closed = true
	n.listener.Close()
	for c := range n.conns {
		c.Close()
	}
	n.mu.Unlock()
	n.wait.Wait()
}

func (n *network) accept() {
	defer n.wait.Done()
	for {
		conn, err := n.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors: others may be returned
			n.logger.Error("raft: accept", "error", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if !n.track(conn) {
			conn.Close()
			continue
		}
		go func() {
			defer n.wait.Done()
			defer n.forget(conn)
			if err := n.serve(conn); err != nil && !errors.Is(err, net.ErrClosed) {
				n.logger.Warn("raft: connection closed", "remote", conn.RemoteAddr().String(), "error", err)
			}
		}()
	}
}

// track takes ownership of an accepted connection unless there are too many.
func (n *network) track(conn net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.pending.Load() >= maxPending {
		return false
	}
	n.pending.Add(1)
	n.conns[conn] = struct{}{}
	n.wait.Add(1)
	return true
}

func (n *network) forget(conn net.Conn) {
	conn.Close()
	n.mu.Lock()
	delete(n.conns, conn)
	n.mu.Unlock()
}

// serve speaks on an accepted connection until it ends.
func (n *network) serve(raw net.Conn) error {
	conn := raw
	h, err := func() (hello, error) {
		defer n.pending.Add(-1)
		if err := raw.SetDeadline(time.Now().Add(n.patience)); err != nil {
			return hello{}, err
		}
		if n.tls != nil {
			conn = tls.Server(raw, n.tls)
		}
		return n.greet(conn)
	}()
	if err != nil {
		return err
	}
	if n.established.Add(1) > maxEstablished {
		n.established.Add(-1)
		return fmt.Errorf("more than %d connections of controllers", maxEstablished)
	}
	defer n.established.Add(-1)
	if h.purpose == purposeExchange {
		return n.serveExchange(conn)
	}
	return n.serveRaft(conn, h)
}

// greet reads the dialer's hello and answers it. A hello that is not for this
// replica of this cluster is refused in words, so that the other side's log
// says why.
func (n *network) greet(conn net.Conn) (hello, error) {
	frame, err := readFrame(conn, nil, maxHelloFrame)
	if err != nil {
		return hello{}, fmt.Errorf("read hello: %w", err)
	}
	h, err := decodeHello(frame)
	if err != nil {
		return h, fmt.Errorf("read hello: %w", err)
	}
	answer := hello{purpose: h.purpose, cluster: n.cluster, sender: n.id, target: h.sender, senderNode: n.self.NodeID, targetNode: h.senderNode}
	reason := n.objection(h)
	if reason != "" {
		answer.purpose, answer.text = purposeRefused, reason
	}
	if err := writeFrame(conn, answer.append(make([]byte, frameHeader, 256))); err != nil {
		return h, fmt.Errorf("answer hello: %w", err)
	}
	if reason != "" {
		return h, fmt.Errorf("refused a %s connection of node %d, replica %016x: %s", h.purpose, h.senderNode, uint64(h.sender), reason)
	}
	return h, nil
}

// objection says why a hello is refused, "" if it is not.
func (n *network) objection(h hello) string {
	switch {
	case h.cluster != n.cluster:
		return fmt.Sprintf("cluster id %q is not mine, %q", h.cluster, n.cluster)
	case h.targetNode != n.self.NodeID:
		return fmt.Sprintf("I am node %d, not node %d", n.self.NodeID, h.targetNode)
	case h.purpose == purposeExchange:
		return ""
	case h.purpose == purposeRefused:
		return "a connection cannot begin with a refusal"
	case h.target != n.id:
		return fmt.Sprintf("I am replica %016x, not %016x: one of us was formatted anew", uint64(n.id), uint64(h.target))
	case h.sender == n.id || h.sender == 0:
		return fmt.Sprintf("replica %016x is not another one", uint64(h.sender))
	case n.raft.Load() == nil:
		return "I am still starting"
	}
	return ""
}

func (n *network) serveExchange(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	frame, err := readFrame(conn, nil, maxExchangeFrame)
	if err != nil {
		return fmt.Errorf("read exchange: %w", err)
	}
	e, err := decodeExchange(frame)
	if err != nil {
		return err
	}
	return writeFrame(conn, n.answer(e).append(make([]byte, frameHeader, 256)))
}

// keptFrame bounds the memory that a connection keeps between frames.
const keptFrame = 1 << 20

func (n *network) serveRaft(conn net.Conn, h hello) error {
	r := *n.raft.Load()
	var buf []byte
	for {
		if err := conn.SetDeadline(time.Now().Add(idleTimeout)); err != nil {
			return err
		}
		frame, err := readFrame(conn, buf, r.limit(h.purpose))
		if err != nil {
			if closedByPeer(err) {
				return nil
			}
			return fmt.Errorf("%s of node %d: %w", h.purpose, h.senderNode, err)
		}
		if err := r.receive(h.sender, h.purpose, frame); err != nil {
			return fmt.Errorf("%s of node %d: %w", h.purpose, h.senderNode, err)
		}
		if buf = frame; cap(buf) > keptFrame {
			buf = nil
		}
	}
}

// writeFrame seals a frame whose payload begins at frameHeader, and writes it.
func writeFrame(conn net.Conn, frame []byte) error {
	if err := conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := conn.Write(sealFrame(frame))
	return err
}

// dial connects to a node and makes sure that it is the replica that is meant;
// target is 0 in an exchange. The caller owns the connection.
func (n *network) dial(ctx context.Context, node kafka.NodeID, target ReplicaID, p purpose) (net.Conn, error) {
	address, ok := n.resolve(node)
	if !ok {
		return nil, fmt.Errorf("no address is configured for node %d", node)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		conn.Close()
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if n.tls != nil {
		config := n.tls.Clone()
		config.ServerName, _, _ = net.SplitHostPort(address)
		conn = tls.Client(conn, config)
	}
	if err := n.introduce(conn, hello{purpose: p, cluster: n.cluster, sender: n.id, target: target, senderNode: n.self.NodeID, targetNode: node}); err != nil {
		conn.Close()
		return nil, fmt.Errorf("node %d at %s: %w", node, address, err)
	}
	return conn, nil
}

// introduce sends a hello and checks the answer.
func (n *network) introduce(conn net.Conn, mine hello) error {
	if err := writeFrame(conn, mine.append(make([]byte, frameHeader, 256))); err != nil {
		return err
	}
	frame, err := readFrame(conn, nil, maxHelloFrame)
	if err != nil {
		return fmt.Errorf("read the answer to hello: %w", err)
	}
	h, err := decodeHello(frame)
	switch {
	case err != nil:
		return err
	case h.purpose == purposeRefused:
		return fmt.Errorf("refused: %q", h.text)
	case h.cluster != mine.cluster:
		return fmt.Errorf("belongs to cluster %q instead of %q", h.cluster, mine.cluster)
	case h.senderNode != mine.targetNode:
		return fmt.Errorf("says that it is node %d", h.senderNode)
	case mine.target != 0 && h.sender != mine.target:
		return fmt.Errorf("is replica %016x instead of %016x", uint64(h.sender), uint64(mine.target))
	case h.purpose != mine.purpose:
		return fmt.Errorf("answers %s to %s", h.purpose, mine.purpose)
	}
	return nil
}

// ask makes one exchange with a node.
func (n *network) ask(ctx context.Context, node kafka.NodeID, mine exchange) (exchange, error) {
	conn, err := n.dial(ctx, node, 0, purposeExchange)
	if err != nil {
		return exchange{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if err := writeFrame(conn, mine.append(make([]byte, frameHeader, 256))); err != nil {
		return exchange{}, fmt.Errorf("node %d: %w", node, err)
	}
	frame, err := readFrame(conn, nil, maxExchangeFrame)
	if err != nil {
		return exchange{}, fmt.Errorf("node %d: %w", node, err)
	}
	return decodeExchange(frame)
}

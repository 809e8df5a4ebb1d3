package listener

import (
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol"
)

// Reason says why a connection ended. Who ended it matters: a peer that closed
// or reset its connections is gone, one that we closed may be alive and well.
type Reason uint8

// The reasons. PeerClosed and PeerReset are the peer's doing, all others ours.
const (
	PeerClosed    Reason = iota + 1 // FIN: the peer closed the connection or exited
	PeerReset                       // RST, or a broken pipe while writing
	PeerLost                        // the network gave up (keepalive, host unreachable)
	Idle                            // no request for Config.IdleTimeout
	SlowFrame                       // a frame that had begun did not end in time
	SlowReader                      // a response was not taken in time
	AuthTimedOut                    // not authenticated within Config.AuthTimeout
	AuthFailed                      // the authenticator said no
	BadRequest                      // a frame, API, version or body that we do not serve
	HandlerFailed                   // a handler had no answer
	Closed                          // the listener was closed
	TooMany                         // Config.MaxConnections
	TooManyFromIP                   // Config.MaxConnectionsPerIP
	TooFast                         // the connection quota of its address
)

var reasons = [...]string{"", "peer-closed", "peer-reset", "peer-lost", "idle", "slow-frame", "slow-reader",
	"auth-timed-out", "auth-failed", "bad-request", "handler-failed", "closed", "too-many", "too-many-from-ip", "too-fast"}

// String returns the reason as a metric label.
func (r Reason) String() string { return reasons[r] }

// ByPeer reports whether the peer ended the connection: proof that the process
// at its other end let go of it.
func (r Reason) ByPeer() bool { return r == PeerClosed || r == PeerReset }

// Peer is one connection as events see it. ClientID and Principal are those of
// its last request, empty before the first.
type Peer struct {
	Conn      ConnID
	Addr      netip.AddrPort
	Listener  string
	ClientID  string
	Principal protocol.Principal
}

// Served is one answered request as metrics see it.
type Served struct {
	Key           protocol.Key
	Version       int16
	RequestBytes  int // with the length prefix
	ResponseBytes int
	// Waited is from the frame's last byte to the handler, Handled the handler's
	// own time, Wrote the writing of the response.
	Waited, Handled, Wrote time.Duration
	// Remote is the part of Handled for which the handler waited for others, and
	// Parked the part of that for which the request itself wanted to wait.
	Remote, Parked time.Duration
	// Throttled is how long the connection is muted after it, by its quotas.
	Throttled time.Duration
	// Response is what was answered, nil where that was nothing, or a body that was
	// encoded already and came without it. It is not to be kept.
	Response kmsg.Response
}

// Total is the time from the frame's last byte to the response's.
func (s *Served) Total() time.Duration { return s.Waited + s.Handled + s.Wrote }

// Events are hooks; each may be nil. They run on the connection's goroutine, so
// they must be quick and must not call the listener.
type Events struct {
	Opened  func(Peer)
	Closed  func(Peer, Reason)
	Refused func(netip.AddrPort, Reason) // before a connection was opened
	Served  func(Served)
}

// ioReason reads what an error of the socket means; timeout is what our own
// deadline stands for.
func ioReason(err error, timeout Reason) Reason {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return timeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return PeerClosed
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return PeerReset
	}
	return PeerLost
}

// gate lets through at most linesPerSecond log lines that peers cause, so that
// a hostile one cannot fill the log, and counts the rest.
type gate struct {
	mu      sync.Mutex
	second  int64
	passed  int
	dropped int
}

const linesPerSecond = 10

func (g *gate) info(log *slog.Logger, msg string, args ...any) {
	g.mu.Lock()
	if now := time.Now().Unix(); now != g.second {
		g.second, g.passed = now, 0
	}
	g.passed++
	if g.passed > linesPerSecond {
		g.dropped++
		g.mu.Unlock()
		return
	}
	dropped := g.dropped
	g.dropped = 0
	g.mu.Unlock()
	if dropped > 0 {
		args = append(args, "lines_left_out_before", dropped)
	}
	log.Info(msg, args...)
}

package quorum

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"kvorum/listener"
)

// dialTimeout bounds a dial. A refusal takes a round trip; what takes longer is
// silence, and the session ends before long.
const dialTimeout = time.Second

// dialer makes the core's dials. run owns a goroutine for each, which lives for
// at most dialTimeout, and there are at most as many as the core has in flight.
type dialer struct {
	handover[Dial]
	report  func(context.Context, Dialed)
	timeout time.Duration
}

func newDialer(report func(context.Context, Dialed)) *dialer {
	return &dialer{handover: newHandover[Dial](), report: report, timeout: dialTimeout}
}

// run makes dials until ctx ends, and waits for those that it has begun.
func (d *dialer) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	defer close(d.done)
	for {
		select {
		case dials := <-d.steps:
			for _, dial := range dials {
				running.Go(func() { d.report(ctx, d.dial(ctx, dial)) })
			}
		case <-ctx.Done():
			return
		}
	}
}

// dial connects to all addresses at once.
func (d *dialer) dial(ctx context.Context, dial Dial) Dialed {
	ev := Dialed{Broker: dial.Broker, Epoch: dial.Epoch, Number: dial.Number, Answers: make([]DialAnswer, len(dial.Addresses))}
	var all sync.WaitGroup
	for i, address := range dial.Addresses {
		all.Go(func() { ev.Answers[i] = d.knock(ctx, address) })
	}
	all.Wait()
	return ev
}

// knock connects to one address. A host name with several addresses counts as
// refusing only if the first one does; the core dials names only to learn the
// address that answers.
func (d *dialer) knock(ctx context.Context, address string) DialAnswer {
	conn, err := (&net.Dialer{Timeout: d.timeout}).DialContext(ctx, "tcp", address)
	if err != nil {
		return DialAnswer{Refused: errors.Is(err, syscall.ECONNREFUSED)}
	}
	defer conn.Close() // nothing was said
	return DialAnswer{Reached: conn.RemoteAddr().String()}
}

// ConnectionClosed is to be told of every connection that ends on the
// controller's listeners, and why (listener.Events.Closed).
func (c *Controller) ConnectionClosed(peer listener.Peer, why listener.Reason) {
	if _, ok := c.watched.LoadAndDelete(peer.Conn); !ok {
		return
	}
	select {
	case c.events <- queued{event: ConnectionEnded{Connection: uint64(peer.Conn), ByPeer: why.ByPeer()}}:
	case <-c.done:
	}
}

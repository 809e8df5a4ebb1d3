package quorum

import (
	"context"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kvorum/listener"
)

// dialOnce makes one dial and returns its answers.
func dialOnce(t *testing.T, patience time.Duration, addresses ...string) []DialAnswer {
	t.Helper()
	defer goleak.VerifyNone(t)
	answers := make(chan Dialed, 1)
	d := newDialer(func(_ context.Context, ev Dialed) { answers <- ev })
	d.timeout = patience
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); d.run(ctx) }()
	d.ask([]Dial{{Broker: 7, Epoch: 8, Number: 9, Addresses: addresses}})
	ev := <-answers
	cancel()
	<-ended
	d.ask([]Dial{{}}) // nobody makes it any more, and nobody waits
	if ev.Broker != 7 || ev.Epoch != 8 || ev.Number != 9 || len(ev.Answers) != len(addresses) {
		t.Fatalf("%+v", ev)
	}
	return ev.Answers
}

// TestDial: a listener that accepts, one whose process does nothing at all, one that
// is closed, and an address where nobody answers.
func TestDial(t *testing.T) {
	open, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close() // nobody accepts: the kernel does, as for a paused process
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	got := dialOnce(t, 20*time.Second, open.Addr().String(), closed.Addr().String(), "no.such.host.invalid:1")
	if got[0].Reached != open.Addr().String() || got[0].Refused {
		t.Errorf("an open listener: %+v", got[0])
	}
	if got[1].Reached != "" || !got[1].Refused {
		t.Errorf("a closed listener: %+v", got[1])
	}
	if got[2].Reached != "" || got[2].Refused {
		t.Errorf("a name that is none: %+v", got[2])
	}
	if got := dialOnce(t, time.Nanosecond, open.Addr().String()); got[0].Reached != "" || got[0].Refused {
		t.Errorf("no answer in time: %+v", got[0])
	}
}

// TestConnectionClosed: the loop hears of connections over which brokers spoke, once,
// and of no others.
func TestConnectionClosed(t *testing.T) {
	c := &Controller{events: make(chan queued, 4), done: make(chan struct{})}
	c.watched.Store(listener.ConnID(5), struct{}{})
	c.ConnectionClosed(listener.Peer{Conn: 4}, listener.PeerClosed)
	for range 2 {
		c.ConnectionClosed(listener.Peer{Conn: 5}, listener.PeerReset)
	}
	c.watched.Store(listener.ConnID(6), struct{}{})
	c.ConnectionClosed(listener.Peer{Conn: 6}, listener.Idle)
	close(c.events)
	var got []ConnectionEnded
	for q := range c.events {
		got = append(got, q.event.(ConnectionEnded))
	}
	if want := []ConnectionEnded{{5, true}, {6, false}}; len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("heard %+v, want %+v", got, want)
	}
}

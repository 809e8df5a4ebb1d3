package quorum

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol"
)

const (
	// probeDialTimeout and probeTimeout bound what a broker that is silent costs: a
	// connection and a goroutine that wait. Replies do not wait for it longer than
	// the core lets them.
	probeDialTimeout = time.Second
	probeTimeout     = 3 * time.Second
	// maxProbeResponse bounds an answer to ApiVersions; Kafka 4.3.1's has 700 bytes.
	maxProbeResponse = 64 << 10
	// linkIdle is when the connection to a broker is closed that was not probed:
	// before the broker does it (connections.max.idle.ms, ten minutes).
	linkIdle = 5 * time.Minute
)

// prober makes the core's probes. run owns a link for each broker; each link is a
// goroutine with one connection, for which run waits.
type prober struct {
	handover[Probe]
	// end is the end of the committed log, which no broker can have passed.
	end    func() kafka.Offset
	report func(context.Context, Probed)
	// dialTimeout and timeout are the constants above; tests have less patience.
	dialTimeout, timeout time.Duration
}

func newProber(end func() kafka.Offset, report func(context.Context, Probed)) *prober {
	return &prober{handover: newHandover[Probe](), end: end, report: report, dialTimeout: probeDialTimeout, timeout: probeTimeout}
}

// run hands probes to links until ctx ends, and then waits for the links.
func (p *prober) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	defer close(p.done)
	links := map[kafka.BrokerID]*link{}
	idle := time.NewTicker(linkIdle / 10)
	defer idle.Stop()
	for {
		select {
		case probes := <-p.steps:
			for _, probe := range probes {
				l := links[probe.Broker]
				if l == nil || l.epoch != probe.Epoch {
					if l != nil {
						l.stop()
					}
					var within context.Context
					l = &link{epoch: probe.Epoch, mailbox: make(chan Probe, 1)}
					within, l.stop = context.WithCancel(ctx)
					links[probe.Broker] = l
					running.Go(func() { l.run(within, p) })
				}
				l.put(probe)
			}
		case <-idle.C:
			for id, l := range links {
				if time.Since(l.used) > linkIdle {
					l.stop()
					delete(links, id)
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

// link is the way to one incarnation of a broker.
type link struct {
	epoch   kafka.BrokerEpoch
	mailbox chan Probe // the next to be made
	used    time.Time  // when it was given a probe
	stop    context.CancelFunc

	// Owned by the link's goroutine.
	conn  net.Conn // nil if there is none
	to    string   // its address
	id    int32    // the newest correlation id
	frame []byte   // of requests and answers, at most maxProbeResponse
}

// put gives the link a probe. One that was not begun is replaced: it is of a
// time when this controller was active before.
func (l *link) put(p Probe) {
	l.used = time.Now()
	select {
	case <-l.mailbox:
	default:
	}
	l.mailbox <- p
}

func (l *link) run(ctx context.Context, p *prober) {
	defer l.hangUp()
	for {
		select {
		case probe := <-l.mailbox:
			ev := Probed{Broker: probe.Broker, Epoch: probe.Epoch, Leader: probe.Leader}
			applied, err := l.probe(ctx, p, probe.Endpoint)
			if end := p.end(); err == nil && applied >= end {
				err = fmt.Errorf("it says that it has applied offset %d, and the log ends at %d", applied, end)
			}
			if err != nil {
				ev.Problem = err.Error()
			} else {
				ev.Applied = applied
			}
			p.report(ctx, ev)
		case <-ctx.Done():
			return
		}
	}
}

func (l *link) hangUp() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

// probe asks at an endpoint. A connection that is there may have been closed by
// the broker, which is no failure.
func (l *link) probe(ctx context.Context, p *prober, at image.Endpoint) (kafka.Offset, error) {
	address, single := net.JoinHostPort(at.Host, strconv.Itoa(int(at.Port))), at.SecurityProtocol == saslPlaintext
	if l.conn != nil && l.to == address {
		applied, err := l.exchange(ctx, p.timeout, single)
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			return applied, err
		}
	}
	l.hangUp()
	dialer := net.Dialer{Timeout: p.dialTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, fmt.Errorf("listener %s: %w", at.Name, err)
	}
	l.conn, l.to = conn, address
	applied, err := l.exchange(ctx, p.timeout, single)
	if err != nil {
		return 0, fmt.Errorf("listener %s at %s: %w", at.Name, conn.RemoteAddr(), err)
	}
	return applied, nil
}

// exchange makes one ApiVersions exchange. The connection is gone after an
// error. single is for SASL listeners, which answer once before they want a login
// (SaslServerAuthenticator).
func (l *link) exchange(ctx context.Context, timeout time.Duration, single bool) (applied kafka.Offset, err error) {
	conn := l.conn
	unhook := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() {
		unhook()
		if err != nil || single {
			l.hangUp()
		}
	}()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return 0, err
	}
	l.id++
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = probeVersion, "kvorum", "1"
	client := "kvorum-controller"
	l.frame = protocol.AppendRequest(l.frame[:0], l.id, &client, req)
	if _, err := conn.Write(l.frame); err != nil {
		return 0, err
	}
	if l.frame, err = protocol.ReadFrame(conn, maxProbeResponse, l.frame); err != nil {
		return 0, fmt.Errorf("read the answer to ApiVersions: %w", err)
	}
	return readProbe(l.frame, l.id)
}

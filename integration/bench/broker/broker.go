// Package broker is a broker as controllers see it, for benchmarks: it
// registers, heartbeats and fetches the metadata log over real connections, as
// Apache's broker does, and does nothing else. It serves no client and keeps no
// record, so that a benchmark on two cores measures the controllers.
package broker

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
)

const (
	// heartbeatInterval is Kafka's broker.heartbeat.interval.ms; a broker that is
	// not unfenced yet asks sooner.
	heartbeatInterval = 2 * time.Second
	catchUpInterval   = 50 * time.Millisecond
	// retryBackoff is Kafka's controller.quorum.retry.backoff.ms.
	retryBackoff = 20 * time.Millisecond
	// callTimeout is Kafka's controller.quorum.request.timeout.ms.
	callTimeout = 2 * time.Second
	// fetchWait is how long a Fetch waits for records (KafkaRaftClient.MAX_FETCH_WAIT_MS).
	fetchWait = 500 * time.Millisecond
)

// Config says who a broker is and where its controllers are.
type Config struct {
	ID        int32
	ClusterID string
	// Controllers are the addresses of the controllers 1, 2, 3 and so on.
	Controllers []string
	// Address is what the broker registers; nobody listens there.
	Address string
}

// Broker is a running broker. Make it with Start, end it with Close.
type Broker struct {
	cfg         Config
	incarnation kafka.UUID
	directory   kafka.UUID
	offset      atomic.Int64 // the next to be fetched
	unfenced    chan struct{}
	stop        context.CancelFunc
	wait        sync.WaitGroup

	mu  sync.Mutex
	err error // the newest that was no error of a connection
}

// Start starts a broker; Unfenced tells when it is one.
func Start(ctx context.Context, cfg Config) (*Broker, error) {
	b := &Broker{cfg: cfg, unfenced: make(chan struct{})}
	for _, id := range []*kafka.UUID{&b.incarnation, &b.directory} {
		var err error
		if *id, err = kafka.RandomUUID(rand.Reader); err != nil {
			return nil, err
		}
	}
	ctx, b.stop = context.WithCancel(ctx)
	b.wait.Go(func() { b.follow(ctx) })
	b.wait.Go(func() { b.live(ctx) })
	return b, nil
}

// Unfenced is closed when a controller has unfenced the broker.
func (b *Broker) Unfenced() <-chan struct{} { return b.unfenced }

// Err is the newest refusal of a controller, for a benchmark that waits in vain.
func (b *Broker) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Close ends the broker as a crash does and waits for its goroutines.
func (b *Broker) Close() {
	b.stop()
	b.wait.Wait()
}

// refused notes what a controller answered.
func (b *Broker) refused(what string, code int16) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = fmt.Errorf("broker %d: %s: error %d", b.cfg.ID, what, code)
}

// link is a connection to the controller that is believed to be active.
type link struct {
	b    *Broker
	at   int // of Controllers
	conn *Conn
}

// call asks the controller and connects to it first when needed. After an error
// the next call goes to the next controller, after a pause.
func (l *link) call(ctx context.Context, req kmsg.Request, resp kmsg.Response) bool {
	if l.conn == nil {
		var err error
		if l.conn, err = Dial(ctx, l.b.cfg.Controllers[l.at], "bench-broker"); err != nil {
			l.conn = nil
			l.next(ctx)
			return false
		}
	}
	// A Call that waits for the controller ends with the broker.
	conn := l.conn
	stop := context.AfterFunc(ctx, conn.Close)
	err := conn.Call(req, resp, callTimeout)
	stop()
	if err != nil {
		l.next(ctx)
	}
	return err == nil
}

func (l *link) next(ctx context.Context) {
	l.turn((l.at + 1) % len(l.b.cfg.Controllers))
	pause(ctx, retryBackoff)
}

// turn goes to another controller without a pause.
func (l *link) turn(at int) {
	l.close()
	l.at = at
}

func (l *link) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// live registers the broker and heartbeats.
func (b *Broker) live(ctx context.Context) {
	l := &link{b: b}
	defer l.close()
	epoch, unfenced := int64(-1), false
	for ctx.Err() == nil {
		if epoch < 0 {
			epoch = b.register(ctx, l)
			continue
		}
		req, resp := kmsg.NewPtrBrokerHeartbeatRequest(), kmsg.NewPtrBrokerHeartbeatResponse()
		req.Version, req.BrokerID, req.BrokerEpoch = 1, b.cfg.ID, epoch
		req.CurrentMetadataOffset = b.offset.Load() - 1
		switch {
		case !l.call(ctx, req, resp):
			continue
		case resp.ErrorCode != 0:
			b.refused("heartbeat", resp.ErrorCode)
			l.next(ctx)
			continue
		case !resp.IsFenced && !unfenced:
			unfenced = true
			close(b.unfenced)
		}
		if unfenced {
			pause(ctx, heartbeatInterval)
		} else {
			pause(ctx, catchUpInterval)
		}
	}
}

// features are those of the newest brokers, with room above.
var features = []struct {
	name     string
	min, max int16
}{
	{"metadata.version", 7, 100}, {"kraft.version", 0, 10}, {"group.version", 0, 10}, {"transaction.version", 0, 10},
	{"eligible.leader.replicas.version", 0, 10}, {"share.version", 0, 10}, {"streams.version", 0, 10},
}

// register returns the broker's epoch, -1 when it was not given one.
func (b *Broker) register(ctx context.Context, l *link) int64 {
	req, resp := kmsg.NewPtrBrokerRegistrationRequest(), kmsg.NewPtrBrokerRegistrationResponse()
	req.Version, req.BrokerID, req.ClusterID, req.IncarnationID = 4, b.cfg.ID, b.cfg.ClusterID, b.incarnation
	req.LogDirs, req.PreviousBrokerEpoch = [][16]byte{b.directory}, -1
	host, port, _ := net.SplitHostPort(b.cfg.Address)
	number, _ := strconv.ParseUint(port, 10, 16)
	listener := kmsg.NewBrokerRegistrationRequestListener()
	listener.Name, listener.Host, listener.Port = "PLAINTEXT", host, uint16(number)
	req.Listeners = append(req.Listeners, listener)
	for _, f := range features {
		feature := kmsg.NewBrokerRegistrationRequestFeature()
		feature.Name, feature.MinSupportedVersion, feature.MaxSupportedVersion = f.name, f.min, f.max
		req.Features = append(req.Features, feature)
	}
	if !l.call(ctx, req, resp) {
		return -1
	}
	if resp.ErrorCode != 0 {
		b.refused("registration", resp.ErrorCode)
		l.next(ctx)
		return -1
	}
	return resp.BrokerEpoch
}

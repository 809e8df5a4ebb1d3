package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"kvorum/broker/incarnation"
	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/listener"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/replay"
	"kvorum/protocol"
)

const (
	// DefaultShutdownTimeout is how long the controllers may take to give leave
	// (BrokerServer.shutdown waits 5 minutes).
	DefaultShutdownTimeout = 5 * time.Minute
	// drainTime is how long connections may finish what they are at when the broker
	// stops.
	drainTime = 5 * time.Second
	// forwardConnections is how many of the clients' requests are with the active
	// controller at a time.
	forwardConnections = 32
	// forwardPatience is how long a client's request waits for an active controller
	// before it is told that there is none: many times what a failover takes, and less
	// than clients wait for an answer.
	forwardPatience = 10 * time.Second
)

// Config is what a broker is made of.
type Config struct {
	// Node is the configuration; its Broker is not nil.
	Node      *config.Node
	ClusterID string
	// Source is where a combined node's images come from: its own controller. Nil
	// for a broker alone, which fetches the metadata log.
	Source replay.Source
	// Confirmed is closed when the images of Source hold everything that was committed
	// before. It is set where Source is.
	Confirmed <-chan struct{}
	// KRaftVersion is the quorum's kraft.version, which is not in the images. It is
	// set where Source is: a broker alone reads it in the log.
	KRaftVersion func() int16
	// Finder knows the active controller. Nil asks those that Node names.
	Finder Finder
	// Budget bounds the requests in memory; a combined node has one for all its
	// listeners.
	Budget *listener.Budget
	// Events are told what the listeners serve.
	Events listener.Events
	// Listen binds; nil is TCP.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	// ShutdownTimeout bounds the controlled shutdown; 0 is DefaultShutdownTimeout.
	ShutdownTimeout time.Duration
	// Ready is called once, when the broker serves its clients; may be nil.
	Ready  func()
	Logger *slog.Logger
}

// Broker is one broker. Make it with New, run it once with Run.
type Broker struct {
	cfg       Config
	logger    *slog.Logger
	source    replay.Source
	finder    Finder
	registrar *registrar
	publisher *publisher
	fetcher   *fetcher // nil in a combined node
	// heartbeats has a connection of its own, so that nothing is in its way;
	// requests are the broker's other ones, forwarding those of its clients.
	heartbeats, requests, forwarding *Client

	services
	// begun is as whom this broker starts, and memories where that is kept; waits is why
	// it waits for a controller instead of serving alone.
	begun    incarnation.Start
	memories *memories
	waits    atomic.Pointer[string]
	// failed takes the first reason why the broker cannot go on.
	failed    chan error
	listeners []*listener.Listener
}

// New takes the ports of a broker; nothing is served and nobody is told before
// Run. The caller must Run it, or its sockets stay open.
func New(ctx context.Context, cfg Config) (*Broker, error) {
	if cfg.Node.Broker == nil {
		panic("broker: New for a node without the role of a broker")
	}
	if cfg.ShutdownTimeout == 0 {
		cfg.ShutdownTimeout = DefaultShutdownTimeout
	}
	b := &Broker{cfg: cfg, logger: cfg.Logger.With("component", "broker"), source: cfg.Source, finder: cfg.Finder, failed: make(chan error, 1)}
	if b.finder == nil {
		b.finder = newControllers(&cfg)
	}
	if b.source == nil {
		if err := b.openFetcher(); err != nil {
			return nil, err
		}
	}
	clientID := fmt.Sprint(cfg.Node.ID)
	attempt := cfg.Node.Broker.RequestTimeout
	b.heartbeats, b.requests = NewClient(b.finder, clientID, 1, attempt), NewClient(b.finder, clientID, 8, attempt)
	b.forwarding = NewClient(b.finder, clientID, forwardConnections, attempt)
	b.forwarding.patience = forwardPatience
	b.publisher = newPublisher(b)
	err := b.openServices()
	if err == nil {
		err = b.remember()
	}
	if err == nil {
		err = b.introduce(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, b.closeAll(ctx))
	}
	return b, nil
}

// introduce takes the ports and makes the registration of this run.
func (b *Broker) introduce(ctx context.Context) error {
	if err := b.bind(ctx); err != nil {
		return err
	}
	endpoints, err := b.endpoints()
	if err != nil {
		return err
	}
	cfg := &b.cfg
	registration := newRegistration(cfg, b.begun.ID, endpoints, sorted(b.dirs.Online()), b.begun.Previous)
	own := cfg.Node.Broker
	directory := own.DirectoryFailureTimeout.Milliseconds()
	if own.ServeWithoutQuorum {
		directory = 0 // its other partitions go on; a controller hears of it when there is one
	}
	b.registrar = newRegistrar(lifecycleConfig{
		intervalMs: own.HeartbeatInterval.Milliseconds(), registrationMs: own.RegistrationTimeout.Milliseconds(),
		controlledShutdown: own.ControlledShutdown, shutdownMs: cfg.ShutdownTimeout.Milliseconds(), directoryMs: directory, patient: own.ServeWithoutQuorum,
	}, b.heartbeats, registration, own.SessionTimeout/2, b.logger)
	b.registrar.memories = b.memories
	return nil
}

// openFetcher makes this broker follow the metadata log by itself. What the
// fetcher hears of the leader helps the broker's other requests to find it.
func (b *Broker) openFetcher() error {
	learned := func(Leader) {}
	if c, ok := b.finder.(*Controllers); ok {
		learned = c.Learned
	}
	var err error
	if b.fetcher, err = openFetcher(&b.cfg, learned, b.logger); err != nil {
		return err
	}
	b.source = b.fetcher.loader
	return nil
}

// newControllers asks the controllers that server.properties names.
func newControllers(cfg *Config) *Controllers {
	voters := make(map[kafka.NodeID]string)
	var addresses []string
	for _, e := range cfg.Node.BootstrapServers {
		addresses = append(addresses, e.String())
	}
	for _, v := range cfg.Node.Voters {
		voters[v.ID] = v.Endpoint.String()
		if len(cfg.Node.BootstrapServers) == 0 {
			addresses = append(addresses, v.Endpoint.String())
		}
	}
	return NewControllers(cfg.ClusterID, fmt.Sprint(cfg.Node.ID), addresses, voters)
}

// bind takes the ports of all listeners.
func (b *Broker) bind(ctx context.Context) error {
	connections := b.cfg.Node.Connections
	audit := listener.NewAudit(b.logger, b.cfg.Node.Authorizer)
	for _, l := range b.cfg.Node.Broker.Listeners {
		kind := protocol.Broker
		if l.Name == b.cfg.Node.Broker.InterBroker {
			kind |= protocol.InterBroker
		}
		bound, err := listener.New(ctx, listener.Config{
			Name: l.Name, Addr: l.Bind.String(), Handlers: b.handlers.Bind(kind), Features: b.Features, Budget: b.cfg.Budget, Quotas: b.quotas, Listen: b.cfg.Listen,
			IdleTimeout: max(0, connections.MaxIdle), Events: b.cfg.Events, SlowRequest: b.cfg.Node.SlowRequest, Audit: audit, Log: b.logger,
		})
		if err != nil {
			return fmt.Errorf("listen on %s for %s: %w", l.Bind, l.Name, err)
		}
		bound.SetLimits(b.limits(b.layers.Load(), l.Name)) // by the file, until the first image comes
		b.listeners = append(b.listeners, bound)
	}
	return nil
}

func (b *Broker) closeListeners(ctx context.Context) error {
	drain, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer stop()
	var group errgroup.Group
	for _, l := range b.listeners {
		group.Go(func() error { return l.Close(drain) })
	}
	if err := group.Wait(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil // those that did not end in time were cut off
}

// Addr is the bound address of a listener, nil if there is none of that name.
func (b *Broker) Addr(name string) net.Addr {
	for i, l := range b.cfg.Node.Broker.Listeners {
		if l.Name == name {
			return b.listeners[i].Addr()
		}
	}
	return nil
}

// endpoints are what the broker registers.
func (b *Broker) endpoints() ([]image.Endpoint, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("find this machine's host name: %w: set advertised.listeners", err)
	}
	return advertised(b.cfg.Node.Broker, host, func(name string) uint16 {
		if tcp, ok := b.Addr(name).(*net.TCPAddr); ok {
			return uint16(tcp.Port)
		}
		return 0
	}), nil
}

// State is where the broker stands in its life.
func (b *Broker) State() State { return b.registrar.State() }

// Features is what ApiVersions says: the levels of the image that every publisher
// has acted on, by whose offset the controllers know what this broker has applied.
func (b *Broker) Features() protocol.Features {
	f := protocol.Features{Epoch: int64(kafka.NoOffset)}
	for _, s := range image.SupportedFeatures() {
		f.Supported = append(f.Supported, protocol.SupportedFeature{Name: s.Name, Min: s.MinSupportedVersion, Max: s.MaxSupportedVersion})
	}
	im := b.publisher.image.Load()
	for name, level := range im.Features() {
		f.Finalized = append(f.Finalized, protocol.FinalizedFeature{Name: name, Level: level})
	}
	if level := b.kraftVersion(); level > 0 {
		f.Finalized = append(f.Finalized, protocol.FinalizedFeature{Name: image.FeatureKRaftVersion, Level: level})
	}
	f.Epoch = int64(im.At().Offset)
	return f
}

// kraftVersion is the quorum's kraft.version, 0 until it is known.
func (b *Broker) kraftVersion() int16 {
	if b.fetcher != nil {
		return b.fetcher.kraftVersion()
	}
	return b.cfg.KRaftVersion()
}

// Run runs the broker until ctx ends; then it asks the controllers for leave,
// finishes what its clients have asked for and stops. The error says why it could
// not start or go on.
func (b *Broker) Run(ctx context.Context) error {
	work, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	group, work := errgroup.WithContext(work)
	stopServices := b.runServices(context.WithoutCancel(ctx))
	if b.fetcher != nil {
		group.Go(func() error { return b.fetcher.run(work) })
	}
	group.Go(func() error { return b.confirm(work) })
	group.Go(func() error {
		err := b.registrar.run(work)
		abandon() // it ends when the broker may stop
		return err
	})
	group.Go(func() error {
		if err := b.start(ctx, work); err != nil && ctx.Err() == nil && work.Err() == nil {
			return err
		}
		return nil
	})
	group.Go(func() error {
		select {
		case <-ctx.Done():
			b.registrar.tell(stopWanted{})
		case err := <-b.failed:
			return err
		case <-work.Done():
		}
		return nil
	})
	err := group.Wait()
	return errors.Join(err, b.stop(ctx, stopServices))
}

// fail ends Run with err.
func (b *Broker) fail(err error) {
	select {
	case b.failed <- err:
	default: // the first reason is enough
	}
}

// start takes the broker to where it serves. ctx ends when it is to stop, work
// when it has to.
func (b *Broker) start(ctx, work context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(work, cancel)()
	defer cancel()
	ctx, timely := context.WithTimeoutCause(ctx, b.cfg.Node.Broker.StartupTimeout, errSlowStart)
	defer timely()
	if err := b.arrive(ctx); err != nil {
		if context.Cause(ctx) == errSlowStart {
			return fmt.Errorf("%w=%d: state %s: %w", errSlowStart, b.cfg.Node.Broker.StartupTimeout.Milliseconds(), b.State(), err)
		}
		return err
	}
	for _, l := range b.listeners {
		l.Serve(work)
	}
	if b.cfg.Ready != nil {
		b.cfg.Ready()
	}
	return nil
}

// errSlowStart ends a broker that took too long to come to where it serves.
var errSlowStart = errors.New("the start took longer than server.max.startup.time.ms")

// arrive follows the metadata log until the broker is one that may lead: by the word
// of the controllers, or by its own where there are none and it may.
func (b *Broker) arrive(ctx context.Context) error {
	alone := b.alone(ctx)
	if alone {
		b.replicas.Distrust()
	} else if err := b.waitConfirmed(ctx); err != nil {
		return err
	}
	if err := b.source.AddPublisher(ctx, b.publisher); err != nil {
		if b.fetcher != nil && errors.Is(err, replay.ErrStopped) {
			<-ctx.Done() // the loader's own error ends the broker: it says why
			return ctx.Err()
		}
		return fmt.Errorf("follow the metadata log: %w", err)
	}
	b.registrar.tell(becameReady{alone: alone})
	if err := b.registrar.wait(ctx, Running); err != nil {
		return err
	}
	if alone {
		b.logger.Warn("no controller can be reached: the broker serves from its own copy of the metadata log", "offset", b.publisher.image.Load().At().Offset)
		return nil
	}
	return b.publisher.waitUnfenced(ctx)
}

// confirm waits for the controllers to confirm the image by which the broker serves
// alone.
func (b *Broker) confirm(ctx context.Context) error {
	if b.waitConfirmed(ctx) == nil {
		b.publisher.confirm()
	}
	return nil
}

// waitConfirmed waits until the images hold what was committed before.
func (b *Broker) waitConfirmed(ctx context.Context) error {
	select {
	case <-b.confirmed():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Broker) confirmed() <-chan struct{} {
	if b.fetcher != nil {
		return b.fetcher.caughtUp
	}
	return b.cfg.Confirmed
}

// stop ends everything in the order of its use.
func (b *Broker) stop(ctx context.Context, stopServices func()) error {
	err := b.closeListeners(ctx)
	if b.fetcher == nil { // else its loader has ended
		if stopped := b.source.RemovePublisher(context.WithoutCancel(ctx), b.publisher); !errors.Is(stopped, replay.ErrStopped) {
			err = errors.Join(err, stopped)
		}
	}
	b.groups.Close()
	stopServices()
	return errors.Join(err, b.closeAll(ctx))
}

// closeAll closes what New opened; closing twice does nothing.
func (b *Broker) closeAll(ctx context.Context) error {
	err := b.closeListeners(ctx)
	for _, c := range []*Client{b.heartbeats, b.requests, b.forwarding} {
		c.Close()
	}
	if b.fetcher != nil {
		err = errors.Join(err, b.fetcher.close())
	}
	return errors.Join(err, b.closeDirs())
}

// Package server runs one node of a cluster in this process: a controller, a broker,
// or both, made of a server.properties. It wires the rooms together for the
// command line and for tests that want a whole node; no other package knows both
// quorum and broker.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"kvorum/broker"
	"kvorum/config"
	"kvorum/listener"
	"kvorum/listener/meter"
	"kvorum/metadatalog/nodedir"
	"kvorum/quorum"
)

// Options say how a node is run.
type Options struct {
	Logger *slog.Logger
	// Ready is called once, when the node serves: a broker its clients, a controller
	// alone its brokers. It may be nil.
	Ready func(Serving)
	// ShutdownTimeout bounds a broker's controlled shutdown; 0 is Kafka's 5 minutes.
	ShutdownTimeout time.Duration
}

// Serving is where a node serves.
type Serving struct {
	ClusterID string
	// Client is the address of the broker's first listener, nil on a controller
	// alone.
	Client net.Addr
	// HTTP is the address of kvorum.metrics.listener, nil where there is none.
	HTTP net.Addr
}

// Run runs the node until ctx ends. Its directories must have been formatted.
func Run(ctx context.Context, cfg *config.Node, o Options) error {
	meta, err := checkDirectories(cfg)
	if err != nil {
		return err
	}
	bytes := int64(listener.DefaultBudget)
	if cfg.Connections.MaxQueuedRequestBytes >= 0 {
		bytes = cfg.Connections.MaxQueuedRequestBytes
	}
	n := &running{cfg: cfg, options: o, meta: meta, budget: listener.NewBudget(bytes), meter: meter.New()}
	if n.http, err = bindHTTP(ctx, cfg.MetricsListener); err != nil {
		return err
	}
	if n.http != nil {
		defer func() { _ = n.http.Close() }() // where nothing came to serve it
	}
	switch {
	case cfg.Broker == nil:
		return n.runController(ctx)
	case !cfg.Controller:
		return n.runBroker(ctx)
	}
	return n.runCombined(ctx)
}

type running struct {
	cfg     *config.Node
	options Options
	meta    *nodedir.MetaProperties
	budget  *listener.Budget
	meter   *meter.Meter
	http    net.Listener // nil: there is no HTTP port
}

func (n *running) ready(b *broker.Broker) {
	if n.options.Ready == nil {
		return
	}
	s := Serving{ClusterID: n.meta.ClusterID}
	if b != nil {
		s.Client = b.Addr(n.cfg.Broker.Listeners[0].Name)
	}
	if n.http != nil {
		s.HTTP = n.http.Addr()
	}
	n.options.Ready(s)
}

func (n *running) runController(ctx context.Context) error {
	c, err := openController(ctx, n.cfg, n.options.Logger)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.run(ctx, n, func() { n.ready(nil) }) })
	group.Go(func() error { return n.serveHTTP(ctx, c.observed()) })
	return errors.Join(group.Wait(), c.close())
}

func (n *running) runBroker(ctx context.Context) error {
	b, err := n.newBroker(ctx, nil)
	if err != nil {
		return err
	}
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	group, watch := errgroup.WithContext(watch)
	group.Go(func() error { return n.serveHTTP(watch, observed{broker: b}) })
	group.Go(func() error {
		defer stop() // the port is open until the broker has gone
		run, cancel := context.WithCancel(ctx)
		defer context.AfterFunc(watch, cancel)() // the port has failed
		defer cancel()
		return b.Run(run)
	})
	return group.Wait()
}

// runCombined runs both roles. The controller ends after the broker, which asks
// it for leave to stop.
func (n *running) runCombined(ctx context.Context) error {
	c, err := openController(ctx, n.cfg, n.options.Logger)
	if err != nil {
		return err
	}
	source := quorum.NewSource(c.ctl, n.cfg.Broker.ServeWithoutQuorum)
	b, err := n.newBroker(ctx, &inProcess{ctl: c.ctl, source: source})
	if err != nil {
		return errors.Join(err, c.close())
	}
	work, stopController := context.WithCancel(context.WithoutCancel(ctx))
	defer stopController()
	group, work := errgroup.WithContext(work)
	group.Go(func() error { return c.run(work, n, nil) })
	group.Go(func() error { return source.Run(work) })
	group.Go(func() error {
		defer stopController()
		stop, cancel := context.WithCancel(ctx)
		defer context.AfterFunc(work, cancel)() // the controller has failed
		defer cancel()
		return b.Run(stop)
	})
	group.Go(func() error {
		return n.serveHTTP(work, observed{controller: c.ctl, raft: c.log.WriteMetrics, broker: b})
	})
	return errors.Join(group.Wait(), c.close())
}

// newBroker makes the broker; in is nil where it stands alone.
func (n *running) newBroker(ctx context.Context, in *inProcess) (*broker.Broker, error) {
	var b *broker.Broker
	cfg := broker.Config{
		Node: n.cfg, ClusterID: n.meta.ClusterID, Budget: n.budget, Events: n.meter.Events(), Logger: n.options.Logger,
		ShutdownTimeout: n.options.ShutdownTimeout, Ready: func() { n.ready(b) },
	}
	if in != nil {
		cfg.Source, cfg.Confirmed, cfg.Finder, cfg.KRaftVersion = in.source, in.source.Confirmed(), in, in.ctl.KRaftVersion
	}
	var err error
	b, err = broker.New(ctx, cfg)
	return b, err
}

// inProcess tells a broker of the controller in the same process.
type inProcess struct {
	ctl    *quorum.Controller
	source *quorum.Source
}

// Leader implements broker.Finder: raft tells the controller who leads.
func (p *inProcess) Leader(ctx context.Context) (broker.Leader, error) {
	id, epoch, address, err := p.ctl.WaitLeader(ctx)
	return broker.Leader{ID: id, Epoch: epoch, Address: address}, err
}

// Stale implements broker.Finder: what raft says changes by itself.
func (p *inProcess) Stale(broker.Leader) {}

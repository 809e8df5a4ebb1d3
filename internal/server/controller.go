package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/listener"
	"kvorum/metadatalog"
	"kvorum/metadatalog/nodedir"
	"kvorum/metadatalog/record"
	"kvorum/migration/run"
	"kvorum/quorum"
	"kvorum/quorum/raft"
)

// drainTime is how long connections may finish what they are at when the
// process is told to stop.
const drainTime = 5 * time.Second

// controllerPart is a node's controller: opened, and not running yet.
type controllerPart struct {
	node    *config.Node
	logger  *slog.Logger
	sockets sockets
	store   *metadatalog.Store
	log     *raft.Host
	ctl     *quorum.Controller
	audit   *listener.Audit
	// migration is nil unless the cluster leaves ZooKeeper.
	migration *run.Runner
}

// openController opens the metadata store and starts raft. close ends both.
func openController(ctx context.Context, node *config.Node, logger *slog.Logger) (_ *controllerPart, err error) {
	identity, meta, err := ReadController(node)
	if err != nil {
		return nil, err
	}
	raftConfig, err := RaftConfig(node, meta, identity, logger)
	if err != nil {
		return nil, err
	}
	c := &controllerPart{node: node, logger: logger}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.sockets, err = bindSockets(ctx, node.Listeners); err != nil {
		return nil, err
	}
	if c.store, err = metadatalog.Open(filepath.Join(raftConfig.Dir, nodedir.StoreDir), metadatalog.Options{Log: logger}); err != nil {
		return nil, err
	}
	log, err := raft.New(raftConfig, c.store)
	if err != nil {
		return nil, err
	}
	if err := log.Start(ctx); err != nil {
		return nil, err
	}
	c.log = log
	cfg, err := controllerConfigOf(node, meta, identity, c.log, c.sockets, logger)
	if err != nil {
		return nil, err
	}
	c.audit = cfg.Audit
	if node.Migration != nil {
		c.migration, err = openMigration(node.Migration, meta, func(ctx context.Context, e kafka.LeaderEpoch, batch []record.Message) (kafka.Offset, error) {
			return c.ctl.Append(ctx, e, batch)
		}, logger)
		if err != nil {
			return nil, err
		}
		cfg.Migration = toRunner{c.migration}
	}
	cfg.Own = migrationAnswers(meta.NodeID, c.migration)
	if c.ctl, err = quorum.New(cfg); err != nil {
		return nil, err
	}
	return c, nil
}

// close ends what openController began, as far as it came; nothing of it may run
// any more.
func (c *controllerPart) close() error {
	if c.migration != nil {
		c.migration.Close()
	}
	if c.log != nil {
		c.log.Close()
	}
	var err error
	if c.store != nil {
		err = c.store.Close()
	}
	return errors.Join(err, c.sockets.close())
}

// observed is what the HTTP port shows of the controller.
func (c *controllerPart) observed() observed {
	o := observed{controller: c.ctl, raft: c.log.WriteMetrics}
	if c.migration != nil {
		o.migration = migrationCollector{c.migration.Status}
	}
	return o
}

// run runs the controller until ctx ends. ready is called when its listeners
// accept; it may be nil.
func (c *controllerPart) run(ctx context.Context, n *running, ready func()) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.ctl.Run(ctx) })
	group.Go(func() error { return c.serve(ctx, n, ready) })
	return group.Wait()
}

// events are the meter's, and the controller hears of connections that end.
func (c *controllerPart) events(n *running) listener.Events {
	events := n.meter.Events()
	counted := events.Closed
	events.Closed = func(p listener.Peer, why listener.Reason) {
		counted(p, why)
		c.ctl.ConnectionClosed(p, why)
	}
	return events
}

// serve serves the controller listeners until ctx ends.
func (c *controllerPart) serve(ctx context.Context, n *running, ready func()) error {
	handlers := c.ctl.Handlers()
	group, ctx := errgroup.WithContext(ctx)
	most := listener.MostConnections(vfs.DescriptorLimit(), len(c.node.Listeners))
	for _, l := range c.node.Listeners {
		cfg := listener.Config{
			Name: l.Name, Addr: l.Bind.String(), Handlers: handlers, Features: c.ctl.Features, Budget: n.budget, Listen: c.sockets.take(l.Name),
			MaxConnections:      min(c.node.Connections.Max, most),
			MaxConnectionsPerIP: min(c.node.Connections.MaxPerIP, most),
			PerIP:               c.node.Connections.PerIP, MaxConnectionRate: c.node.Connections.Rate,
			IdleTimeout: max(0, c.node.Connections.MaxIdle), Events: c.events(n), SlowRequest: c.node.SlowRequest, Audit: c.audit, Log: c.logger,
		}
		accepting, err := listener.New(ctx, cfg)
		if err != nil {
			return fmt.Errorf("listen on %s for %s: %w", l.Bind, l.Name, err)
		}
		accepting.Serve(ctx)
		group.Go(func() error {
			<-ctx.Done()
			drain, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
			defer stop()
			return accepting.Close(drain)
		})
	}
	if ready != nil {
		ready()
	}
	return group.Wait()
}

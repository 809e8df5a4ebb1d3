package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/listener"
	"kvorum/metadatalog"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/nodedir"
	"kvorum/quorum"
	"kvorum/quorum/controller"
	"kvorum/quorum/raft"
)

// drainTime is how long connections may finish what they are at when the
// process is told to stop.
const drainTime = 5 * time.Second

// runController runs one controller until ctx ends. ready is called once, when
// its listeners accept.
func runController(ctx context.Context, node *config.Node, logger *slog.Logger, ready func()) (err error) {
	identity, meta, err := checkDirectories(node)
	if err != nil {
		return err
	}
	raftConfig, err := raftConfigOf(node, meta, identity, logger)
	if err != nil {
		return err
	}
	store, err := metadatalog.Open(filepath.Join(raftConfig.Dir, nodedir.StoreDir), metadatalog.Options{Log: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	log, err := raft.New(raftConfig, store)
	if err != nil {
		return err
	}
	if err := log.Start(ctx); err != nil {
		return err
	}
	defer log.Close()
	cfg, err := controllerConfigOf(node, meta, identity, log, logger)
	if err != nil {
		return err
	}
	ctl, err := quorum.New(cfg)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return ctl.Run(ctx) })
	group.Go(func() error { return serveListeners(ctx, node, ctl, logger, ready) })
	if node.MetricsListener != nil {
		group.Go(func() error { return serveMetrics(ctx, node.MetricsListener.String(), ctl, log) })
	}
	return group.Wait()
}

// checkDirectories refuses a directory that is not this node's before anything
// in it is opened.
func checkDirectories(node *config.Node) (*nodedir.Identity, *nodedir.MetaProperties, error) {
	meta, err := nodedir.ReadMeta(node.MetadataLogDir)
	if err != nil {
		return nil, nil, err
	}
	for _, dir := range node.LogDirs {
		m, err := nodedir.ReadMeta(dir)
		if err != nil {
			return nil, nil, err
		}
		if m.ClusterID != meta.ClusterID || m.NodeID != meta.NodeID {
			return nil, nil, fmt.Errorf("%s belongs to node %d of cluster %s and %s to node %d of cluster %s: use directories of one node",
				dir, m.NodeID, m.ClusterID, node.MetadataLogDir, meta.NodeID, meta.ClusterID)
		}
	}
	if meta.NodeID != node.ID {
		return nil, nil, fmt.Errorf("%s belongs to node %d, but node.id is %d: use this node's own directory", node.MetadataLogDir, meta.NodeID, node.ID)
	}
	identity, err := nodedir.ReadIdentity(filepath.Join(node.MetadataLogDir, nodedir.MetadataDir))
	return identity, meta, err
}

func raftConfigOf(node *config.Node, meta *nodedir.MetaProperties, identity *nodedir.Identity, logger *slog.Logger) (raft.Config, error) {
	cfg := raft.Config{
		ClusterID: meta.ClusterID, NodeID: meta.NodeID, DirectoryID: meta.DirectoryID, Instance: identity.Instance,
		Dir:           filepath.Join(node.MetadataLogDir, nodedir.MetadataDir),
		ListenAddress: "127.0.0.1:0",
		EpochBase:     identity.EpochBase,
		Timing:        raft.Timing{RTT: node.Raft.RTT, Election: uint64(node.Raft.ElectionTicks), Heartbeat: uint64(node.Raft.HeartbeatTicks)},
		Logger:        logger,
	}
	if node.Raft.Listener != nil {
		cfg.ListenAddress = node.Raft.Listener.String()
	}
	addresses := map[kafka.NodeID]string{}
	for _, v := range node.Raft.Voters {
		addresses[v.ID] = v.Endpoint.String()
	}
	for _, v := range identity.Voters {
		address := addresses[v.ID]
		switch {
		case v.ID == meta.NodeID && v.DirectoryID != meta.DirectoryID:
			return cfg, fmt.Errorf("%s has directory id %s, but was formatted for a quorum that knows controller %d by %s", node.MetadataLogDir, meta.DirectoryID, v.ID, v.DirectoryID)
		case address == "" && len(identity.Voters) == 1:
			address = cfg.ListenAddress
		case address == "":
			return cfg, fmt.Errorf("kvorum.raft.voters does not say where controller %d takes raft messages", v.ID)
		}
		cfg.Peers = append(cfg.Peers, raft.Peer{NodeID: v.ID, DirectoryID: v.DirectoryID, RaftAddress: address})
	}
	if node.Raft.TLS() {
		var err error
		if cfg.TLS, err = loadRaftTLS(node.Raft.CertificateFile, node.Raft.KeyFile, node.Raft.CAFile); err != nil {
			return cfg, err
		}
	}
	return cfg, nil
}

func controllerConfigOf(node *config.Node, meta *nodedir.MetaProperties, identity *nodedir.Identity, log raft.Log, logger *slog.Logger) (quorum.ControllerConfig, error) {
	var cfg quorum.ControllerConfig
	bootstrap, err := identity.BootstrapRecords()
	if err != nil {
		return cfg, fmt.Errorf("%s: %w", node.MetadataLogDir, err)
	}
	incarnation, err := kafka.RandomUUID(rand.Reader)
	if err != nil {
		return cfg, err
	}
	var seed [2]uint64
	for i := range seed {
		u, err := kafka.RandomUUID(rand.Reader)
		if err != nil {
			return cfg, err
		}
		for _, b := range u {
			seed[i] = seed[i]<<8 ^ seed[i]>>56 ^ uint64(b)
		}
	}
	endpoints, err := endpointsOf(node)
	if err != nil {
		return cfg, err
	}
	core := quorum.Config{
		Self: meta.NodeID, DirectoryID: meta.DirectoryID, Incarnation: incarnation, Endpoints: endpoints,
		Voters: identity.KRaftVoters(), Bootstrap: bootstrap,
		Settings:          settingsOf(node, meta, identity),
		MaxIdleMs:         node.Metadata.MaxIdleInterval.Milliseconds(),
		PropagationWaitMs: node.Cluster.PropagationMaxWait.Milliseconds(),
		UncleanIntervalMs: node.Cluster.UncleanLeaderElectionInterval.Milliseconds(),
		MaxParked:         node.Cluster.MaxInflight,
		Seed:              seed,
	}
	if node.Cluster.AutoLeaderRebalance {
		core.BalanceIntervalMs = node.Cluster.LeaderImbalanceCheckInterval.Milliseconds()
	}
	cfg = quorum.ControllerConfig{
		Core: core, ClusterID: meta.ClusterID, Log: log,
		SnapshotDir: filepath.Join(node.MetadataLogDir, nodedir.MetadataDir),
		Snapshots: quorum.SnapshotConfig{
			Bytes: node.Metadata.SnapshotBytes, Interval: node.Metadata.SnapshotInterval,
			RetentionBytes: node.Metadata.RetentionBytes, Retention: node.Metadata.Retention,
		},
		Logger: logger.With("component", "quorum"),
	}
	if node.Authorizer {
		cfg.Authorize = newAuthorizer(node)
	}
	return cfg, nil
}

func settingsOf(node *config.Node, meta *nodedir.MetaProperties, identity *nodedir.Identity) controller.Settings {
	s := controller.Settings{
		ClusterID: meta.ClusterID, NodeID: meta.NodeID,
		SessionTimeoutMs:         node.Cluster.BrokerSessionTimeout.Milliseconds(),
		NumPartitions:            node.Cluster.NumPartitions,
		DefaultReplicationFactor: node.Cluster.DefaultReplicationFactor,
		DeleteTopicEnable:        node.Cluster.DeleteTopicEnable,
		AuthorizerConfigured:     node.Authorizer,
		DelegationTokenMaxMs:     node.Tokens.MaxLifetime.Milliseconds(),
		DelegationTokenExpiryMs:  node.Tokens.Expiry.Milliseconds(),
		Static:                   node.Static,
		ControllerFeatures:       image.SupportedFeatures(),
	}
	if node.Tokens.Secret != "" {
		s.DelegationTokenSecret = []byte(node.Tokens.Secret)
	}
	for _, v := range identity.Voters {
		s.VoterIDs = append(s.VoterIDs, v.ID)
	}
	return s
}

func endpointsOf(node *config.Node) ([]image.Endpoint, error) {
	var out []image.Endpoint
	for _, l := range node.Listeners {
		host, err := advertisedHost(l)
		if err != nil {
			return nil, err
		}
		out = append(out, image.Endpoint{Name: l.Name, Host: host, Port: l.Advertised.Port})
	}
	return out, nil
}

// serveListeners serves the controller listeners until ctx ends.
func serveListeners(ctx context.Context, node *config.Node, ctl *quorum.Controller, logger *slog.Logger, ready func()) error {
	bytes := int64(listener.DefaultBudget)
	if node.Connections.MaxQueuedRequestBytes >= 0 {
		bytes = node.Connections.MaxQueuedRequestBytes
	}
	budget := listener.NewBudget(bytes)
	handlers := ctl.Handlers()
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range node.Listeners {
		cfg := listener.Config{
			Name: l.Name, Addr: l.Bind.String(), Handlers: handlers, Features: ctl.Features, Budget: budget,
			MaxConnections: min(node.Connections.Max, listener.DefaultMaxConnections), MaxConnectionsPerIP: min(node.Connections.MaxPerIP, listener.DefaultMaxConnections),
			IdleTimeout: max(0, node.Connections.MaxIdle), Log: logger,
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

// serveMetrics serves /metrics, /health and /ready until ctx ends.
func serveMetrics(ctx context.Context, address string, ctl *quorum.Controller, log raft.Log) error {
	socket, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen on kvorum.metrics.listener %s: %w", address, err)
	}
	server := &http.Server{Handler: ctl.MetricsHandler(log.WriteMetrics), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(socket); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve metrics: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	return group.Wait()
}

// loadRaftTLS reads the certificates of the raft port: both sides show one of
// the controllers' own authority.
func loadRaftTLS(certificateFile, keyFile, caFile string) (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(certificateFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("load kvorum.raft.tls.certificate.file and key.file: %w", err)
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("load kvorum.raft.tls.ca.file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("load kvorum.raft.tls.ca.file: %s holds no certificate", caFile)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{certificate}, RootCAs: pool, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}, nil
}

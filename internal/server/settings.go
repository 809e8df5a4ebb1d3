package server

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/listener"
	"kvorum/listener/quota"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/nodedir"
	"kvorum/quorum"
	"kvorum/quorum/controller"
	"kvorum/quorum/raft"
)

// RaftConfig is how a controller of this configuration takes part in raft.
func RaftConfig(node *config.Node, meta *nodedir.MetaProperties, identity *nodedir.Identity, logger *slog.Logger) (raft.Config, error) {
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

func controllerConfigOf(node *config.Node, meta *nodedir.MetaProperties, identity *nodedir.Identity, log raft.Log, sockets sockets, logger *slog.Logger) (quorum.ControllerConfig, error) {
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
	endpoints, err := endpointsOf(node, sockets)
	if err != nil {
		return cfg, err
	}
	core := quorum.Config{
		Self: meta.NodeID, DirectoryID: meta.DirectoryID, Incarnation: incarnation, Endpoints: endpoints,
		Voters: identity.KRaftVoters(), Bootstrap: bootstrap,
		Settings:          settingsOf(node, meta, identity),
		MaxIdleMs:         node.Metadata.MaxIdleInterval.Milliseconds(),
		PropagationWaitMs: node.Cluster.PropagationMaxWait.Milliseconds(), InterBrokerListener: node.InterBrokerListener,
		UncleanIntervalMs: node.Cluster.UncleanLeaderElectionInterval.Milliseconds(),
		MaxParked:         node.Cluster.MaxInflight,
		MutationWindow:    quota.Window(node.MutationQuotas),
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
		Audit:  listener.NewAudit(logger.With("component", "quorum"), node.Authorizer),
		Logger: logger.With("component", "quorum"),
	}
	if node.Authorizer {
		cfg.Authorize = newAuthorizer(node)
	}
	return cfg, nil
}

func settingsOf(node *config.Node, meta *nodedir.MetaProperties, identity *nodedir.Identity) controller.Settings {
	s := controller.Settings{
		ClusterID: meta.ClusterID, NodeID: meta.NodeID, Combined: node.Broker != nil,
		SessionTimeoutMs:         node.Cluster.BrokerSessionTimeout.Milliseconds(),
		FenceOnDeath:             node.Cluster.FenceOnDeath,
		NumPartitions:            node.Cluster.NumPartitions,
		DefaultReplicationFactor: node.Cluster.DefaultReplicationFactor,
		DeleteTopicEnable:        node.Cluster.DeleteTopicEnable,
		ZooKeeperMigration:       node.Migration != nil,
		AuthorizerConfigured:     node.Authorizer,
		DelegationTokenMaxMs:     node.Tokens.MaxLifetime.Milliseconds(),
		DelegationTokenExpiryMs:  node.Tokens.Expiry.Milliseconds(),
		Static:                   node.Static,
		ControllerFeatures:       image.SupportedFeatures(),
	}
	if node.Migration != nil {
		s.InterBrokerListener = node.Migration.Listener
	}
	if node.Tokens.Secret != "" {
		s.DelegationTokenSecret = []byte(node.Tokens.Secret)
	}
	for _, v := range identity.Voters {
		s.VoterIDs = append(s.VoterIDs, v.ID)
	}
	return s
}

// endpointsOf is where brokers find this controller.
func endpointsOf(node *config.Node, bound sockets) ([]image.Endpoint, error) {
	var out []image.Endpoint
	for _, l := range node.Listeners {
		host, err := AdvertisedHost(l)
		if err != nil {
			return nil, err
		}
		e := image.Endpoint{Name: l.Name, Host: host, Port: l.Advertised.Port}
		if e.Port == 0 {
			e.Port = bound.port(l.Name)
		}
		out = append(out, e)
	}
	return out, nil
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

// AdvertisedHost is the host that others reach a listener at.
func AdvertisedHost(l config.Listener) (string, error) {
	if l.Advertised.Host != "" {
		return l.Advertised.Host, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("find this machine's host name for listener %s: %w: set advertised.listeners", l.Name, err)
	}
	return host, nil
}

package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/nodedir"
	"kvorum/metadatalog/record"
	"kvorum/migration/driver"
	"kvorum/migration/run"
	"kvorum/migration/zk"
	"kvorum/quorum"
)

// openMigration makes this controller's part of a migration from ZooKeeper. It does
// nothing before the controller is active. appendTo is Controller.Append.
func openMigration(m *config.Migration, meta *nodedir.MetaProperties, appendTo func(context.Context, kafka.LeaderEpoch, []record.Message) (kafka.Offset, error), logger *slog.Logger) (*run.Runner, error) {
	logger = logger.With("component", "migration")
	zooKeeper, err := zooKeeperConfig(m, logger)
	if err != nil {
		return nil, err
	}
	return run.New(run.Config{
		Node: meta.NodeID, ClusterID: meta.ClusterID, ZooKeeper: zooKeeper, Secret: m.Secret, Listener: m.Listener, OnCommand: m.OnCommand,
		Append: appendTo, Log: logger,
	})
}

func zooKeeperConfig(m *config.Migration, logger *slog.Logger) (zk.Config, error) {
	c := zk.Config{Connect: m.Connect, SessionTimeout: m.SessionTimeout, Log: logger}
	if m.DigestFile != "" {
		text, err := os.ReadFile(m.DigestFile)
		if err != nil {
			return c, fmt.Errorf("read kvorum.zookeeper.digest.file: %w", err)
		}
		if c.Digest = strings.TrimRight(string(text), "\r\n"); !strings.Contains(c.Digest, ":") {
			return c, fmt.Errorf("kvorum.zookeeper.digest.file: %s does not hold USER:PASSWORD", m.DigestFile)
		}
	}
	if !m.TLS {
		return c, nil
	}
	c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if m.TrustStoreFile != "" {
		pem, err := os.ReadFile(m.TrustStoreFile)
		if err != nil {
			return c, fmt.Errorf("read zookeeper.ssl.truststore.location: %w", err)
		}
		c.TLS.RootCAs = x509.NewCertPool()
		if !c.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return c, fmt.Errorf("zookeeper.ssl.truststore.location: %s holds no certificate in PEM (keytool -list -rfc writes it)", m.TrustStoreFile)
		}
	}
	if m.KeysFile != "" {
		keys, err := tls.LoadX509KeyPair(m.KeysFile, m.KeysFile)
		if err != nil {
			return c, fmt.Errorf("zookeeper.ssl.keystore.location: %s is to hold a private key and its certificates in PEM: %w", m.KeysFile, err)
		}
		c.TLS.Certificates = []tls.Certificate{keys}
	}
	return c, nil
}

// toRunner tells a runner what the quorum's loop says.
type toRunner struct{ *run.Runner }

// Committed implements quorum.Migration.
func (t toRunner) Committed(l quorum.MigrationLog) { t.Runner.Committed(run.Committed(l)) }

// migrationCollector shows how far dual write is. The names are those of Kafka 3.9's
// controllers (ControllerMetadataMetrics, QuorumControllerMetrics) where it has one.
type migrationCollector struct{ status func() run.Status }

var (
	descWriteBehind = prometheus.NewDesc("kafka_controller_zk_write_behind_lag", "Records of the metadata log that are not yet in ZooKeeper, in dual write on the active controller.", nil, nil)
	descMigration   = prometheus.NewDesc("kvorum_migration_state", "1 for the state that this controller's part of the migration from ZooKeeper is in.", []string{"state"}, nil)
)

// Describe implements prometheus.Collector. The metrics are unchecked: none is
// announced before it is collected.
func (migrationCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m migrationCollector) Collect(out chan<- prometheus.Metric) {
	s := m.status()
	if s.State == driver.DualWrite {
		out <- prometheus.MustNewConstMetric(descWriteBehind, prometheus.GaugeValue, float64(s.Lag))
	}
	out <- prometheus.MustNewConstMetric(descMigration, prometheus.GaugeValue, 1, s.State.String())
}

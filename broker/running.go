package broker

import (
	"kvorum/broker/storage"
	"kvorum/config"
	"kvorum/internal/vfs"
	"kvorum/listener"
)

// follow gives the keys that may change while the broker runs to those who obey
// them (DynamicBrokerConfig's reconfigurables). Topics' defaults, min.insync.replicas
// and throttles are not here: partitions read them with each image.
func (b *Broker) follow(layers *config.Layers) {
	running := layers.Running()
	b.dirs.Tune(tuning(running))
	b.replicas.SetFetchers(running.Fetchers)
	for i, l := range b.listeners {
		l.SetLimits(b.limits(layers, b.cfg.Node.Broker.Listeners[i].Name))
	}
	b.logger.Info("the broker's dynamic configs are in force", "fetchers", running.Fetchers, "cleaner_threads", running.Cleaner.Threads,
		"recovery_threads", running.RecoveryThreads, "max_connections", layers.Number("max.connections"))
}

func tuning(r config.Running) storage.Tuning {
	return storage.Tuning{
		RecoveryThreads: r.RecoveryThreads, ProducerExpirationMs: r.ProducerExpiration.Milliseconds(), Cleaner: storage.CleanerOptions(r.Cleaner),
	}
}

// limits are the limits of one listener, which are within MostConnections whatever the
// keys say.
func (b *Broker) limits(layers *config.Layers, name string) listener.Limits {
	own := b.cfg.Node.Broker
	l := layers.Limits(name, name == own.InterBroker && len(own.Listeners) > 1)
	most := listener.MostConnections(vfs.DescriptorLimit(), len(own.Listeners))
	return listener.Limits{
		MaxConnections: min(l.Max, most), MaxConnectionsPerIP: min(l.MaxPerIP, most),
		PerIP: l.PerIP, MaxConnectionRate: l.Rate,
	}
}

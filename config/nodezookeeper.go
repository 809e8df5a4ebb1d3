package config

import (
	"slices"
	"time"
)

// Migration is how a controller takes a cluster over from ZooKeeper.
type Migration struct {
	// Connect is zookeeper.connect.
	Connect        string
	SessionTimeout time.Duration
	// TLS says whether to speak it; the files are PEM, or empty.
	TLS                      bool
	TrustStoreFile, KeysFile string
	DigestFile               string
	// Secret is the brokers' password.encoder.secret, empty if they have none. It is
	// not to be logged.
	Secret string
	// Listener is the name of the brokers' listener for requests of controllers.
	Listener string
	// OnCommand says that the controllers wait for kvorum migrate start.
	OnCommand bool
}

// zooKeeper reads whether the cluster leaves ZooKeeper, and how.
func (p *nodeParser) zooKeeper(n *Node) {
	const enable = "zookeeper.metadata.migration.enable"
	switch enabled := p.value(enable).Bool; {
	case !n.Controller:
		p.noZooKeeperMode()
		return
	case !enabled: // what is left of a migration that is over
		for i := range zookeeperKeys {
			if k := &zookeeperKeys[i]; p.set(k.Name) && k.Effect == OnController && k.Name != enable {
				n.WithoutEffect = append(n.WithoutEffect, k.Name)
			}
		}
		return
	case n.Broker != nil:
		p.fail(enable, "%s=true with process.roles=broker,controller: a migration from ZooKeeper needs controllers of their own; set process.roles=controller, and add brokers when it is over", enable)
	}
	m := &Migration{
		Connect: p.value("zookeeper.connect").Text, SessionTimeout: p.millis("zookeeper.session.timeout.ms"),
		TLS:            p.value("zookeeper.ssl.client.enable").Bool,
		TrustStoreFile: p.value("zookeeper.ssl.truststore.location").Text, KeysFile: p.value("zookeeper.ssl.keystore.location").Text,
		DigestFile: p.value("kvorum.zookeeper.digest.file").Text,
		Secret:     p.value("password.encoder.secret").Text,
		Listener:   n.InterBrokerListener,
		OnCommand:  p.value("kvorum.migration.start").Text == "command",
	}
	if m.Listener == "" { // named after its protocol, as Kafka does
		m.Listener = p.value("security.inter.broker.protocol").Text
	}
	p.speaksPlaintext(m.Listener)
	if m.Connect == "" {
		p.fail(enable, "%s=true needs zookeeper.connect, the brokers' own (host:port,.../chroot)", enable)
	}
	for _, name := range []string{"zookeeper.ssl.truststore.location", "zookeeper.ssl.keystore.location"} {
		if !m.TLS && p.set(name) {
			p.fail(name, "%s needs zookeeper.ssl.client.enable=true", name)
		}
	}
	n.Migration = m
	n.WithoutEffect = slices.DeleteFunc(n.WithoutEffect, func(name string) bool {
		return name == "inter.broker.listener.name" || name == "security.inter.broker.protocol"
	})
}

// speaksPlaintext refuses a listener of the brokers that would need TLS or SASL, as far
// as a controller's own file knows it: the brokers' registrations say the same later.
func (p *nodeParser) speaksPlaintext(listener string) {
	if protocol := p.mapped(listener); protocol != "" && protocol != "PLAINTEXT" {
		p.fail("inter.broker.listener.name", "the brokers' listener %s speaks %s: controllers speak PLAINTEXT only to brokers in ZooKeeper mode; "+
			"give every broker a PLAINTEXT listener on a network that you trust, and name it with inter.broker.listener.name", listener, protocol)
	}
}

// noZooKeeperMode refuses ZooKeeper's keys on a broker alone.
func (p *nodeParser) noZooKeeperMode() {
	for i := range zookeeperKeys {
		if name := zookeeperKeys[i].Name; p.set(name) {
			p.fail(name, "%s: kvorum's brokers have no ZooKeeper mode. Leave Apache Kafka on this broker until the migration has reached dual write, "+
				"then start kvorum with process.roles=broker and without zookeeper.* and password.encoder.*", name)
			return // one is enough to say so
		}
	}
}

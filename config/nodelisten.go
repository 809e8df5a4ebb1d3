package config

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// maxListeners bounds the listeners of a node; Kafka's have a handful.
const maxListeners = 32

// listeners reads the listeners of both roles: those that
// controller.listener.names names are the controller's, all others the
// broker's (KafkaConfig.validateValues).
func (p *nodeParser) listeners(n *Node) {
	if !p.set("controller.listener.names") {
		p.fail("controller.listener.names", "controller.listener.names is not set; name the listeners of the controllers, for instance CONTROLLER")
		return
	}
	if !p.set("listeners") && n.Controller {
		p.fail("listeners", "listeners is not set; a controller listens on its controller.listener.names, for instance CONTROLLER://:9093")
		return
	}
	bind := p.endpoints("listeners")
	if !p.set("listeners") {
		bind = []Listener{mustListener(nodeIndex["listeners"].Default.Text)}
	}
	names := p.value("controller.listener.names").List
	p.controllerListeners(n, bind, names)
	for _, l := range bind {
		if !slices.ContainsFunc(names, func(name string) bool { return strings.ToUpper(name) == l.Name }) {
			p.brokerListener(n, l)
		}
	}
	p.advertise(n, p.endpoints("advertised.listeners"))
	n.InterBrokerListener = p.value("inter.broker.listener.name").Text
}

// controllerListeners takes those of the listeners that are a controller's.
func (p *nodeParser) controllerListeners(n *Node, bind []Listener, names []string) {
	for _, name := range names {
		i := slices.IndexFunc(bind, func(l Listener) bool { return l.Name == strings.ToUpper(name) })
		switch {
		case i >= 0 && !n.Controller && n.Broker != nil:
			p.fail("listeners", "listeners: %s is a listener of the controllers (controller.listener.names); a node with process.roles=broker does not listen on it", name)
		case i >= 0:
			p.protocol(bind[i].Name)
			n.Listeners = append(n.Listeners, bind[i])
		case n.Controller:
			p.fail("controller.listener.names", "controller.listener.names: %s is not among listeners=%s", name, p.layers.Static["listeners"])
		}
	}
}

// brokerListener takes a listener that is not a controller's.
func (p *nodeParser) brokerListener(n *Node, l Listener) {
	if n.Broker == nil {
		p.fail("listeners", "listeners must only contain controller listeners from controller.listener.names when process.roles=controller")
		return
	}
	p.protocol(l.Name)
	n.Broker.Listeners = append(n.Broker.Listeners, l)
}

// mustListener reads an entry of the registry.
func mustListener(entry string) Listener {
	l, err := parseListener(entry)
	if err != nil {
		panic("config: " + err.Error())
	}
	return l
}

// advertise lays advertised.listeners over the listeners' own addresses.
func (p *nodeParser) advertise(n *Node, advertised []Listener) {
	for _, a := range advertised {
		own := n.listener(a.Name)
		switch {
		case own == nil:
			p.fail("advertised.listeners", "advertised.listeners: %s is not among the listeners", a.Name)
		case a.Bind.Host == "" || a.Bind.Host == "0.0.0.0" || a.Bind.Host == "::":
			p.fail("advertised.listeners", "advertised.listeners cannot use the nonroutable meta-address %s; name an address that brokers can reach", a.Bind)
		default:
			own.Advertised = a.Bind
		}
	}
}

// listener is the node's listener of that name, nil if it has none.
func (n *Node) listener(name string) *Listener {
	lists := [][]Listener{n.Listeners}
	if n.Broker != nil {
		lists = append(lists, n.Broker.Listeners)
	}
	for _, list := range lists {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// endpoints reads NAME://host:port,...; names and ports may come once.
func (p *nodeParser) endpoints(key string) []Listener {
	if !p.set(key) {
		return nil
	}
	entries := p.value(key).List
	if len(entries) > maxListeners {
		p.fail(key, "%s has %d entries; at most %d are taken", key, len(entries), maxListeners)
		return nil
	}
	var listeners []Listener
	for _, entry := range entries {
		l, err := parseListener(entry)
		if err != nil {
			p.fail(key, "%s: %w", key, err)
			continue
		}
		for _, other := range listeners {
			if other.Name == l.Name {
				p.fail(key, "%s: each listener must have a different name, and %s comes twice", key, l.Name)
			}
			if key == "listeners" && l.Bind.Port != 0 && other.Bind == l.Bind {
				p.fail(key, "%s: each listener must have a different port, and %d comes twice", key, l.Bind.Port)
			}
		}
		listeners = append(listeners, l)
	}
	return listeners
}

func parseListener(entry string) (Listener, error) {
	name, address, ok := strings.Cut(entry, "://")
	if !ok || name == "" {
		return Listener{}, fmt.Errorf("%q is not of the form NAME://host:port", entry)
	}
	e, err := ParseEndpoint(address)
	if err != nil {
		return Listener{}, err
	}
	advertised := e
	if e.Host == "0.0.0.0" || e.Host == "::" {
		advertised.Host = ""
	}
	return Listener{Name: strings.ToUpper(name), Bind: e, Advertised: advertised}, nil
}

// protocol refuses listeners that would need TLS or SASL. A controller
// listener that the default map does not name is PLAINTEXT, as with Apache.
func (p *nodeParser) protocol(name string) {
	const key = "listener.security.protocol.map"
	for _, entry := range splitList(p.value(key).Text) {
		if !strings.Contains(entry, ":") {
			p.fail(key, "%s: %q is not of the form NAME:PROTOCOL", key, entry)
			return
		}
	}
	switch protocol := p.mapped(name); protocol {
	case "PLAINTEXT":
	case "":
		if p.set(key) {
			p.fail(key, "%s does not name the listener %s", key, name)
		}
	default:
		p.fail(key, "listener %s: %s is not supported by this release; use PLAINTEXT on a network that you trust", name, protocol)
	}
}

// mapped is the protocol, in capitals, that listener.security.protocol.map gives a
// listener; empty if it names none for it.
func (p *nodeParser) mapped(name string) string {
	for _, entry := range splitList(p.value("listener.security.protocol.map").Text) {
		listener, protocol, _ := strings.Cut(entry, ":")
		if strings.EqualFold(strings.TrimSpace(listener), name) {
			return strings.ToUpper(strings.TrimSpace(protocol))
		}
	}
	return ""
}

func (p *nodeParser) connections(n *Node) {
	n.Connections = Connections{
		Max:                   p.int("max.connections"),
		MaxPerIP:              p.int("max.connections.per.ip"),
		MaxIdle:               p.millis("connections.max.idle.ms"),
		MaxQueuedRequestBytes: p.value("queued.max.request.bytes").Int,
	}
	if rate := p.int("max.connection.creation.rate"); rate != math.MaxInt32 {
		n.Connections.Rate = float64(rate)
		if rate == 0 {
			p.fail("max.connection.creation.rate", "max.connection.creation.rate=0 lets nobody connect; set a number of connections a second, or remove the line")
		}
	}
	p.perIP(n)
	n.Quotas = p.window("quota.window.num", "quota.window.size.seconds")
	n.ReplicationQuotas = p.window("replication.quota.window.num", "replication.quota.window.size.seconds")
	n.MutationQuotas = p.window("controller.quota.window.num", "controller.quota.window.size.seconds")
	if bytes := n.Connections.MaxQueuedRequestBytes; bytes >= 0 && bytes < minQueuedRequestBytes {
		p.fail("queued.max.request.bytes", "queued.max.request.bytes=%d is less than %d; the largest requests could never be read", bytes, minQueuedRequestBytes)
	}
}

// minQueuedRequestBytes is the least that lets the largest request of a
// controller's listener in and decodes it.
const minQueuedRequestBytes = 64 << 20

func (p *nodeParser) window(samples, seconds string) QuotaWindow {
	return QuotaWindow{Samples: p.int(samples), Length: p.seconds(seconds)}
}

// perIP reads the limits of single addresses.
func (p *nodeParser) perIP(n *Node) {
	limits, errs := parsePerIP(p.value(perIPKey).Text)
	for _, err := range errs {
		p.fail(perIPKey, "%w", err)
	}
	if len(limits) > 0 {
		n.Connections.PerIP = limits
	}
}

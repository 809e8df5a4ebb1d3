package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kvorum/internal/kafka"
)

// maxErrors bounds what a wrong file (a log, a picture) is answered with.
const maxErrors = 100

// nodeParser collects what is wrong, so that one run of a start names it all.
type nodeParser struct {
	lines  map[string]int
	layers Layers
	errs   []error
}

// ParseNode reads the configuration of a node. The error lists
// everything that is wrong, each with its line and what to do.
func ParseNode(properties Properties) (*Node, error) {
	p := &nodeParser{lines: make(map[string]int), layers: Layers{Static: properties.Map()}}
	n := &Node{Static: properties.Map()}
	p.roles(n)
	for _, property := range properties {
		p.lines[property.Name] = property.Line
		if p.property(n, property); len(p.errs) >= maxErrors {
			break
		}
	}
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	p.identity(n)
	p.listeners(n)
	p.quorum(n)
	p.raft(n)
	p.directories(n)
	p.rules(n)
	p.connections(n)
	p.authorization(n)
	p.tokens(n)
	p.zooKeeper(n)
	if n.Broker != nil {
		p.broker(n)
	}
	n.MetricsListener = p.address("kvorum.metrics.listener")
	n.SlowRequest = max(0, p.millis("kvorum.slow.request.ms"))
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	return n, nil
}

// NodeError is one thing that is wrong with a server.properties: what ParseNode
// returns is made of them (errors.Join).
type NodeError struct {
	Key  string // "" where it is no single key's
	Line int    // of the key, from 1; 0 if it is not set
	Err  error
}

// Error names the line where there is one.
func (e *NodeError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("line %d: %v", e.Line, e.Err)
	}
	return e.Err.Error()
}

// Unwrap is the error without the line.
func (e *NodeError) Unwrap() error { return e.Err }

// fail notes an error about a key, with its line where it was set.
func (p *nodeParser) fail(name, format string, args ...any) {
	p.errs = append(p.errs, &NodeError{Key: name, Line: p.lines[name], Err: fmt.Errorf(format, args...)})
}

// NodeErrors are the single errors of what ParseNode returned, nil for nil.
func NodeErrors(err error) []*NodeError {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	var out []*NodeError
	for _, err := range joined.Unwrap() {
		if e := (*NodeError)(nil); errors.As(err, &e) {
			out = append(out, e)
		}
	}
	return out
}

// CheckBrokerLine is what a start with process.roles=broker makes of one line by
// itself: whether it has no effect there, and why it is refused.
func CheckBrokerLine(line Property) (effect bool, err error) {
	p, n := &nodeParser{}, &Node{Broker: new(Broker)}
	p.property(n, line)
	if len(p.errs) > 0 {
		return false, errors.Unwrap(p.errs[0])
	}
	return len(n.WithoutEffect) == 0, nil
}

// property checks one line by itself: a known key, a valid value, an effect.
func (p *nodeParser) property(n *Node, property Property) {
	name := property.Name
	k, ok := Lookup(ScopeNode, name)
	if !ok {
		p.unknown(name)
		return
	}
	v, err := k.Parse(property.Value)
	if err != nil {
		p.fail(name, "%w", err)
		return
	}
	switch {
	case k.Effect == Refused || k.Effect == RefusedOnBroker && n.Broker != nil:
		if v.String() != "" && v.String() != k.Default.Text {
			p.refuse(k, v)
		}
	case k.Effect == Accepted || k.Effect != OnController && n.Broker == nil:
		n.WithoutEffect = append(n.WithoutEffect, name)
	}
}

func (p *nodeParser) refuse(k *Key, v Value) {
	setting := k.Name
	if !k.Sensitive() {
		setting += "=" + v.String()
	}
	todo := "remove the line"
	if k.Instead != "" {
		todo = "use " + k.Instead + " instead"
	}
	p.fail(k.Name, "%s: this release does not do that (%s); %s", setting, strings.TrimSuffix(k.Doc, "."), todo)
}

func (p *nodeParser) unknown(name string) {
	if hint, ok := Removed(name); ok {
		p.fail(name, "%s is not a key any more: %s; remove the line", name, hint)
		return
	}
	base := baseName(name)
	if base != name {
		p.fail(name, "%s: settings of a single listener are not supported by this release; remove the line", name)
		return
	}
	for _, prefix := range []string{"rsm.config.", "rlmm.config.", "remote.log."} {
		if strings.HasPrefix(name, prefix) {
			p.fail(name, "%s: remote storage is not supported by this release; remove the line", name)
			return
		}
	}
	if _, ok := Lookup(ScopeTopic, name); ok {
		hint := "set it on topics"
		if k := topicIndex[name]; len(k.Fallback) > 0 {
			hint = "its default for all topics is " + k.Fallback[0].Name
		}
		p.fail(name, "%s is a key of topics; %s", name, hint)
		return
	}
	names := make([]string, 0, len(nodeIndex))
	for _, k := range Keys(ScopeNode) {
		names = append(names, k.Name)
	}
	if meant, ok := nearest(name, names); ok {
		p.fail(name, "unknown key %s; did you mean %s?", name, meant)
		return
	}
	p.fail(name, "unknown key %s; see docs/configuration.md for all keys", name)
}

func (p *nodeParser) value(name string) Value { return p.layers.value(nodeIndex[name]) }
func (p *nodeParser) int(name string) int     { return int(p.value(name).Int) }
func (p *nodeParser) set(name string) bool    { _, ok := p.lines[name]; return ok }

func (p *nodeParser) millis(name string) time.Duration {
	const most = int64(1<<63-1) / int64(time.Millisecond)
	return time.Duration(min(p.value(name).Int, most)) * time.Millisecond
}

// address is a key that holds one host:port or nothing.
func (p *nodeParser) address(name string) *Endpoint {
	text := p.value(name).Text
	if text == "" {
		return nil
	}
	e, err := ParseEndpoint(text)
	if err != nil {
		panic("config: " + name + " passed its check: " + err.Error())
	}
	return &e
}

// roles reads what the node is, before anything that depends on it.
func (p *nodeParser) roles(n *Node) {
	for _, role := range splitList(p.layers.Static["process.roles"]) {
		switch role {
		case "broker":
			n.Broker = new(Broker)
		case "controller":
			n.Controller = true
		}
	}
}

func (p *nodeParser) identity(n *Node) {
	if !p.set("process.roles") {
		p.fail("process.roles", "process.roles is not set; set process.roles=broker,controller for a node that is both, or one of the two")
	}
	id := "node.id"
	if !p.set(id) && p.set("broker.id") {
		id = "broker.id"
	}
	switch {
	case !p.set(id):
		p.fail(id, "node.id is not set; give each controller and broker a number of its own")
		return
	case p.set("node.id") && p.set("broker.id") && p.int("node.id") != p.int("broker.id"):
		p.fail("broker.id", "broker.id=%d and node.id=%d differ; remove broker.id", p.int("broker.id"), p.int("node.id"))
	case p.int(id) < 0:
		p.fail(id, "%s=%d is below 0", id, p.int(id))
	}
	n.ID = kafka.NodeID(p.int(id))
	// Each of the two names says it (KafkaConfig.populateSynonyms).
	n.Static["node.id"], n.Static["broker.id"] = n.Static[id], n.Static[id]
}

// quorum reads where the controllers are found by brokers.
func (p *nodeParser) quorum(n *Node) {
	n.Voters = p.voters("controller.quorum.voters")
	for _, entry := range p.value("controller.quorum.bootstrap.servers").List {
		e, err := ParseEndpoint(entry)
		if err != nil {
			panic("config: bootstrap servers passed their check: " + err.Error())
		}
		n.BootstrapServers = append(n.BootstrapServers, e)
	}
	if len(n.Voters) == 0 && len(n.BootstrapServers) == 0 {
		p.fail("controller.quorum.voters", "neither controller.quorum.bootstrap.servers nor controller.quorum.voters is set; "+
			"name the addresses at which brokers reach the controllers")
	}
	switch {
	case n.Controller:
		p.includesSelf(n, "controller.quorum.voters", n.Voters)
	case slices.ContainsFunc(n.Voters, func(v Voter) bool { return v.ID == n.ID }):
		p.fail("controller.quorum.voters", "controller.quorum.voters names this node (node.id=%d), which is a broker; a broker that is a controller too has process.roles=broker,controller", n.ID)
	}
}

func (p *nodeParser) includesSelf(n *Node, name string, voters []Voter) {
	if len(voters) > 0 && !slices.ContainsFunc(voters, func(v Voter) bool { return v.ID == n.ID }) {
		p.fail(name, "%s does not name this node (node.id=%d)", name, n.ID)
	}
}

// voters reads id@host:port entries; an id or an address may come once.
func (p *nodeParser) voters(name string) []Voter {
	var voters []Voter
	for _, entry := range p.value(name).List {
		v, err := parseVoter(entry)
		if err != nil {
			panic("config: " + name + " passed its check: " + err.Error())
		}
		for _, other := range voters {
			if other.ID == v.ID || other.Endpoint == v.Endpoint {
				p.fail(name, "%s: %s and %s share an id or an address", name, entry, other)
			}
		}
		voters = append(voters, v)
	}
	return voters
}

func (p *nodeParser) directories(n *Node) {
	n.LogDirs = p.value("log.dir").List
	if p.set("log.dirs") {
		n.LogDirs = p.value("log.dirs").List
	}
	n.MetadataLogDir = n.LogDirs[0] // neither list can be empty
	if dir := p.value("metadata.log.dir").Text; dir != "" {
		n.MetadataLogDir = dir
	}
}

func (p *nodeParser) authorization(n *Node) {
	switch class := p.value("authorizer.class.name").Text; {
	case class == "":
	case class == StandardAuthorizer:
		n.Authorizer = true
	case KeepsACLsInZooKeeper(class):
		p.fail("authorizer.class.name", "authorizer.class.name=%s kept its ACLs in ZooKeeper; use %s", class, StandardAuthorizer)
	default:
		p.fail("authorizer.class.name", "authorizer.class.name=%s: there is no such authorizer here; use %s, or leave it empty for none", class, StandardAuthorizer)
	}
	for _, user := range strings.Split(p.value("super.users").Text, ";") {
		user = strings.TrimSpace(user)
		if user == "" {
			continue
		}
		if kind, name, ok := strings.Cut(user, ":"); !ok || kind == "" || name == "" {
			p.fail("super.users", "super.users: %q is not of the form User:name", user)
			continue
		}
		n.SuperUsers = append(n.SuperUsers, user)
	}
	n.AllowEveryoneIfNoACLFound = p.value("allow.everyone.if.no.acl.found").Bool
	if n.Authorizer && n.Broker != nil {
		p.fail("authorizer.class.name", "authorizer.class.name: a broker of this release has no authorizer and would let everybody do everything; remove the line, or run controllers and Apache Kafka brokers")
	}
	if !n.Authorizer {
		for _, name := range []string{"super.users", "allow.everyone.if.no.acl.found"} {
			if p.set(name) {
				n.WithoutEffect = append(n.WithoutEffect, name)
			}
		}
	}
}

// tokens reads how delegation tokens are made. As in Kafka an empty secret is one
// that is not set.
func (p *nodeParser) tokens(n *Node) {
	n.Tokens = DelegationTokens{
		Secret:      p.value("delegation.token.secret.key").Text,
		MaxLifetime: p.millis("delegation.token.max.lifetime.ms"),
		Expiry:      p.millis("delegation.token.expiry.time.ms"),
	}
	if n.Tokens.Secret != "" {
		return
	}
	for _, name := range []string{"delegation.token.max.lifetime.ms", "delegation.token.expiry.time.ms"} {
		if p.set(name) {
			n.WithoutEffect = append(n.WithoutEffect, name)
		}
	}
}

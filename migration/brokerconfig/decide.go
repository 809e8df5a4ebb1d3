package brokerconfig

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kvorum/config"
)

const (
	migrationEnable  = "zookeeper.metadata.migration.enable"
	listenerNames    = "controller.listener.names"
	protocolMap      = "listener.security.protocol.map"
	authorizer       = "authorizer.class.name"
	voters           = "controller.quorum.voters"
	bootstrapServers = "controller.quorum.bootstrap.servers"
)

// file is the properties of a broker, as they are read.
type file struct {
	values map[string]string
	o      Options
}

// value is what the file says, else the key's default.
func (f *file) value(key string) string {
	if v, ok := f.values[key]; ok {
		return v
	}
	if k, ok := config.Lookup(config.ScopeNode, key); ok {
		return k.Default.Text
	}
	return ""
}

func (f *file) has(key string) bool { _, ok := f.values[key]; return ok }

// Decide says what is done with each of the properties, in their order, and then what
// is added. It needs no text: a plan has only what a broker tells.
func Decide(properties config.Properties, o Options) []Note {
	f := &file{values: properties.Map(), o: o}
	wants := f.wants()
	var notes []Note
	for _, p := range properties {
		notes = append(notes, f.allowed(f.note(p, wants)))
	}
	for _, w := range wants {
		if f.has(w.key) {
			continue
		}
		n := Note{Key: w.key, Action: Added, value: w.value, To: shown(w.key, w.value), Why: w.why}
		if w.refuse != "" {
			n = Note{Key: w.key, Action: Refused, Why: w.refuse}
		}
		notes = append(notes, n)
	}
	return notes
}

// note decides on one line.
func (f *file) note(p config.Property, wants []want) Note {
	n := Note{Key: p.Name, Line: p.Line, Action: Kept, From: shown(p.Name, p.Value), To: shown(p.Name, p.Value), value: p.Value}
	if i := slices.IndexFunc(wants, func(w want) bool { return w.key == p.Name }); i >= 0 {
		switch w := wants[i]; {
		case w.refuse != "":
			return n.refused(w.refuse, false)
		case w.value != p.Value:
			n.Action, n.Why, n.value, n.To = Changed, w.why, w.value, shown(p.Name, w.value)
			return n
		}
		return n
	}
	if f.o.Target == Migration {
		return f.zooKeeper(n, p)
	}
	if why := zooKeeperOnly(p.Name); why != "" {
		return n.dropped(why)
	}
	if f.o.Target == Kvorum {
		return kvorum(n, p)
	}
	return apache(n, p)
}

// refused makes a note one of a refusal.
func (n Note) refused(why string, allowable bool) Note {
	n.Action, n.To, n.value, n.Why, n.Allowable = Refused, "", "", why, allowable
	return n
}

// dropped makes a note one of a line that goes.
func (n Note) dropped(why string) Note {
	n.Action, n.To, n.value, n.Why = Dropped, "", "", why
	return n
}

// allowed passes over a refusal that is named: Apache's brokers keep the line, which
// they know, and kvorum's do without it.
func (f *file) allowed(n Note) Note {
	if n.Action != Refused || !n.Allowable || !slices.ContainsFunc(f.o.Allow, func(a string) bool {
		prefix, all := strings.CutSuffix(a, "*")
		return a == n.Key || all && strings.HasPrefix(n.Key, prefix)
	}) {
		return n
	}
	n.Allowable = false
	n.Why = "allowed: " + n.Why
	if f.o.Target == Kvorum {
		return n.dropped(n.Why)
	}
	n.Action, n.To, n.value = Kept, n.From, f.values[n.Key]
	return n
}

// want is a key that a target needs.
type want struct {
	key, value, why string
	refuse          string // why there is no value
}

// wants are the keys that the target needs, with their values.
func (f *file) wants() []want {
	var out []want
	add := func(key, value, why string) { out = append(out, want{key: key, value: value, why: why}) }
	id, refuse := f.id()
	switch f.o.Target {
	case Migration:
		out = append(out, want{key: "broker.id", value: id, refuse: refuse, why: "a broker that migrates has its id in its configuration"})
		add(migrationEnable, "true", "the broker registers with the controllers too")
	default:
		add("process.roles", "broker", "KRaft mode")
		out = append(out, want{key: "node.id", value: id, refuse: refuse, why: "the broker's id, which its log directories have in meta.properties"})
	}
	out = append(out, f.quorum()...)
	add(listenerNames, f.controllerListener(), "the controllers' listener; the broker does not listen on it")
	out = append(out, f.protocols())
	if f.o.Target == Kvorum {
		out = append(out, f.renamed()...)
	}
	for i := range out {
		if w := &out[i]; w.key == "process.roles" && strings.Contains(f.values[w.key], "controller") {
			w.refuse = "this node is a controller too: kvorum's controllers take that part; give the broker a file of its own, without the controller's listener"
		}
	}
	if f.o.Target == Migration && !f.has("zookeeper.connect") {
		out = append(out, want{key: "zookeeper.connect", refuse: "the file is not of a broker in ZooKeeper mode; take the one from before KRaft mode"})
	}
	return out
}

// renamed are the keys that took the place of old ones, with their values.
func (f *file) renamed() []want {
	var out []want
	for _, r := range []struct{ old, new string }{
		{"delegation.token.master.key", "delegation.token.secret.key"},
		{"log.message.timestamp.difference.max.ms", "log.message.timestamp.before.max.ms"},
		{"log.message.timestamp.difference.max.ms", "log.message.timestamp.after.max.ms"},
	} {
		if v, ok := f.values[r.old]; ok && !f.has(r.new) {
			out = append(out, want{key: r.new, value: v, why: "it takes the place of " + r.old})
		}
	}
	return out
}

// id is the broker's id, or why it has none.
func (f *file) id() (id, refuse string) {
	node, broker := f.values["node.id"], f.values["broker.id"]
	if node != "" && broker != "" && node != broker {
		return "", fmt.Sprintf("node.id=%s and broker.id=%s differ: which is the broker's?", node, broker)
	}
	for _, id = range []string{node, broker} {
		if id == "" || id == "-1" { // -1: generated by ZooKeeper
			continue
		}
		n, err := strconv.ParseInt(id, 10, 32)
		switch {
		case err != nil || n < 0:
			return "", fmt.Sprintf("%q is no broker id", id)
		case f.o.ID >= 0 && int32(n) != int32(f.o.ID):
			return "", fmt.Sprintf("the file says that the broker's id is %s, and not %d", id, f.o.ID)
		}
		return id, ""
	}
	if f.o.ID < 0 {
		return "", "the file has no id, so ZooKeeper gave the broker one: it is broker.id in meta.properties of the log directory; name it with --id"
	}
	return strconv.Itoa(int(f.o.ID)), ""
}

// quorum is where the controllers are.
func (f *file) quorum() []want {
	why := "where the controllers are"
	key := quorumKey(f.o.Controllers)
	switch {
	case f.o.Controllers != "":
	case f.has(voters):
		return []want{{key: voters, value: f.values[voters]}}
	case f.has(bootstrapServers):
		return []want{{key: bootstrapServers, value: f.values[bootstrapServers]}}
	default:
		return []want{{key: voters, refuse: "the file does not say where the controllers are; name them with --controllers ID@HOST:PORT,..."}}
	}
	return []want{{key: key, value: f.o.Controllers, why: why}}
}

// controllerListener is the name of the controllers' listener, which none of the
// broker's has.
func (f *file) controllerListener() string {
	if v := f.values[listenerNames]; v != "" {
		return v
	}
	name := "CONTROLLER"
	for strings.Contains(strings.ToUpper(f.value("listeners")), name+"://") {
		name += "_QUORUM"
	}
	return name
}

// protocols is the map of listeners' protocols with the controllers' listener in it,
// and refuses what brokers and controllers would not understand each other by.
func (f *file) protocols() want {
	w := want{key: protocolMap, value: f.value(protocolMap), why: "with the controllers' listener"}
	for name := range strings.SplitSeq(f.controllerListener(), ",") {
		name = strings.TrimSpace(name)
		switch protocol := f.protocol(name); protocol {
		case "":
			w.value += "," + name + ":PLAINTEXT"
		case "PLAINTEXT":
		default:
			w.refuse = fmt.Sprintf("the controllers' listener %s speaks %s; kvorum's controllers speak PLAINTEXT", name, protocol)
		}
	}
	if inter := f.interBroker(); f.o.Target == Migration && f.protocol(inter) != "PLAINTEXT" {
		w.refuse = fmt.Sprintf("the brokers' own listener %s speaks %s: the controllers tell brokers in ZooKeeper mode what to do on it, and speak PLAINTEXT only; give the brokers a listener %s for one another (inter.broker.listener.name) on a network that you trust", inter, orNothing(f.protocol(inter)), "with PLAINTEXT")
	}
	return w
}

func orNothing(s string) string {
	if s == "" {
		return "no protocol of " + protocolMap
	}
	return s
}

// interBroker is the name of the brokers' listener for one another.
func (f *file) interBroker() string {
	if v := f.values["inter.broker.listener.name"]; v != "" {
		return v
	}
	return f.value("security.inter.broker.protocol") // named after its protocol, as Kafka does
}

// protocol is what a listener speaks, "" if the map does not name it.
func (f *file) protocol(listener string) string {
	for entry := range strings.SplitSeq(f.value(protocolMap), ",") {
		if name, protocol, ok := strings.Cut(entry, ":"); ok && strings.EqualFold(strings.TrimSpace(name), strings.TrimSpace(listener)) {
			return strings.ToUpper(strings.TrimSpace(protocol))
		}
	}
	return ""
}

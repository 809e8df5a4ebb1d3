package migration

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"kvorum/config"
	"kvorum/migration/brokerconfig"
)

// Step is one step of the procedure, with the lines that change on each node.
type Step struct {
	Title string   `json:"title"`
	Why   string   `json:"why,omitempty"`
	Nodes []Change `json:"nodes,omitempty"`
	// Commands are what to type, one after the other.
	Commands []string `json:"commands,omitempty"`
}

// Change is the lines of one node's properties file that a step changes.
type Change struct {
	Node   string   `json:"node"`
	Add    []string `json:"add,omitempty"`
	Remove []string `json:"remove,omitempty"`
}

// votersPlaceholder stands for what only the operator knows.
const votersPlaceholder = "ID@HOST:PORT,ID@HOST:PORT,ID@HOST:PORT"

// steps are the operator's part, broker by broker.
func steps(f *Facts, p *Plan) []Step {
	return []Step{
		{Title: "Bring every broker to one state that can migrate", Why: "nothing changes in what the brokers do", Nodes: prepare(f)},
		controllersStep(f, p),
		{Title: "Restart every broker in migration mode, one at a time", Why: "each goes on with ZooKeeper and registers with the controllers too; when the last has registered, the controllers copy ZooKeeper and take over, at once or, with kvorum.migration.start=command, at kvorum migrate start", Nodes: convertAll(f, brokerconfig.Migration)},
		{Title: "Restart every broker in KRaft mode, one at a time, on the same log directories", Why: "ZooKeeper is still written, so that there is a way back; kvorum migrate broker-config FILE --to apache-kraft writes the file", Nodes: convertAll(f, brokerconfig.ApacheKRaft)},
		{Title: "Finalize: the controllers stop writing to ZooKeeper", Why: fmt.Sprintf("after it only kvorum migrate restore goes back to ZooKeeper, with everything stopped; cluster %s runs at metadata.version %s", p.ClusterID, p.MetadataVersion)},
		{Title: "If kvorum's brokers shall take over: restart every broker as one of kvorum's, one at a time, on the same log directories", Why: "kvorum migrate broker-config FILE --to kvorum writes the file, and says what they refuse", Nodes: convertAll(f, brokerconfig.Kvorum)},
	}
}

// controllersStep is how the controllers are made that take over.
func controllersStep(f *Facts, p *Plan) Step {
	release := strings.TrimSuffix(p.MetadataVersion, "-IV0")
	if release == "" {
		release = "3.9"
	}
	return Step{
		Title: "Format and start three controllers, with ids that no broker has",
		Why:   "they wait for the brokers; the lines are those of each, beside node.id, controller.quorum.voters, listeners and log.dirs of its own",
		Nodes: []Change{{Node: "each controller", Add: controllerLines(f)}},
		Commands: []string{
			fmt.Sprintf("kvorum storage format -t %s -c controller.properties --release-version %s --initial-controllers ID@HOST:PORT:DIRECTORY-ID,...   (the same list on each; kvorum storage random-uuid makes the ids)", p.ClusterID, release),
			"kvorum server --config controller.properties",
		},
	}
}

// controllerLines are the lines of a controller that a migration needs, as the brokers
// have them.
func controllerLines(f *Facts) []string {
	lines := []string{"process.roles=controller", "zookeeper.metadata.migration.enable=true", "zookeeper.connect=" + f.Connect}
	for i := range f.Brokers {
		b := &f.Brokers[i]
		if b.Err != nil {
			continue
		}
		listener := b.config("inter.broker.listener.name")
		if listener == "" { // named after its protocol, as Kafka does
			listener = cmp.Or(b.config("security.inter.broker.protocol"), "PLAINTEXT")
		}
		lines = append(lines, "inter.broker.listener.name="+listener)
		if _, ok := b.Static["password.encoder.secret"]; ok {
			lines = append(lines, "password.encoder.secret=(the brokers')")
		}
		if b.config("authorizer.class.name") != "" {
			lines = append(lines, "authorizer.class.name="+config.StandardAuthorizer, "super.users="+cmp.Or(b.config("super.users"), "(the brokers')"))
		}
		break // the findings say where brokers differ
	}
	return append(lines, "kvorum.migration.start=command   (if ZooKeeper is not to be claimed before kvorum migrate start)")
}

// change collects the lines for one broker.
func change(b *BrokerFacts, add, remove []string) Change {
	return Change{Node: fmt.Sprintf("broker %d", b.ID), Add: add, Remove: remove}
}

// prepare is what must be true of each broker before anything else.
func prepare(f *Facts) []Change {
	var out []Change
	for i := range f.Brokers {
		if b := &f.Brokers[i]; b.Err == nil {
			if add := preparing(f, b); len(add) > 0 {
				out = append(out, change(b, add, nil))
			}
		}
	}
	return out
}

// preparing are the lines that a broker needs before a migration.
func preparing(f *Facts, b *BrokerFacts) []string {
	var add []string
	if b.Static["broker.id"] == "" && b.Static["node.id"] == "" {
		add = append(add, fmt.Sprintf("broker.id=%d", b.ID))
	}
	if v, ok := MetadataVersion(f.Brokers); !ok || v.String() != "3.9-IV0" {
		add = append(add, "inter.broker.protocol.version=3.9")
	}
	return add
}

// convertAll is the lines of every broker that a step changes.
func convertAll(f *Facts, target brokerconfig.Target) []Change {
	var out []Change
	for i := range f.Brokers {
		b := &f.Brokers[i]
		if b.Err != nil {
			continue
		}
		if c := changeOf(b, notes(f, b, target)); len(c.Add)+len(c.Remove) > 0 {
			out = append(out, c)
		}
	}
	return out
}

// changeOf is the lines that a step's notes change on one broker.
func changeOf(b *BrokerFacts, notes []brokerconfig.Note) Change {
	var add, remove []string
	for _, n := range notes {
		switch n.Action {
		case brokerconfig.Added, brokerconfig.Changed:
			add = append(add, n.Key+"="+n.To)
		case brokerconfig.Dropped:
			remove = append(remove, n.Key)
		}
	}
	return change(b, add, remove)
}

// ToKvorum is the lines of every broker in KRaft mode that change when it becomes one of
// kvorum's.
func (a *Asked) ToKvorum() []Change {
	var out []Change
	for i := range a.Brokers {
		if b := &a.Brokers[i]; b.Err == nil {
			if c := changeOf(b, b.kvorumNotes()); len(c.Add)+len(c.Remove) > 0 {
				out = append(out, c)
			}
		}
	}
	return out
}

// kvorumNotes are what becomes of the lines of a broker in KRaft mode that becomes one of
// kvorum's.
func (b *BrokerFacts) kvorumNotes() []brokerconfig.Note {
	return decide(b.lines(), brokerconfig.Kvorum, b)
}

// lines are what the broker's server.properties says, as far as the steps need it.
func (b *BrokerFacts) lines() map[string]string {
	values := map[string]string{}
	maps.Copy(values, b.Static)
	for _, key := range toldWithDefaults {
		if v := b.config(key); v != "" {
			values[key] = v
		}
	}
	return values
}

// toldWithDefaults are keys of which a broker's answer also counts where it is a
// default: what a step makes of them depends on it.
var toldWithDefaults = []string{"listeners", "listener.security.protocol.map", "inter.broker.listener.name", "security.inter.broker.protocol", "authorizer.class.name"}

// notes are what a step does with each key of a broker's server.properties, after the
// steps before it.
func notes(f *Facts, b *BrokerFacts, target brokerconfig.Target) []brokerconfig.Note {
	values := b.lines()
	for _, line := range preparing(f, b) {
		key, value, _ := strings.Cut(line, "=")
		values[key] = value
	}
	for _, step := range brokerconfig.Targets {
		out := decide(values, step, b)
		if step == target {
			return out
		}
		for _, n := range out {
			switch n.Action {
			case brokerconfig.Added, brokerconfig.Changed:
				values[n.Key] = n.To
			case brokerconfig.Dropped:
				delete(values, n.Key)
			}
		}
	}
	panic("migration: no target " + string(target))
}

// decide is what one step does with the values that a file would have.
func decide(values map[string]string, target brokerconfig.Target, b *BrokerFacts) []brokerconfig.Note {
	var properties config.Properties
	for _, key := range slices.Sorted(maps.Keys(values)) {
		properties = append(properties, config.Property{Name: key, Value: values[key]})
	}
	o := brokerconfig.Options{Target: target, ID: b.ID}
	if values["controller.quorum.voters"] == "" && values["controller.quorum.bootstrap.servers"] == "" {
		o.Controllers = votersPlaceholder
	}
	return brokerconfig.Decide(properties, o)
}

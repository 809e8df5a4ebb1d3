package migration

import (
	"fmt"
	"slices"
	"strings"
)

// Step is one step of the procedure, with the lines that change on each node.
type Step struct {
	Title string   `json:"title"`
	Why   string   `json:"why,omitempty"`
	Nodes []Change `json:"nodes,omitempty"`
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
		{Title: "Restart every broker in migration mode, one at a time", Why: "each goes on with ZooKeeper and registers with the controllers too; when the last has registered, the controllers copy ZooKeeper and take over", Nodes: enable(f)},
		{Title: "Restart every broker in KRaft mode, one at a time, on the same log directories", Why: "ZooKeeper is still written, so that there is a way back", Nodes: kraft(f)},
		{Title: "Finalize: the controllers stop writing to ZooKeeper", Why: fmt.Sprintf("after it there is no way back to ZooKeeper; cluster %s runs at metadata.version %s", p.ClusterID, p.MetadataVersion)},
	}
}

// change collects the lines for one broker.
func change(b *BrokerFacts, add, remove []string) Change {
	return Change{Node: fmt.Sprintf("broker %d", b.ID), Add: add, Remove: remove}
}

// prepare is what must be true of each broker before anything else.
func prepare(f *Facts) []Change {
	var out []Change
	for i := range f.Brokers {
		b := &f.Brokers[i]
		var add []string
		if b.Err != nil {
			continue
		}
		if b.Static["broker.id"] == "" {
			add = append(add, fmt.Sprintf("broker.id=%d", b.ID))
		}
		if v, ok := MetadataVersion(f.Brokers); !ok || v.String() != "3.9-IV0" {
			add = append(add, "inter.broker.protocol.version=3.9")
		}
		if len(add) > 0 {
			out = append(out, change(b, add, nil))
		}
	}
	return out
}

// enable is migration mode: KRaft's keys beside ZooKeeper's.
func enable(f *Facts) []Change {
	var out []Change
	for i := range f.Brokers {
		b := &f.Brokers[i]
		if b.Err != nil || b.config("zookeeper.metadata.migration.enable") == "true" {
			continue
		}
		out = append(out, change(b, []string{
			"zookeeper.metadata.migration.enable=true",
			"controller.quorum.voters=" + votersPlaceholder,
			"controller.listener.names=" + controllerListener(b),
			"listener.security.protocol.map=" + protocolMap(b),
		}, nil))
	}
	return out
}

// zooKeeperKeys are what a broker in KRaft mode may not have; a key that ends in a
// dot stands for all that begin with it.
var zooKeeperKeys = []string{"broker.id", "broker.id.generation.enable", "reserved.broker.max.id", "zookeeper.", "inter.broker.protocol.version", "password.encoder.", "control.plane.listener.name"}

// kraft is KRaft mode, for Apache's brokers of 3.9.
func kraft(f *Facts) []Change {
	var out []Change
	for i := range f.Brokers {
		b := &f.Brokers[i]
		if b.Err != nil {
			continue
		}
		add := []string{"process.roles=broker", fmt.Sprintf("node.id=%d", b.ID)}
		remove := []string{}
		for name := range b.Static {
			if slices.ContainsFunc(zooKeeperKeys, func(k string) bool { return name == k || strings.HasSuffix(k, ".") && strings.HasPrefix(name, k) }) {
				remove = append(remove, name)
			}
		}
		if !slices.Contains(remove, "zookeeper.metadata.migration.enable") {
			remove = append(remove, "zookeeper.metadata.migration.enable")
		}
		if class := b.config("authorizer.class.name"); strings.HasPrefix(class, "kafka.security.auth") {
			add = append(add, "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer")
		}
		slices.Sort(remove)
		out = append(out, change(b, add, remove))
	}
	return out
}

// controllerListener is a name that none of the broker's listeners has.
func controllerListener(b *BrokerFacts) string {
	name := "CONTROLLER"
	for strings.Contains(b.config("listeners"), name+"://") {
		name += "_QUORUM"
	}
	return name
}

// protocolMap is the broker's map and the controllers' listener.
func protocolMap(b *BrokerFacts) string {
	entry := controllerListener(b) + ":PLAINTEXT"
	current := b.config("listener.security.protocol.map")
	switch {
	case current == "":
		return "PLAINTEXT:PLAINTEXT," + entry
	case strings.Contains(","+current, ","+controllerListener(b)+":"):
		return current
	}
	return current + "," + entry
}

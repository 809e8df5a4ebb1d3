package lint

import (
	"fmt"
	"strings"
)

// leaves are the packages that every package may import.
var leaves = []string{
	"internal/kafka", "internal/clock", "internal/invariant", "internal/planted", "internal/vfs",
	"protocol/batch", "protocol/errors", "config", "metadatalog/record",
}

// anything lets a room import every package that is not sealed.
const anything = "*"

// rooms says what each room may import besides the leaves. A package belongs to
// the room with the longest name that is its directory or above it, and may
// always import the packages of its own room.
//
// quorum names image, metadatalog, snapshot and security beyond the words of the
// architecture: its loop holds the images that replay and controller hand it. admin
// names metadatalog/replay: what it shows of a log is folded by the one code path.
// internal/testlog names quorum/raft for the types of the interface that it
// implements in raft's place. internal/server wires whole nodes for the command
// line and for tests: nobody else knows quorum and broker at once.
var rooms = map[string][]string{
	"cmd":                {anything},
	"sim":                {anything},
	"integration":        {anything},
	"internal/kafka":     {},
	"internal/clock":     {},
	"internal/invariant": {},
	"internal/planted":   {},
	"internal/vfs":       {},
	"internal/lint":      {},
	"internal/testlog":   {"metadatalog", "quorum/raft"},
	"protocol":           {},
	"protocol/batch":     {},
	"protocol/errors":    {},
	"config":             {},
	"metadatalog":        {},
	"metadatalog/record": {},
	"metadatalog/image":  {},
	"metadatalog/replay": {"metadatalog/image", "metadatalog", "snapshot"},
	"snapshot":           {"metadatalog/image", "metadatalog"},
	"listener":           {"listener/quota", "protocol", "security"},
	"listener/quota":     {"metadatalog/image"},    // client quotas are read where they are stored
	"listener/meter":     {"listener", "protocol"}, // Prometheus behind the events of listeners: listeners know nothing of it
	"security":           {"metadatalog/image"},
	"quorum/controller":  {"metadatalog/describe", "metadatalog/image", "security"},
	"quorum/raft":        {"metadatalog", "snapshot"},
	"quorum":             {"quorum/controller", "quorum/raft", "metadatalog/replay", "listener", "listener/quota", "protocol", "metadatalog/image", "metadatalog", "snapshot", "security"},
	"broker/storage":     {"broker/storage/checkpoint", "broker/storage/producer", "metadatalog"},
	"broker/replica":     {"broker/replica/core", "broker/storage", "broker/storage/producer", "listener/quota", "metadatalog/image", "protocol"}, // replication is metered as clients are
	"broker/group":       {},
	"broker/txn":         {},
	// Not a part of the broker but a whole node for other people's tests: a public
	// package, which the top level has no room for.
	"broker/kvorumtest":      {"admin", "internal/server", "metadatalog", "metadatalog/image", "quorum/controller"},
	"broker/coordinator":     {"broker/group", "broker/txn"},
	"broker/handler":         {"broker", "broker/coordinator", "broker/group", "broker/peerlog", "broker/replica", "broker/storage", "broker/storage/producer", "broker/txn", "listener", "metadatalog/describe", "metadatalog/image", "protocol", "security"},
	"broker":                 {"broker/coordinator", "broker/group", "broker/handler", "broker/incarnation", "broker/peerlog", "broker/replica", "broker/storage", "broker/storage/producer", "broker/txn", "listener", "listener/quota", "metadatalog/image", "metadatalog/replay", "metadatalog", "protocol", "security", "snapshot"},
	"migration":              {"migration/brokerconfig", "migration/convert", "migration/znode", "metadatalog/image", "metadatalog/replay", "protocol"},
	"migration/brokerconfig": {"metadatalog/image"}, // a broker's server.properties, for plan and command alike
	"migration/convert":      {"migration/znode", "metadatalog/image"},
	"migration/export":       {"migration/znode"},                                     // a file format: admin writes and reads it, commands show what it says
	"migration/driver":       {"migration/znode"},                                     // decides; its shell does
	"migration/kraft":        {"migration", "migration/convert", "metadatalog/image"}, // to and from Apache's KRaft controllers: decides; admin reads and asks
	"migration/mirror":       {"migration", "migration/convert", "migration/znode", "metadatalog/image"},
	"migration/progress":     {"migration/driver"},                                                                                                                                                   // a driver's status for people
	"migration/run":          {"migration", "migration/convert", "migration/driver", "migration/mirror", "migration/zkbroker", "migration/zkbroker/control", "migration/znode", "metadatalog/image"}, // the driver's shell: all of them at work
	// The control requests are made by a pure room of their own; what sends them has
	// threads and connections.
	"migration/zkbroker":         {"metadatalog/image", "migration/zkbroker/control", "protocol"},
	"migration/zkbroker/control": {"metadatalog/image"},
	"migration/znode":            {}, // the formats of ZooKeeper's nodes: read by the client and the conversion alike
	"admin":                      {"broker/storage", "broker/storage/checkpoint", "metadatalog/image", "metadatalog/replay", "metadatalog", "migration", "migration/convert", "migration/export", "migration/kraft", "migration/mirror", "migration/progress", "migration/znode", "protocol", "snapshot"},
	"internal/deps":              {},
	"internal/server":            {"broker", "listener", "listener/meter", "listener/quota", "metadatalog/image", "metadatalog/replay", "metadatalog", "migration", "migration/driver", "migration/progress", "migration/run", "protocol", "quorum/controller", "quorum/raft", "quorum", "security"},

	// What only reads an image is answered alike by controllers and brokers.
	"metadatalog/describe": {"metadatalog/image"},

	// A leaf of its own, so that the rules of purity hold for it.
	"broker/replica/core": {},
	// The rules of a start, which the simulator goes by, too.
	"broker/incarnation": {},
	// So are the rules for metadata from other brokers: one asks, one answers.
	"broker/peerlog": {},
	// What a partition's log knows of its producers is decided by values alone, and
	// the small text files of a log directory are formats: both are read without
	// segments and threads around them.
	"broker/storage/producer":   {},
	"broker/storage/checkpoint": {},
}

// sealed rooms are imported by nobody but themselves.
var sealed = []string{"cmd", "sim", "integration"}

// confined says which rooms may import a module from outside: the choice of
// Raft, of the store and of the clients stays behind one door each. Tests may
// use them anywhere.
var confined = map[string][]string{
	"github.com/lni/dragonboat/v4":      {"quorum/raft", "internal/deps"},
	"github.com/cockroachdb/pebble/v2":  {"metadatalog", "internal/vfs", "internal/deps", "sim"}, // sim: the file system that loses what was not synced
	"github.com/segmentio/kafka-go":     {"cmd", "admin", "integration", "internal/deps"},
	"github.com/twmb/franz-go/pkg/kgo":  {"cmd", "admin", "integration", "internal/deps"},
	"github.com/twmb/franz-go/pkg/kadm": {"cmd", "admin", "integration", "internal/deps"},
	"github.com/spf13/cobra":            {"cmd", "internal/deps"},
	"github.com/go-zookeeper/zk":        {"migration"},
}

// room returns the room that a directory belongs to.
func room(dir string) (string, bool) {
	for d := dir; ; {
		if _, ok := rooms[d]; ok {
			return d, true
		}
		i := strings.LastIndexByte(d, '/')
		if i < 0 {
			return "", false
		}
		d = d[:i]
	}
}

// under reports whether path is dir or below it.
func under(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// contains reports whether list names the room.
func contains(list []string, name string) bool {
	for _, l := range list {
		if l == name || l == anything {
			return true
		}
	}
	return false
}

// checkImports applies the import rules to the files of one package. Tests keep
// the sealed rooms closed but are free otherwise: a test may need any real part.
func (t *Tree) checkImports(p *sourcePackage) []Violation {
	home, ok := room(p.dir)
	if !ok {
		return []Violation{{File: p.dir, Rule: "rooms", Text: "this package is in no room of the architecture: move it, or add its room with a design note"}}
	}
	var found []Violation
	for _, f := range p.files {
		for _, spec := range f.syntax.Imports {
			if why := t.refuse(home, imported(spec), f.test); why != "" {
				found = append(found, Violation{File: f.path, Line: t.line(spec.Pos()), Rule: "imports", Text: why})
			}
		}
	}
	return found
}

// refuse says why a file of the room home may not import a path, "" if it may.
func (t *Tree) refuse(home, path string, test bool) string {
	own, ours := strings.CutPrefix(path, t.module+"/")
	if !ours {
		for module, allowed := range confined {
			if under(path, module) && !test && !contains(allowed, home) {
				return fmt.Sprintf("%s may not import %s: only %s may", home, path, strings.Join(allowed, ", "))
			}
		}
		return ""
	}
	target, ok := room(own)
	if !ok || target == home {
		return "" // a package without a room is reported where it is
	}
	for _, s := range sealed {
		if under(own, s) && !under(home, s) {
			return fmt.Sprintf("nothing imports %s", s)
		}
	}
	if test || contains(leaves, target) || contains(rooms[home], target) {
		return ""
	}
	return fmt.Sprintf("%s may not import %s", home, own)
}

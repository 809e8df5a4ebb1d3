package config

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// both is a node of both roles, whose brokers' rules are all read.
const both = `process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=CONTROLLER://localhost:9093,PLAINTEXT://localhost:9092
controller.listener.names=CONTROLLER
`

// migrating is a controller of a cluster that leaves ZooKeeper.
const migrating = one + `zookeeper.metadata.migration.enable=true
zookeeper.connect=zk:2181
zookeeper.ssl.client.enable=true
inter.broker.listener.name=PLAINTEXT
`

// authorizing is a controller with an authorizer, and a secret for tokens.
const authorizing = one + "authorizer.class.name=" + StandardAuthorizer + "\ndelegation.token.secret.key=s\n"

// shownElsewhere are keys that no other value of this kind of node shows.
var shownElsewhere = map[string]string{
	"process.roles":                       "TestCombinedNode, and every node of these tests",
	"listener.security.protocol.map":      "every protocol but PLAINTEXT is refused",
	"security.inter.broker.protocol":      "every protocol but PLAINTEXT is refused",
	"broker.id":                           "it is node.id by another name",
	"controller.listener.names":           "it parts listeners, in one way only for a node",
	"listeners":                           "TestBrokerNode",
	"kvorum.raft.tls.certificate.file":    "the three go together: kvorum.raft.tls.ca.file",
	"kvorum.raft.tls.key.file":            "the three go together: kvorum.raft.tls.ca.file",
	"zookeeper.metadata.migration.enable": "TestMigrationKeys",
	"zookeeper.ssl.client.enable":         "TestMigrationKeys",
	"zookeeper.ssl.truststore.type":       "PEM is the one that is taken",
	"zookeeper.ssl.keystore.type":         "PEM is the one that is taken",
}

// special are keys whose base is another, or whose value has a form.
var special = map[string]struct{ base, value string }{
	"advertised.listeners":             {both, "PLAINTEXT://elsewhere:9092"},
	"authorizer.class.name":            {one, StandardAuthorizer},
	"super.users":                      {authorizing, "User:a"},
	"allow.everyone.if.no.acl.found":   {authorizing, "true"},
	"delegation.token.max.lifetime.ms": {authorizing, "7"},
	"delegation.token.expiry.time.ms":  {authorizing, "7"},
	"kvorum.migration.start":           {migrating, "command"},
	"inter.broker.listener.name":       {replace(both, "listeners", "CONTROLLER://localhost:9093,PLAINTEXT://localhost:9092,OTHER://localhost:9094") + "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,OTHER:PLAINTEXT\n", "OTHER"},
	"kvorum.metrics.listener":          {both, "127.0.0.1:9999"},
	"kvorum.raft.listener":             {both, "127.0.0.1:9998"},
	"kvorum.raft.tls.ca.file":          {one + "kvorum.raft.tls.certificate.file=c\nkvorum.raft.tls.key.file=k\nkvorum.raft.tls.ca.file=a\n", "b"},
	"replica.selector.class":           {both, rackAwareSelector},
	"max.connections.per.ip.overrides": {both, "127.0.0.1:7"},
}

// TestEveryKeyHasAnEffect: a key that the reference calls "in effect" changes
// something that is read: of the node, of what a running broker follows, of a
// topic's or group's defaults or bounds. What it changes is used, or the compiler
// and the linter would not have it.
func TestEveryKeyHasAnEffect(t *testing.T) {
	for _, k := range Keys(ScopeNode) {
		if k.Effect == Accepted || k.Effect == Refused || k.Effect == RefusedOnBroker || shownElsewhere[k.Name] != "" {
			continue
		}
		base, values := both, candidates(k)
		if strings.HasPrefix(k.Name, "zookeeper.") || k.Name == "password.encoder.secret" || strings.HasPrefix(k.Name, "kvorum.zookeeper.") {
			base = migrating
		}
		if x, ok := special[k.Name]; ok {
			base, values = x.base, []string{x.value}
		}
		before := read(mustNode(t, base))
		var refused []error
		if !slices.ContainsFunc(values, func(value string) bool {
			after, err := parseNode(t, replace(base, k.Name, value))
			if err != nil {
				refused = append(refused, err)
				return false
			}
			return !reflect.DeepEqual(before, read(after))
		}) {
			t.Errorf("%s is %s and changes nothing; of %d values these were refused: %v", k.Name, k.Effect, len(values), refused)
		}
	}
}

// replace sets a key in a text, where it may stand already.
func replace(text, name, value string) string {
	var kept []string
	for _, l := range strings.SplitAfter(text, "\n") {
		if !strings.HasPrefix(l, name+"=") {
			kept = append(kept, l)
		}
	}
	return strings.Join(kept, "") + name + "=" + value + "\n"
}

// candidates are values other than the default.
func candidates(k *Key) []string {
	switch k.Type {
	case Boolean:
		return []string{"true", "false"}
	case Int, Short, Long:
		out := []string{"1", "2", "7", "100", "1000", "20000", "100000", "16777216"}
		if n, err := strconv.ParseInt(k.Default.Text, 10, 64); err == nil && n < math.MaxInt64 {
			out = append([]string{strconv.FormatInt(n+1, 10), strconv.FormatInt(n-1, 10)}, out...)
		}
		return out
	case Double:
		return []string{"0.25", "12345"}
	}
	out := []string{"/data/x", "a", "1", "localhost:9", "1@localhost:9093", "compact"}
	if w, ok := k.Valid.(wordValid); ok {
		out = slices.Concat(w.words, out)
	}
	return out
}

// read is all that others read of a node's configuration.
func read(n *Node) any {
	type all struct {
		Node     Node
		Broker   Broker
		Running  Running
		Limits   Limits
		Defaults []string
	}
	l := Layers{Static: n.Static}
	a := all{Node: *n, Running: l.Running(), Limits: l.Limits("PLAINTEXT", false)}
	a.Node.Static, a.Node.WithoutEffect = nil, nil
	if n.Broker != nil {
		a.Broker = *n.Broker
	}
	for i := range topicKeys {
		if !topicKeys[i].Default.Set() {
			continue
		}
		v, _ := l.Topic(nil, topicKeys[i].Name)
		a.Defaults = append(a.Defaults, fmt.Sprint(v))
	}
	for i := range groupKeys {
		v, _ := l.Group(nil, groupKeys[i].Name)
		a.Defaults = append(a.Defaults, fmt.Sprint(v))
	}
	for _, b := range groupBounds {
		for _, end := range []string{"min", "max"} {
			if k, ok := boundKey(b.kind, end, b.rest); ok {
				a.Defaults = append(a.Defaults, fmt.Sprint(l.number(k)))
			}
		}
	}
	return a
}

// unreadTopicKeys are keys of topics that have no effect, with why.
var unreadTopicKeys = map[string]string{
	"preallocate":             "a segment's file grows as it is written",
	"local.retention.ms":      "of remote storage",
	"local.retention.bytes":   "of remote storage",
	"remote.log.copy.disable": "of remote storage", "remote.log.delete.on.disable": "of remote storage",
}

// TestEveryValueIsRead: what TestEveryKeyHasAnEffect sees change is read outside of
// this package, and every key of topics is.
func TestEveryValueIsRead(t *testing.T) {
	selected, literal := map[string]bool{}, map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "integration" || d.Name() == "config" || d.Name() == "testdata") {
			return cmp.Or(err, fs.SkipDir)
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				selected[n.Sel.Name] = true
			case *ast.BasicLit:
				literal[strings.Trim(n.Value, "\"`")] = true
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{Node{}, Broker{}, Listener{}, Raft{}, Metadata{}, ClusterRules{}, DelegationTokens{}, QuotaWindow{}, Connections{}, Migration{},
		FetchRules{}, OffsetsTopic{}, GroupRules{}, LogRules{}, CleanerRules{}, Running{}, Limits{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			if !selected[f.Name] {
				t.Errorf("nobody reads %T.%s", v, f.Name)
			}
		}
	}
	for i := range topicKeys {
		name := topicKeys[i].Name
		if strings.HasPrefix(name, "compression.") && strings.HasSuffix(name, ".level") {
			continue // read by the name of the codec
		}
		if _, unread := unreadTopicKeys[name]; literal[name] == unread {
			t.Errorf("the topic key %s is read: %v, and named as unread: %v", name, literal[name], unread)
		}
	}
}

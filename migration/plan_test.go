package migration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kvorum/internal/kafka"
	"kvorum/migration/znode"
)

// loadTree reads a recorded tree of migration/znode's testdata.
func loadTree(t testing.TB, name string) *znode.Tree {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("znode", "testdata", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	tree := znode.NewTree()
	for line := range bytes.Lines(text) {
		var n struct {
			Path    string
			Data    *string
			Version int32
		}
		if err := json.Unmarshal(line, &n); err != nil {
			t.Fatal(err)
		}
		node := znode.Node{Version: n.Version}
		if n.Data != nil {
			node.Data = []byte(*n.Data)
		}
		tree.Add(n.Path, node)
	}
	return tree
}

// facts are those of a recorded tree, with brokers that are as they should be.
func facts(t testing.TB, tree *znode.Tree) *Facts {
	t.Helper()
	f := &Facts{Connect: "zk:2181/kafka", Snapshot: znode.Decode(tree), ReadTime: 7 * time.Millisecond, Nodes: tree.Len(), Secret: true, Records: 60}
	for id := kafka.BrokerID(1); id <= 3; id++ {
		configs := map[string]string{
			"inter.broker.protocol.version": "3.9", "log.dirs": "/a", "authorizer.class.name": "kafka.security.authorizer.AclAuthorizer",
			"listeners": "PLAINTEXT://:9092", "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT",
		}
		f.Brokers = append(f.Brokers, BrokerFacts{ID: id, Version: "v3.9", Configs: configs, Static: map[string]string{"broker.id": fmt.Sprint(id), "zookeeper.connect": "zk:2181/kafka"}})
	}
	return f
}

// stops are the checks of a plan's blockers, but for the authorizer that the brokers of
// these tests have.
func stops(p *Plan) []string {
	out := []string{}
	for _, f := range p.Stops(true, []string{"kvorum-authorizer"}) {
		out = append(out, f.Check)
	}
	return out
}

func TestNothingStandsInTheWay(t *testing.T) {
	p := NewPlan(facts(t, loadTree(t, "before")))
	if s := stops(p); len(s) > 0 {
		t.Errorf("stops on %v: %+v", s, p.Findings)
	}
	if p.Phase != PhaseZooKeeper || p.MetadataVersion != "3.9-IV0" || p.ClusterID != "7RyY3jD5SWiPIBiocbCRNw" {
		t.Errorf("phase %s, metadata.version %s, cluster %s", p.Phase, p.MetadataVersion, p.ClusterID)
	}
	want := Counts{Topics: 6, Partitions: 24, TopicConfigs: 8, BrokerConfigs: 4, Passwords: 1, Users: 3, Quotas: 7, ACLs: 7, Records: 60, ZNodes: p.Counts.ZNodes}
	if p.Counts != want {
		t.Errorf("counts %+v", p.Counts)
	}
	if p.Brokers[0].Replicas != 24 || p.Brokers[0].Address != "127.0.0.1:41091" {
		t.Errorf("broker %+v", p.Brokers[0])
	}
}

func TestPhases(t *testing.T) {
	for name, want := range map[string]struct {
		phase string
		stops []string
	}{
		"at-copy":        {PhasePrepared, nil},
		"dual-write":     {PhaseDualWrite, []string{"controller-epoch"}}, // KRaft epoch 6, /controller_epoch 3
		"after-failover": {PhaseDualWrite, []string{"controller-epoch", "broker-missing"}},
		"rolled-back":    {PhaseZooKeeper, nil},
		"epoch-above":    {PhaseZooKeeper, []string{"controller-epoch", "broker-missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := NewPlan(facts(t, loadTree(t, name)))
			if got := slices.Compact(stops(p)); p.Phase != want.phase || strings.Join(got, " ") != strings.Join(want.stops, " ") {
				t.Errorf("phase %s, stops on %v: %+v", p.Phase, stops(p), p.Findings)
			}
		})
	}
}

// TestFindings: each thing that is wrong is found, by the name of its check.
func TestFindings(t *testing.T) {
	each := func(f *Facts, key, value string) {
		for i := range f.Brokers {
			f.Brokers[i].Configs[key] = value
		}
	}
	for _, c := range []struct {
		name   string
		spoil  func(*znode.Tree)
		change func(*Facts)
		check  string
		text   string
	}{
		{"garbage", func(t *znode.Tree) { t.Add("/brokers/topics/orders", znode.Node{Data: []byte("x")}) }, nil, "znode", "/brokers/topics/orders"},
		{"an orphan", func(t *znode.Tree) {
			t.Add("/config/topics/gone", znode.Node{Data: []byte(`{"version":1,"config":{}}`)})
		}, nil, "orphan", "/config/topics/gone"},
		{"no cluster id", func(t *znode.Tree) { t.Remove("/cluster/id") }, nil, "cluster-id", "zookeeper.connect"},
		{"no controller", func(t *znode.Tree) { t.Remove("/controller") }, nil, "controller", "nobody"},
		{"a KRaft controller without migration", func(t *znode.Tree) {
			t.Add("/controller", znode.Node{Data: []byte(`{"version":2,"brokerid":3001,"timestamp":"1","kraftControllerEpoch":1}`)})
		}, nil, "controller", "/controller was claimed by the KRaft controller 3001"},
		{"a left-over migration", func(t *znode.Tree) {
			t.Add("/migration", znode.Node{Data: []byte(`{"version":0,"kraft_metadata_offset":9,"kraft_controller_id":3001,"kraft_metadata_epoch":1,"kraft_controller_epoch":1}`)})
		}, nil, "migration-znode", "left over"},
		{"a deletion", func(t *znode.Tree) { t.Add("/admin/delete_topics/plain", znode.Node{}) }, nil, "deletion", "plain"},
		{"a reassignment", func(t *znode.Tree) {
			t.Add("/admin/reassign_partitions", znode.Node{Data: []byte(`{"version":1,"partitions":[{"topic":"x","partition":0,"replicas":[1]}]}`)})
		}, nil, "reassignment", "1 partitions"},
		{"an election", func(t *znode.Tree) {
			t.Add("/admin/preferred_replica_election", znode.Node{Data: []byte(`{"version":1,"partitions":[{"topic":"x","partition":0}]}`)})
		}, nil, "election", "1 leaders"},
		{"a dead broker", func(t *znode.Tree) { t.Remove("/brokers/ids/3") }, nil, "broker-missing", "broker 3 has"},
		{"no leader", func(t *znode.Tree) {
			t.Add("/brokers/topics/plain/partitions/0/state", znode.Node{Data: []byte(`{"controller_epoch":1,"leader":-1,"version":1,"leader_epoch":1,"isr":[1]}`)})
		}, nil, "offline", "plain-0"},
		{"an old format", func(t *znode.Tree) {
			t.Add("/config/topics/plain", znode.Node{Data: []byte(`{"version":1,"config":{"message.format.version":"0.10.2"}}`)})
		}, nil, "message-format", "plain"},

		{"a clock that is off", func(t *znode.Tree) {
			n, _ := t.Get("/brokers/ids/2")
			b, err := znode.DecodeBroker(2, n.Data)
			if err != nil || b.TimestampMs == 0 {
				panic(fmt.Sprint("the broker says no time: ", err))
			}
			n.CreatedMs = b.TimestampMs + 45_000
			t.Add("/brokers/ids/2", n)
		}, nil, "clock", "broker 2's by -45s"},
		{"a broker that does not answer", nil, func(f *Facts) { f.Brokers[1].Err = errors.New("refused") }, "broker-unreachable", "broker 2"},
		{"two protocols", nil, func(f *Facts) { f.Brokers[1].Configs["inter.broker.protocol.version"] = "3.8" }, "inter-broker-protocol", `"3.8" on broker 2, "3.9" on broker 1, 3`},
		{"an old protocol", nil, func(f *Facts) { each(f, "inter.broker.protocol.version", "3.4") }, "inter-broker-protocol", "3.4"},
		{"an unknown protocol", nil, func(f *Facts) { each(f, "inter.broker.protocol.version", "9.9") }, "inter-broker-protocol", "unknown"},
		{"disks before 3.7", nil, func(f *Facts) { each(f, "inter.broker.protocol.version", "3.6"); each(f, "log.dirs", "/a,/b") }, "jbod", "2 log directories"},
		{"an id from ZooKeeper", nil, func(f *Facts) {
			delete(f.Brokers[0].Static, "broker.id")
			each(f, "broker.id.generation.enable", "true")
		}, "broker-id", "broker 1"},
		{"somebody's authorizer", nil, func(f *Facts) { each(f, "authorizer.class.name", "com.example.Ranger") }, "authorizer", "com.example.Ranger"},
		{"two authorizers", nil, func(f *Facts) { f.Brokers[0].Configs["authorizer.class.name"] = "" }, "authorizer", "differs"},
		{"no secret", nil, func(f *Facts) { f.Secret = false }, "password-secret", "password.encoder.secret"},
		{"a bad quota", nil, func(f *Facts) {
			f.Conversion = []znode.Problem{{Path: "/config/users/x", Err: errors.New("no number")}}
		}, "conversion", "/config/users/x: no number"},
		{"controllers of another cluster", nil, func(f *Facts) { f.Controllers = &ControllerFacts{ClusterID: "x", Active: 3001, Voters: 3} }, "controllers", "cluster x"},
		{"controllers that are gone", nil, func(f *Facts) { f.Controllers = &ControllerFacts{Err: errors.New("refused")} }, "controllers", "refused"},
		{"a controller with a broker's id", nil, func(f *Facts) {
			f.Controllers = &ControllerFacts{ClusterID: f.Snapshot.ClusterID, Active: 2, Voters: 3}
		}, "controllers", "id of a broker"},
		{"an open transaction", nil, func(f *Facts) { f.Transactions = TransactionFacts{Total: 3, Ongoing: 1} }, "open-transactions", "1 transactions are open"},
		{"groups of KIP-848", nil, func(f *Facts) { f.Groups.Consumer = []string{"a", "b"} }, "group-protocol", "2 consumer groups of the new protocol (KIP-848): a, b"},
		{"share groups", nil, func(f *Facts) { f.Groups.Share = []string{"s"} }, "group-protocol", "share groups: s"},
		{"groups that are not told", nil, func(f *Facts) { f.Groups.Err = errors.New("refused") }, "group-protocol", "refused"},
		{"old records", nil, func(f *Facts) { f.Formats.Old = []string{"x-0"} }, "message-format", "the first records of 1 partitions are of magic 0 or 1"},
		{"records that were not seen", nil, func(f *Facts) { f.Formats.Unknown, f.Formats.Err = 2, errors.New("late") }, "message-format", "2 partitions could not be seen: late"},
		{"a tiered topic", func(t *znode.Tree) {
			t.Add("/config/topics/plain", znode.Node{Data: []byte(`{"version":1,"config":{"remote.storage.enable":"true"}}`)})
		}, nil, "remote-storage", "plain"},
		{"transactions", nil, func(f *Facts) { f.Transactions = TransactionFacts{Total: 3, Ongoing: 1} }, "transactions", "3 transactional ids"},
		{"a key that kvorum's broker refuses", nil, func(f *Facts) { f.Brokers[2].Static["metric.reporters"] = "com.example.Reporter" }, "kvorum-broker", "metric.reporters (broker 3)"},
		{"remote storage", nil, func(f *Facts) { f.Brokers[2].Static["remote.log.storage.system.enable"] = "true" }, "remote-storage", "remote.log.storage.system.enable (broker 3)"},
		{"an authorizer", nil, nil, "kvorum-authorizer", "authorizer.class.name (broker 1, 2, 3)"},
		{"a policy", nil, func(f *Facts) { f.Brokers[0].Static["create.topic.policy.class.name"] = "com.example.Policy" }, "broker-config", "create.topic.policy.class.name (broker 1)"},
		{"brokers that speak TLS among themselves", nil, func(f *Facts) {
			each(f, "listener.security.protocol.map", "PLAINTEXT:SSL")
			each(f, "inter.broker.listener.name", "PLAINTEXT")
		}, "broker-config", "listener.security.protocol.map (broker 1, 2, 3): the brokers' own listener PLAINTEXT speaks SSL"},
		{"a listener with TLS", nil, func(f *Facts) {
			f.Brokers[0].Configs["listeners"], f.Brokers[0].Configs["listener.security.protocol.map"] = "A://:1,B://:2", "A:PLAINTEXT,B:SSL,C:SASL_SSL"
		}, "kvorum-listener", "listener B:SSL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := loadTree(t, "before")
			if c.spoil != nil {
				c.spoil(tree)
			}
			f := facts(t, tree)
			if c.change != nil {
				c.change(f)
			}
			p := NewPlan(f)
			i := slices.IndexFunc(p.Stops(true, nil), func(x Finding) bool { return x.Check == c.check && strings.Contains(x.Text, c.text) })
			if i < 0 {
				t.Errorf("not found: %+v", p.Findings)
			}
			if s := p.Stops(true, []string{c.check}); slices.ContainsFunc(s, func(x Finding) bool { return x.Check == c.check }) {
				t.Errorf("allowed and still in the way: %+v", s)
			}
		})
	}
}

// TestClocks: small differences are what a registration takes, others are noted.
func TestClocks(t *testing.T) {
	for off, want := range map[int64]Severity{0: "", 1999: "", -1999: "", 2000: Note, -29_999: Note, 30_000: Blocker, -86_400_000: Blocker} {
		f := &Facts{Snapshot: &znode.Snapshot{Brokers: []znode.Broker{{ID: 1, TimestampMs: 1_800_000_000_000 + off, CreatedMs: 1_800_000_000_000}, {ID: 2, TimestampMs: 5}, {ID: 3, CreatedMs: 5}}}}
		got := checkClocks(f)
		if len(got) > 1 || (len(got) == 1) != (want != "") || len(got) == 1 && (got[0].Severity != want || !strings.Contains(got[0].Text, "broker 1's by ")) {
			t.Errorf("%d ms: %+v, want %q", off, got, want)
		}
	}
}

func TestFindingsNameAFew(t *testing.T) {
	if got := Listed([]int{1, 2, 3, 4, 5, 6, 7}); got != "1, 2, 3, 4, 5 and 2 more" {
		t.Error(got)
	}
}

// TestSteps: the lines for a broker, one way and the other.
func TestSteps(t *testing.T) {
	f := facts(t, loadTree(t, "before"))
	b := &f.Brokers[0]
	delete(b.Static, "broker.id")
	b.Configs["listeners"] = "CONTROLLER://:1"
	b.Configs["listener.security.protocol.map"] = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"
	b.Static["password.encoder.secret"], b.Static["zookeeper.set.acl"] = "", "true"
	var lines []string
	for _, s := range NewPlan(f).Steps {
		for _, n := range s.Nodes {
			if n.Node == "broker 1" && !strings.HasPrefix(s.Title, "If kvorum") {
				for _, l := range n.Remove {
					lines = append(lines, "- "+l)
				}
				for _, l := range n.Add {
					lines = append(lines, "+ "+l)
				}
			}
		}
	}
	want := []string{
		"+ broker.id=1",
		"+ listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER_QUORUM:PLAINTEXT", "+ zookeeper.metadata.migration.enable=true",
		"+ controller.quorum.voters=" + votersPlaceholder, "+ controller.listener.names=CONTROLLER_QUORUM",
		"- broker.id", "- password.encoder.secret", "- zookeeper.connect", "- zookeeper.metadata.migration.enable", "- zookeeper.set.acl",
		"+ authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "+ process.roles=broker", "+ node.id=1",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("lines\n%s", strings.Join(lines, "\n"))
	}
}

// TestControllersStep: what a controller needs is what the brokers have.
func TestControllersStep(t *testing.T) {
	f := facts(t, loadTree(t, "before"))
	b := &f.Brokers[1]
	f.Brokers[0].Err = errors.New("refused")
	b.Static["password.encoder.secret"], b.Configs["super.users"], b.Configs["inter.broker.listener.name"] = "", "User:admin", "INSIDE"
	s := NewPlan(f).Steps[1]
	want := []string{"process.roles=controller", "zookeeper.metadata.migration.enable=true", "zookeeper.connect=" + f.Connect, "inter.broker.listener.name=INSIDE",
		"password.encoder.secret=(the brokers')", "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:admin"}
	if got := s.Nodes[0].Add; len(got) != len(want)+1 || !slices.Equal(got[:len(want)], want) {
		t.Errorf("lines\n%s", strings.Join(got, "\n"))
	}
	if !strings.Contains(s.Commands[0], "-t "+f.Snapshot.ClusterID) || !strings.Contains(s.Commands[0], "--release-version 3.9 ") {
		t.Errorf("commands %q", s.Commands)
	}
	delete(b.Static, "password.encoder.secret")
	b.Configs = map[string]string{"inter.broker.protocol.version": "3.9"}
	if got := NewPlan(f).Steps[1].Nodes[0].Add; len(got) != 5 || got[3] != "inter.broker.listener.name=PLAINTEXT" {
		t.Errorf("lines of a broker that says little\n%s", strings.Join(got, "\n"))
	}
}

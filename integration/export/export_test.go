// Package export proves with Apache's own programs that a cluster can come from
// Apache's controllers to kvorum's and go back: brokers run on through both.
package export

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/integration/loopback"
	"kvorum/integration/peer"
)

// patience bounds the wait for a broker that finds its controllers anew.
const patience = 90 * time.Second

// snapshots makes controllers of both makes write checkpoints often.
var snapshots = map[string]string{"metadata.log.max.record.bytes.between.snapshots": "4000"}

// TestExport: Apache's tools read what kvorum's controllers kept, and an Apache
// controller that starts on it leads the cluster, whose broker goes on.
func TestExport(t *testing.T) {
	for _, run := range []struct {
		release string
		readers []peer.Version
	}{
		{"3.9-IV0", peer.Versions},
		{"4.3-IV0", []peer.Version{peer.V43}}, // 3.9's tools do not know its records
	} {
		t.Run(run.release, func(t *testing.T) {
			ctx := t.Context()
			kit := peer.Require(t, peer.V43)
			d := kit.StartDriver(t)
			q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 1, ReleaseVersion: run.release, Properties: snapshots})
			broker := q.Brokers(ctx, t, d, nil, kit)[0]
			createTopics(ctx, t, broker.Listener, "before", 20)
			old := q.Controllers[0].(*cluster.Node)
			old.Stop(t)

			apache := &peer.Node{Kit: kit, ID: 1, ClusterID: q.ClusterID, Dir: filepath.Join(t.TempDir(), "apache-1"), Controller: q.Addresses[0], Bootstrap: q.Addresses}
			apache.Format(ctx, t, d) // writes its properties; what it formats is replaced
			if err := os.RemoveAll(apache.DataDir()); err != nil {
				t.Fatal(err)
			}
			kvorum(t, old.Binary, "metadata", "export", old.DataDir(), "--to", apache.DataDir(), "--node-id", "1")
			for _, v := range run.readers {
				readByTools(ctx, t, peer.Require(t, v), filepath.Join(apache.DataDir(), "__cluster_metadata-0"))
			}
			apache.Start(t)
			apache.WaitReady(ctx, t)
			goesOn(ctx, t, broker, apache.Controller)
		})
	}
}

// readByTools reads every file of an exported log with one release's tools.
func readByTools(ctx context.Context, t *testing.T, kit *peer.Kit, dir string) {
	t.Helper()
	complaint := regexp.MustCompile(`(?i)exception|error|isvalid: false|corrupt|mismatch|non-consecutive|could not`)
	logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	checkpoints, _ := filepath.Glob(filepath.Join(dir, "*.checkpoint"))
	if len(logs) == 0 || len(checkpoints) == 0 {
		t.Fatalf("%s has %d logs and %d checkpoints", dir, len(logs), len(checkpoints))
	}
	files := append(logs, checkpoints[len(checkpoints)-1])
	out, err := kit.Run(ctx, peer.DumpLog, "--cluster-metadata-decoder", "--files", strings.Join(files, ","))
	if err != nil || out.Exit != 0 || complaint.MatchString(out.Stdout+out.Stderr) || !strings.Contains(out.Stdout, `"name":"before-19"`) {
		t.Errorf("dump-log of %s: %v\n%v", kit.Version, err, out)
	}
	index, _ := filepath.Glob(filepath.Join(dir, "*.*index"))
	out, err = kit.Run(ctx, peer.DumpLog, "--index-sanity-check", "--files", strings.Join(index, ","))
	if err != nil || out.Exit != 0 || complaint.MatchString(out.Stdout+out.Stderr) {
		t.Errorf("dump-log of %s on the indexes: %v\n%v", kit.Version, err, out)
	}
	for _, file := range files {
		out, err := shell(ctx, kit, file)
		if err != nil || out.Exit != 0 || complaint.MatchString(ownLines.ReplaceAllString(out.Stderr, "")) || !strings.Contains(out.Stdout, "before-0") {
			t.Errorf("metadata-shell of %s on %s: %v\n%v", kit.Version, filepath.Base(file), err, out)
		}
	}
}

// shell lists the topics in a file. On a busy machine metadata-shell may run its
// command before it has loaded the file, and prints nothing or waits for ever, also
// with the files of Apache's controllers: such a run is repeated.
func shell(ctx context.Context, kit *peer.Kit, file string) (out peer.Output, err error) {
	for range 8 {
		limited, cancel := context.WithTimeout(ctx, 30*time.Second)
		out, err = kit.Run(limited, peer.MetadataShell, "--snapshot", file, "ls", "/image/topics/byName")
		waited := limited.Err() != nil
		cancel()
		if !waited && (err != nil || out.Exit != 0 || out.Stdout != "") {
			break
		}
	}
	return out, err
}

// ownLines are what metadata-shell says, as an error, of every file that Apache's
// controllers write, too.
var ownLines = regexp.MustCompile(`(?m)^.*ERROR Ignoring control record with type (KRAFT_VERSION|KRAFT_VOTERS|SNAPSHOT_HEADER|SNAPSHOT_FOOTER) at offset \d+ \(org.apache.kafka.metadata.util.SnapshotFileReader\)$`)

// TestImport: Apache's controllers stop, kvorum's go on with their metadata at
// the same endpoints, and the broker, which is not restarted, follows them.
func TestImport(t *testing.T) {
	for _, run := range []struct {
		size    int
		release string
		broker  peer.Version
	}{
		{1, "3.9-IV0", peer.V39},
		{3, "4.3-IV0", peer.V43},
	} {
		t.Run(fmt.Sprintf("%d controllers at %s", run.size, run.release), func(t *testing.T) {
			ctx := t.Context()
			kit := peer.Require(t, peer.V43)
			d := kit.StartDriver(t)
			q := cluster.StartApache(ctx, t, kit, d, cluster.Options{Size: run.size, ReleaseVersion: run.release, Properties: snapshots})
			broker := q.Brokers(ctx, t, d, nil, peer.Require(t, run.broker))[0]
			createTopics(ctx, t, broker.Listener, "before", 20)
			before := topicIDs(ctx, t, broker.Listener)
			var imports []string
			for _, c := range q.Controllers {
				imports = append(imports, "--import", c.(*peer.Node).DataDir())
			}
			nodes := plan(t, q)
			if out, err := nodes[0].run(append([]string{"storage", "format", "-c", nodes[0].PropertiesFile()}, imports...)...); err == nil || !strings.Contains(out, "stop every controller") {
				t.Errorf("an import from running controllers: %v\n%s", err, out)
			}
			for _, c := range q.Controllers {
				c.Stop(t)
			}
			var digest string
			for _, n := range nodes {
				// The last controller has lost its disk: the others are a majority.
				some := imports[:max(2, 2*(run.size/2+1))]
				out, err := n.run(append([]string{"storage", "format", "-t", q.ClusterID, "-c", n.PropertiesFile(), "-o", "json"}, some...)...)
				if err != nil {
					t.Fatalf("import: %v\n%s", err, out)
				}
				got := regexp.MustCompile(`"digest": "\w+"`).FindString(out)
				if digest == "" {
					digest = got
				}
				if got != digest || got == "" {
					t.Errorf("controller %d imported %s and the first %s", n.ID, got, digest)
				}
			}
			for _, n := range nodes {
				n.Start(t)
			}
			for _, n := range nodes {
				n.WaitReady(ctx, t)
			}
			goesOn(ctx, t, broker, q.Addresses...)
			after := topicIDs(ctx, t, broker.Listener)
			if !maps.Equal(before, after) {
				t.Errorf("the topics were %v and are %v", before, after)
			}
		})
	}
}

// TestImportStatic is TestImport for a quorum of kraft.version 0, with a log of an
// old metadata.version and a broker that knows its controller by its own
// configuration.
func TestImportStatic(t *testing.T) {
	ctx := t.Context()
	kit := peer.Require(t, peer.V39)
	d := kit.StartDriver(t)
	q := &cluster.Quorum{ClusterID: "c3RhdGljLXF1b3J1bS0wMQ", Addresses: loopback.Addresses(t, 1)}
	static := map[string]string{"controller.quorum.voters": "1@" + q.Addresses[0], "offsets.topic.replication.factor": "1"}
	maps.Copy(static, snapshots)
	dir := t.TempDir()
	old := &peer.Node{Kit: kit, ID: 1, ClusterID: q.ClusterID, Dir: filepath.Join(dir, "controller"), Controller: q.Addresses[0], ReleaseVersion: "3.7-IV4", Properties: static}
	broker := &peer.Node{Kit: kit, ID: 11, ClusterID: q.ClusterID, Dir: filepath.Join(dir, "broker"), Listener: loopback.Address(t), ReleaseVersion: "3.7-IV4", Properties: static}
	for _, n := range []*peer.Node{old, broker} {
		n.Format(ctx, t, d)
		n.Start(t)
	}
	broker.WaitReady(ctx, t)
	createTopics(ctx, t, broker.Listener, "before", 20)
	before := topicIDs(ctx, t, broker.Listener)
	old.Stop(t)
	n := plan(t, q)[0]
	if out, err := n.run("storage", "format", "-c", n.PropertiesFile(), "--import", old.DataDir()); err == nil || !strings.Contains(out, "controller.quorum.voters") {
		t.Errorf("without the voters: %v\n%s", err, out)
	}
	properties, err := os.ReadFile(n.PropertiesFile())
	if err != nil {
		t.Fatal(err)
	}
	properties = fmt.Appendf(properties, "controller.quorum.voters=%s\n", static["controller.quorum.voters"])
	if err := os.WriteFile(n.PropertiesFile(), properties, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := n.run("storage", "format", "-c", n.PropertiesFile(), "--import", old.DataDir()); err != nil || !strings.Contains(out, "kraft.version 0") {
		t.Fatalf("import: %v\n%s", err, out)
	}
	n.Start(t)
	n.WaitReady(ctx, t)
	goesOn(ctx, t, broker, q.Addresses...)
	// The broker finds what the import has written when it starts anew.
	broker.Stop(t)
	broker.Start(t)
	broker.WaitReady(ctx, t)
	after := topicIDs(ctx, t, broker.Listener)
	if !maps.Equal(before, after) {
		t.Errorf("the topics were %v and are %v", before, after)
	}
}

// node is a kvorum controller whose directory is made by an import.
type node struct{ *cluster.Node }

func (n node) run(args ...string) (string, error) {
	out, err := exec.Command(n.Binary, args...).CombinedOutput()
	return string(out), err
}

// plan makes the controllers that replace a quorum's.
func plan(t *testing.T, q *cluster.Quorum) (nodes []node) {
	for _, n := range q.Successors(t) {
		nodes = append(nodes, node{n})
	}
	return nodes
}

// goesOn waits until a topic can be created through a broker that was never
// restarted, whose partitions have a leader: the broker has followed the new
// controllers and is not fenced.
func goesOn(ctx context.Context, t *testing.T, broker *peer.Node, controllers ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	for n := 0; ; n++ {
		err := createTopic(ctx, broker.Listener, fmt.Sprint("after-", n))
		if err == nil {
			break
		}
		if ctx.Err() != nil || !broker.Running() {
			t.Fatalf("no topic can be created by the controllers %v after %v: %v\n%s", controllers, patience, err, broker.Process().Tail())
		}
		time.Sleep(100 * time.Millisecond) // between two questions
	}
	t.Logf("the broker goes on after %v", time.Since(began).Round(time.Millisecond))
	if !broker.Running() {
		t.Fatalf("the broker has ended:\n%s", broker.Process().Tail())
	}
	client := admin(t, broker.Listener)
	for ctx.Err() == nil {
		topics, err := client.ListTopics(ctx)
		if err == nil && allLed(topics) {
			produce(ctx, t, broker.Listener, "before-3")
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("a partition has no leader after %v", patience)
}

func allLed(topics kadm.TopicDetails) bool {
	for _, topic := range topics {
		for _, p := range topic.Partitions {
			if p.Leader < 0 || p.Err != nil {
				return false
			}
		}
	}
	return len(topics) > 20
}

func admin(t testing.TB, address string) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

func createTopic(ctx context.Context, address, name string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RequestRetries(0))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err = kadm.NewClient(client).CreateTopic(ctx, 2, 1, nil, name)
	return err
}

func createTopics(ctx context.Context, t *testing.T, address, prefix string, count int) {
	t.Helper()
	for n := range count {
		if err := createTopic(ctx, address, fmt.Sprintf("%s-%d", prefix, n)); err != nil {
			t.Fatal(err)
		}
	}
}

func produce(ctx context.Context, t *testing.T, address, topic string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(ctx, kgo.StringRecord("still here")).FirstErr(); err != nil {
		t.Error(err)
	}
}

// topicIDs lists the ids of the topics before-0 to before-19, for which it waits: a
// broker learns of them after the controller has answered.
func topicIDs(ctx context.Context, t *testing.T, address string) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := admin(t, address)
	for {
		topics, err := client.ListTopics(ctx)
		if err != nil {
			t.Fatal(err)
		}
		ids := map[string]string{}
		for name, topic := range topics {
			if strings.HasPrefix(name, "before-") {
				ids[name] = topic.ID.String()
			}
		}
		if len(ids) == 20 {
			return ids
		}
		time.Sleep(50 * time.Millisecond) // between two questions
	}
}

func kvorum(t *testing.T, binary string, args ...string) {
	t.Helper()
	if out, err := exec.Command(binary, args...).CombinedOutput(); err != nil {
		t.Fatalf("kvorum %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

package peer_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"kvorum/integration/loopback"
	"kvorum/integration/peer"
)

// TestNode takes one controller and one broker of each release through a life:
// format, start, tools and clients, pause, kill, start again, stop.
func TestNode(t *testing.T) {
	for _, version := range peer.Versions {
		t.Run(string(version), func(t *testing.T) {
			kit := peer.Require(t, version)
			ctx := context.Background()
			driver := kit.StartDriver(t)
			dir := t.TempDir()
			controller := &peer.Node{
				Kit: kit, ID: 1, ClusterID: "AAAAAAAAAAAAAAAAAAAAAg", Dir: filepath.Join(dir, "controller"),
				Controller: loopback.Address(t),
			}
			controller.Bootstrap = []string{controller.Controller}
			broker := &peer.Node{
				Kit: kit, ID: 11, ClusterID: controller.ClusterID, Dir: filepath.Join(dir, "broker"),
				Listener: loopback.Address(t), Bootstrap: controller.Bootstrap,
				Properties: map[string]string{"offsets.topic.replication.factor": "1"},
			}
			for _, n := range []*peer.Node{controller, broker} {
				n.Format(ctx, t, driver)
				n.Start(t)
			}
			controller.WaitReady(ctx, t)
			broker.WaitReady(ctx, t)
			bootstrap := peer.Args{"bootstrap": broker.Listener, "topic": "story"}
			must(t, driver.Do(ctx, "create-topic", bootstrap, nil))
			if err := driver.Do(ctx, "create-topic", bootstrap, nil); !peer.IsJava(err, "TopicExistsException") {
				t.Errorf("creating a topic twice gave %v", err)
			}
			must(t, driver.Do(ctx, "produce", with(bootstrap, "prefix", "a", "count", 10), nil))

			out, err := driver.Tool(ctx, peer.Topics, "--bootstrap-server", broker.Listener, "--list")
			must(t, err)
			if out.Exit != 0 || !strings.Contains(out.Stdout, "story\n") {
				t.Errorf("topics --list printed %v", out)
			}
			out, err = kit.Run(ctx, peer.MetadataQuorum, "--bootstrap-controller", controller.Controller, "describe", "--status")
			must(t, err)
			if out.Exit != 0 || !strings.Contains(out.Stdout, "LeaderId:               1") {
				t.Errorf("metadata-quorum printed %v", out)
			}

			broker.Pause()
			broker.Resume()
			broker.Kill()
			if broker.Running() {
				t.Error("a killed broker says that it runs")
			}
			broker.Start(t)
			broker.WaitReady(ctx, t)
			var consumed struct{ Values []string }
			must(t, driver.Do(ctx, "consume", with(bootstrap, "group", "g", "count", 10), &consumed))
			if got := strings.Join(consumed.Values, " "); got != "a-0 a-1 a-2 a-3 a-4 a-5 a-6 a-7 a-8 a-9" {
				t.Errorf("consumed %s", got)
			}
			broker.Stop(t)
			controller.Stop(t)
		})
	}
}

// TestToolExit proves that a tool's refusal and its words come back.
func TestToolExit(t *testing.T) {
	kit := peer.Require(t, peer.V43)
	driver := kit.StartDriver(t)
	out, err := driver.Tool(context.Background(), peer.Storage, "format", "-t", "AAAAAAAAAAAAAAAAAAAAAg", "-c", filepath.Join(t.TempDir(), "missing"))
	must(t, err)
	if out.Exit != 1 || !strings.Contains(out.Stderr, "NoSuchFileException") {
		t.Errorf("formatting with a missing file gave %v", out)
	}
	if _, err := driver.Tool(context.Background(), peer.Storage, "random-uuid"); err != nil {
		t.Errorf("the driver does not go on after a refusal: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func with(args peer.Args, pairs ...any) peer.Args {
	out := peer.Args{}
	for k, v := range args {
		out[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i].(string)] = pairs[i+1]
	}
	return out
}

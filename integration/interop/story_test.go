package interop

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
	"kvorum/integration/printed"
)

// update writes what the clusters with Apache controllers print to testdata.
var update = flag.Bool("update", false, "write what Apache's controllers lead to into testdata")

// patience bounds the wait for something that takes a moment: a reassignment, an
// ISR that grows back.
const patience = 90 * time.Second

// mixes are the brokers that a story runs with, and the level of the cluster's
// features. Apache's controllers are always of the newest release: kvorum's
// answers are compared with one release's, and both can lead brokers of 3.9.
var mixes = []struct {
	name    string
	release string
	brokers []peer.Version
}{
	{"4.3", "4.3-IV0", []peer.Version{peer.V43, peer.V43, peer.V43}},
	{"3.9", "3.9-IV0", []peer.Version{peer.V39, peer.V39, peer.V39}},
	{"mixed", "3.9-IV0", []peer.Version{peer.V39, peer.V43, peer.V43}},
}

// TestStory tells the whole story on every mix of brokers and both makes of
// controllers. Apache's own are run with -update or KVORUM_APACHE=all; what they
// print is recorded, and kvorum's are compared with that. Six Apache processes
// that start at once on two cores now and then do not find each other in time.
func TestStory(t *testing.T) {
	for _, make := range []string{"apache", "kvorum"} {
		for _, mix := range mixes {
			t.Run(make+"/"+mix.name, func(t *testing.T) {
				if make == "apache" && !*update && os.Getenv("KVORUM_APACHE") != "all" {
					t.Skip("skipped: what this cluster prints is recorded; KVORUM_APACHE=all runs it again")
				}
				began := time.Now()
				s := &story{T: t, ctx: context.Background()}
				s.driver = peer.Require(t, slices.Max(mix.brokers)).StartDriver(t)
				properties := map[string]string{
					"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
					"super.users":           "User:ANONYMOUS",
				}
				o := cluster.Options{Size: 3, ReleaseVersion: mix.release, Properties: properties}
				if make == "apache" {
					s.quorum = cluster.StartApache(s.ctx, t, peer.Require(t, peer.V43), s.driver, o)
				} else {
					s.quorum = cluster.StartKvorum(s.ctx, t, o)
				}
				var kits []*peer.Kit
				for _, v := range mix.brokers {
					kits = append(kits, peer.Require(t, v))
				}
				s.brokers = s.quorum.Brokers(s.ctx, t, s.driver, properties, kits...)
				for _, b := range s.brokers {
					s.bootstrap = append(s.bootstrap, b.Listener)
				}
				client, err := kgo.NewClient(kgo.SeedBrokers(s.bootstrap...))
				s.must(err)
				defer client.Close()
				s.admin = kadm.NewClient(client)
				t.Logf("the cluster is ready after %v", time.Since(began).Round(time.Millisecond))
				s.tell()
				s.compare(make, filepath.Join("testdata", mix.name+".txt"))
			})
		}
	}
}

// story is one run: a cluster, its clients, and what has been printed.
type story struct {
	*testing.T
	ctx       context.Context
	driver    *peer.Driver
	admin     *kadm.Client
	quorum    *cluster.Quorum
	brokers   []*peer.Node
	bootstrap []string
	said      strings.Builder
}

// tell runs the steps in order; each builds on those before it.
func (s *story) tell() {
	for _, step := range []struct {
		name string
		run  func(*story)
	}{
		{"quorum", (*story).stepQuorum},
		{"features", (*story).stepFeatures},
		{"create", (*story).stepCreate},
		{"clients", (*story).stepClients},
		{"configs", (*story).stepConfigs},
		{"acls", (*story).stepACLs},
		{"users and quotas", (*story).stepUsers},
		{"partitions", (*story).stepPartitions},
		{"reassign", (*story).stepReassign},
		{"elect", (*story).stepElect},
		{"a broker stops and comes back", (*story).stepBroker},
		{"delete", (*story).stepDelete},
	} {
		began := time.Now()
		fmt.Fprintf(&s.said, "=== %s\n", step.name)
		step.run(s)
		s.Logf("%s: %v", step.name, time.Since(began).Round(time.Millisecond))
	}
}

// compare compares what was printed with what Apache's cluster printed, section
// by section.
func (s *story) compare(make, file string) {
	s.Helper()
	got := s.said.String()
	if *update && make == "apache" {
		s.must(os.MkdirAll(filepath.Dir(file), 0o755))
		s.must(os.WriteFile(file, []byte(got), 0o644))
		return
	}
	text, err := os.ReadFile(file)
	s.must(err)
	want := sections(string(text))
	for i, section := range sections(got) {
		recorded := "nothing"
		if i < len(want) {
			recorded = want[i]
		}
		if section != recorded {
			s.Errorf("with %s controllers and not (-) or only (+) what %s has:\n%s", make, file, printed.Difference(recorded, section))
		}
	}
}

func sections(text string) []string { return strings.Split(text, "=== ")[1:] }

func (s *story) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// say prints a line of the story.
func (s *story) say(format string, args ...any) {
	fmt.Fprintf(&s.said, "%s\n", printed.Normalise(fmt.Sprintf(format, args...)))
}

// tool runs one of Apache's tools against the brokers and prints what it printed.
func (s *story) tool(tool peer.Tool, args ...string) {
	s.Helper()
	s.toolBy(asPrinted, tool, s.at(tool, args)...)
}

// toolACLs is tool for the acls tool.
func (s *story) toolACLs(args ...string) {
	s.Helper()
	s.toolBy(printed.Resources, peer.ACLs, s.at(peer.ACLs, args)...)
}

// toolSorted is tool for outputs whose lines come in any order.
func (s *story) toolSorted(tool peer.Tool, args ...string) {
	s.Helper()
	s.toolBy(printed.Sorted, tool, s.at(tool, args)...)
}

// at adds the brokers' addresses where a tool wants them: before its arguments,
// or, in the cluster tool, after its command.
func (s *story) at(tool peer.Tool, args []string) []string {
	first := 0
	if tool == peer.Cluster {
		first = 1
	}
	return slices.Insert(slices.Clone(args), first, "--bootstrap-server", strings.Join(s.bootstrap, ","))
}

// asPrinted leaves an output as it is.
func asPrinted(text string) string { return text }

// toolBy runs a tool and prints its arguments, output and exit code, the output
// arranged by a function of its own.
func (s *story) toolBy(arrange func(string) string, tool peer.Tool, args ...string) {
	s.Helper()
	out, err := s.driver.Tool(s.ctx, tool, args...)
	s.must(err)
	s.say("$ %s %s", tool, strings.Join(args, " "))
	s.say("%s", strings.TrimRight(arrange(out.Stdout), "\n"))
	if stderr := strings.TrimSpace(out.Stderr); stderr != "" || out.Exit != 0 {
		s.say("exit %d, stderr: %s", out.Exit, stderr)
	}
}

// java runs a command of the Java client and prints its outcome: "ok", or the
// exception.
func (s *story) java(op string, args peer.Args) {
	s.Helper()
	err := s.do(op, args, nil)
	outcome := "ok"
	var e *peer.JavaError
	if errors.As(err, &e) {
		outcome = e.Error()
	} else {
		s.must(err)
	}
	s.say("java %s %s: %s", op, describe(args), outcome)
}

// do runs a command of the Java client for its result.
func (s *story) do(op string, args peer.Args, out any) error {
	all := peer.Args{"bootstrap": strings.Join(s.bootstrap, ",")}
	for name, value := range args {
		all[name] = value
	}
	return s.driver.Do(s.ctx, op, all, out)
}

// describe prints a command's fields in the order of their names.
func describe(args peer.Args) string {
	var out []string
	for name, value := range args {
		out = append(out, fmt.Sprintf("%s=%v", name, value))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// until waits for something that takes a moment.
func (s *story) until(what string, ready func() (bool, error)) {
	s.Helper()
	deadline := time.Now().Add(patience)
	for {
		ok, err := ready()
		if ok && err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("waited %v for %s: %v", patience, what, err)
		}
		time.Sleep(20 * time.Millisecond) // between two questions
	}
}

package replace

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/integration/bench/broker"
	"kvorum/integration/cluster"
	"kvorum/integration/loopback"
	"kvorum/integration/peer"
)

// patience bounds each wait for something that takes a second or two.
const patience = time.Minute

// story is a quorum of three with a broker on it.
type story struct {
	t      *testing.T
	ctx    context.Context
	q      *cluster.Quorum
	broker *broker.Broker
}

// TestLostDisk loses the disk of the active controller of three, replaces it, and
// then kills each of the others in turn: the quorum must go on.
func TestLostDisk(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s := &story{t: t, ctx: ctx, q: cluster.StartKvorum(ctx, t, cluster.Options{Size: 3, ReleaseVersion: "4.3-IV0"})}
	s.q.Active(ctx, t)
	var err error
	s.broker, err = broker.Start(ctx, broker.Config{ID: 11, ClusterID: s.q.ClusterID, Controllers: s.q.Addresses, Address: loopback.Address(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.broker.Close()
	select {
	case <-s.broker.Unfenced():
	case <-ctx.Done():
		t.Fatal(s.broker.Err())
	}
	for i := range 20 {
		s.create(fmt.Sprintf("before-%d", i))
	}
	s.healthy()

	lost := s.node(s.q.Active(ctx, t))
	before := s.status(lost.ID)
	s.refuseRunning(lost)
	lost.Kill()
	s.create("while-away")
	s.loseDisk(lost)
	s.refuseReformatted(lost, before)
	s.loseDisk(lost)

	now := s.replace(lost, before)
	lost.Start(t)
	lost.WaitReady(ctx, t)
	began := time.Now()
	s.wait("the new directory is a healthy voter", func() bool {
		st, err := s.ask()
		return err == nil && st.directory(lost.ID) == now
	})
	t.Logf("caught up and in the voter set %v after it was ready", time.Since(began).Round(time.Millisecond))

	// Any two of the three go on, and each of them starts again though its own list
	// of controllers names the lost directory.
	for i := range s.q.Controllers {
		n := s.node(i)
		if n == lost {
			continue
		}
		n.Kill()
		s.create(fmt.Sprintf("without-%d", n.ID))
		s.exists("before-0", "before-19", "while-away", fmt.Sprintf("without-%d", n.ID))
		n.Start(t)
		n.WaitReady(ctx, t)
		s.healthy()
	}
	s.replaceReformatted(s.node(int(lost.ID)%3), before)
	if st, err := s.ask(); err != nil || st.directory(lost.ID) != now {
		t.Errorf("in the end the quorum says %+v, %v; want directory %s of controller %d", st, err, now, lost.ID)
	}
	for _, c := range s.q.Controllers {
		c.Stop(t)
	}
}

// replaceReformatted loses another disk, which is formatted with the list that all
// were formatted with at first: with the same directory id as before, and with the
// directory of a controller that was replaced since. The command does the rest.
func (s *story) replaceReformatted(n *cluster.Node, first quorumStatus) {
	s.t.Helper()
	n.Kill()
	s.loseDisk(n)
	s.refuseReformatted(n, first)
	if out, code := s.run("storage", "replace-controller", "-c", n.PropertiesFile()); code != 0 {
		s.t.Fatalf("the replacement by a formatted disk: exit code %d\n%s", code, out)
	}
	n.Start(s.t)
	n.WaitReady(s.ctx, s.t)
	s.healthy()
	s.exists("before-0", "while-away")
}

func (s *story) node(i int) *cluster.Node { return s.q.Controllers[i].(*cluster.Node) }

// run runs a command of kvorum and returns its output and exit code.
func (s *story) run(args ...string) (string, int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.node(0).Binary, args...)
	var errors strings.Builder
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if ctx.Err() != nil {
		s.t.Fatalf("kvorum %v did not end: %s%s", args, out, &errors)
	}
	if _, isExit := err.(*exec.ExitError); err != nil && !isExit {
		s.t.Fatal(err)
	}
	return string(out) + errors.String(), cmd.ProcessState.ExitCode()
}

// refused runs a command that must fail with all of the words.
func (s *story) refused(words []string, args ...string) {
	s.t.Helper()
	out, code := s.run(args...)
	for _, w := range words {
		if code == 0 || !strings.Contains(out, w) {
			s.t.Errorf("kvorum %s: exit code %d; it should fail with %q:\n%s", strings.Join(args, " "), code, w, out)
		}
	}
}

// quorumStatus is what `kvorum quorum status -o json` prints.
type quorumStatus struct {
	Voters []struct {
		ID          int32  `json:"id"`
		DirectoryID string `json:"directory_id"`
		Address     string `json:"address"`
	} `json:"voters"`
}

func (q quorumStatus) directory(id int32) string {
	for _, v := range q.Voters {
		if v.ID == id {
			return v.DirectoryID
		}
	}
	return ""
}

// ask asks for the quorum's status; the error is that of an unhealthy one.
func (s *story) ask() (q quorumStatus, err error) {
	s.t.Helper()
	out, code := s.run("quorum", "status", "--bootstrap-controller", strings.Join(s.q.Addresses, ","), "-o", "json")
	if code != 0 {
		return q, fmt.Errorf("exit code %d: %s", code, out)
	}
	return q, json.Unmarshal([]byte(out), &q)
}

// status waits for a healthy quorum, with the directory of a controller in it.
func (s *story) status(id int32) (q quorumStatus) {
	s.t.Helper()
	s.wait("a healthy quorum", func() (ok bool) {
		var err error
		q, err = s.ask()
		return err == nil && q.directory(id) != ""
	})
	return q
}

func (s *story) healthy() { s.t.Helper(); s.status(1) }

func (s *story) wait(what string, done func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			q, err := s.ask()
			s.t.Fatalf("not so after %v: %s; the quorum is %+v, %v", patience, what, q, err)
		}
	}
}

// askFor asks the active controller for a topic and returns its answer.
func (s *story) askFor(name string) error {
	s.t.Helper()
	for s.ctx.Err() == nil {
		var code int16
		err := peer.Ask(s.ctx, s.q.Addresses[s.q.Active(s.ctx, s.t)], func(ctx context.Context, b *kgo.Broker) error {
			req := kmsg.NewPtrCreateTopicsRequest()
			topic := kmsg.NewCreateTopicsRequestTopic()
			topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 2, 1
			req.Topics = append(req.Topics, topic)
			resp, err := req.RequestWith(ctx, b)
			if err == nil {
				code = resp.Topics[0].ErrorCode
			}
			return err
		})
		answer := kerr.ErrorForCode(code)
		if err == nil && answer != kerr.NotController && answer != kerr.RequestTimedOut {
			return answer
		}
		time.Sleep(50 * time.Millisecond) // a change of the active controller
	}
	return s.ctx.Err()
}

// create makes a topic. It may have been made by a try whose answer was lost.
func (s *story) create(name string) {
	s.t.Helper()
	if err := s.askFor(name); err != nil && err != kerr.TopicAlreadyExists {
		s.t.Fatalf("create topic %s: %v", name, err)
	}
}

func (s *story) exists(names ...string) {
	s.t.Helper()
	for _, name := range names {
		if err := s.askFor(name); err != kerr.TopicAlreadyExists {
			s.t.Errorf("topic %s is gone: creating it anew gives %v", name, err)
		}
	}
}

// loseDisk takes the disk away; without one the server does not start.
func (s *story) loseDisk(n *cluster.Node) {
	s.t.Helper()
	if err := os.RemoveAll(n.DataDir()); err != nil {
		s.t.Fatal(err)
	}
	s.refused([]string{"storage format"}, "server", "--config", n.PropertiesFile())
}

// refuseRunning tries to replace a controller that runs, in its own directory and
// in another one.
func (s *story) refuseRunning(n *cluster.Node) {
	s.t.Helper()
	s.refused([]string{"has its place in the quorum already"}, "storage", "replace-controller", "-c", n.PropertiesFile())
	text, err := os.ReadFile(n.PropertiesFile())
	if err != nil {
		s.t.Fatal(err)
	}
	dir := s.t.TempDir()
	other, data := filepath.Join(dir, "server.properties"), filepath.Join(dir, "data")
	if err := os.WriteFile(other, []byte(strings.ReplaceAll(string(text), n.DataDir(), data)), 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.refused([]string{"answers at", "stop it"}, "storage", "replace-controller", "-c", other)
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		s.t.Errorf("the refused replacement left %s: %v", data, err)
	}
}

// refuseReformatted formats the lost disk as at first: the server must not run on
// it, and name the command.
func (s *story) refuseReformatted(n *cluster.Node, q quorumStatus) {
	s.t.Helper()
	var voters []string
	for _, v := range q.Voters {
		voters = append(voters, fmt.Sprintf("%d@%s:%s", v.ID, v.Address, v.DirectoryID))
	}
	n.Format(s.ctx, s.t, s.q.ClusterID, "--initial-controllers", strings.Join(voters, ","), "--release-version", "4.3-IV0")
	s.refused([]string{"kvorum storage replace-controller"}, "server", "--config", n.PropertiesFile())
}

// replace runs the command and returns the new directory's id.
func (s *story) replace(n *cluster.Node, before quorumStatus) string {
	s.t.Helper()
	var plan struct {
		Old      string `json:"old_directory_id"`
		New      string `json:"new_directory_id"`
		Format   bool   `json:"format"`
		Replaced bool   `json:"replaced"`
	}
	command := []string{"storage", "replace-controller", "-c", n.PropertiesFile(), "-o", "json"}
	out, code := s.run(append(command, "--dry-run")...)
	if err := json.Unmarshal([]byte(out), &plan); code != 0 || err != nil || plan.Old != before.directory(n.ID) || !plan.Format || plan.Replaced {
		s.t.Fatalf("the dry run: exit code %d, %v\n%s", code, err, out)
	}
	if _, err := os.Stat(n.DataDir()); !os.IsNotExist(err) {
		s.t.Errorf("the dry run left %s: %v", n.DataDir(), err)
	}
	began := time.Now()
	out, code = s.run(command...)
	if err := json.Unmarshal([]byte(out), &plan); code != 0 || err != nil || plan.New == plan.Old || !plan.Replaced {
		s.t.Fatalf("the replacement: exit code %d, %v\n%s", code, err, out)
	}
	s.t.Logf("replaced after %v", time.Since(began).Round(time.Millisecond))
	s.refused([]string{"already"}, command...)
	return plan.New
}

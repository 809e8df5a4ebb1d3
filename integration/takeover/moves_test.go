package takeover

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
)

// TestMovesInTurns: a broker is killed in the middle of a move between its log
// directories. The next one on the same directories, of the other make, goes on with
// it, and begins the way back, in the middle of which it is killed.
func TestMovesInTurns(t *testing.T) {
	kit39, kit43 := peer.Require(t, peer.V39), peer.Require(t, peer.V43)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	session := map[string]string{"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "500"} // a killed broker's id is free after it
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 1, ReleaseVersion: "3.9-IV0", Properties: session})
	dirs := []string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
	current := q.FormatBrokers(ctx, t, kit43.StartDriver(t), map[string]string{
		"broker.heartbeat.interval.ms": "500", "log.dirs": strings.Join(dirs, ","), "replica.fetch.max.bytes": "65536", // so that a throttle stops a move early
	}, kit43)[0]
	old := *current
	old.Kit = kit39
	ours := sameBroker(t, current, q)
	w := &moved{written: written{T: t, ctx: ctx, address: current.Listener}, broker: int32(current.ID), dirs: dirs}
	for i, next := range []turn{
		{"Apache 4.3.1", current, true},
		{"kvorum", ours, true},
		{"Apache 3.9.2", &old, true},
		{"kvorum", ours, false},
	} {
		next.broker.Start(t)
		next.broker.WaitReady(ctx, t)
		if i == 0 {
			w.throttle("1")
			for n := range 8 { // more than is moved in one step
				w.write(100 + n)
			}
			w.settle(next.name)
		} else {
			w.goOn(next.name)
		}
		w.write(i)
		w.check(next.name)
		if !next.kill {
			next.broker.Stop(t)
			continue
		}
		w.begin(next.name, w.other())
		next.broker.Kill()
	}
}

// moved is what all turns wrote, and where it is.
type moved struct {
	written
	broker int32
	dirs   []string
	at     string // the directory of its replica
}

func (w *moved) other() string {
	if w.at == w.dirs[0] {
		return w.dirs[1]
	}
	return w.dirs[0]
}

// settle finds the directory that the broker chose.
func (w *moved) settle(name string) {
	w.Helper()
	w.await(name, "it is somewhere", func(at, future string, _ int64) bool { w.at = at; return at != "" && future == "" })
}

// goOn waits for the end of a move that another broker began; it must not have ended.
func (w *moved) goOn(name string) {
	w.Helper()
	at, target := w.at, w.other()
	w.await(name, "the move goes on", func(here, future string, lag int64) bool { return here == at && future == target && lag > 0 })
	w.check(name)
	w.throttle("9223372036854775807")
	w.await(name, "the move has ended", func(here, future string, _ int64) bool { return here == target && future == "" })
	w.at = target
	w.check(name)
	w.throttle("1")
}

// begin asks for a move and waits until it is under way.
func (w *moved) begin(name, to string) {
	w.Helper()
	c := newClient(w.T, w.address)
	defer c.Close()
	resp, err := kadm.NewClient(c).AlterAllReplicaLogDirs(w.ctx, kadm.AlterReplicaLogDirsReq{to: kadm.TopicsSet{turnsTopic: {0: {}}}})
	if err != nil {
		w.Fatalf("%s: move to %s: %v", name, to, err)
	}
	resp.Each(func(r kadm.AlterReplicaLogDirsResponse) {
		if r.Err != nil {
			w.Fatalf("%s: move to %s: %v", name, to, r.Err)
		}
	})
	w.await(name, "the move is under way", func(at, future string, lag int64) bool {
		return at == w.at && future == to && lag < int64(len(w.values))
	})
}

// await waits until the replica is in the directories as it should be.
func (w *moved) await(name, what string, done func(at, future string, lag int64) bool) {
	w.Helper()
	c := newClient(w.T, w.address)
	defer c.Close()
	adm := kadm.NewClient(c)
	for deadline := time.Now().Add(turnPatience); ; time.Sleep(20 * time.Millisecond) {
		var at, future string
		var lag int64
		all, err := adm.DescribeAllLogDirs(w.ctx, kadm.TopicsSet{turnsTopic: {0: {}}})
		all[w.broker].EachPartition(func(p kadm.DescribedLogDirPartition) {
			if p.IsFuture {
				future, lag = p.Dir, p.OffsetLag
			} else {
				at = p.Dir
			}
		})
		if err == nil && done(at, future, lag) {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("%s: waited in vain until %s: it is in %q, on its way to %q, %d behind, %v", name, what, at, future, lag, err)
		}
	}
}

// throttle bounds the bytes per second of moves.
func (w *moved) throttle(rate string) {
	w.Helper()
	c := newClient(w.T, w.address)
	defer c.Close()
	resp, err := kadm.NewClient(c).AlterBrokerConfigs(w.ctx, []kadm.AlterConfig{{Name: "replica.alter.log.dirs.io.max.bytes.per.second", Value: &rate}}, w.broker)
	if err == nil {
		err = resp[0].Err
	}
	if err != nil {
		w.Fatal(err)
	}
}

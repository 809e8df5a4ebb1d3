package leaving

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
	"kvorum/migration/driver"
	"kvorum/migration/run"
	"kvorum/migration/zk"
	"kvorum/migration/znode"
)

// checkGivenBack checks that a broker may be the controller again, and elect: nobody
// has /controller, and no state was written by an epoch above /controller_epoch.
func checkGivenBack(ctx context.Context, t *testing.T, z *zk.Client) {
	t.Helper()
	tree, err := z.Read(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := znode.Decode(tree)
	if s.Migration != nil || s.Controller != nil && s.Controller.Value.KRaftEpoch >= 0 {
		t.Errorf("/migration %+v, /controller %+v", s.Migration, s.Controller)
	}
	for _, topic := range s.Topics {
		for id, state := range topic.States {
			if state.ControllerEpoch > s.ControllerEpoch.Value {
				t.Errorf("%s-%d was written at epoch %d, /controller_epoch is %d", topic.Name, id, state.ControllerEpoch, s.ControllerEpoch.Value)
			}
		}
	}
}

// atEpoch lets a log begin at a high epoch: controllers that took long to find each
// other have used many up before the claim.
func (l *metadataLog) atEpoch(e kafka.LeaderEpoch) *metadataLog {
	l.epoch = e
	return l
}

func (l *metadataLog) rollBack(t *testing.T, r *run.Runner) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return r.RollBack(ctx)
}

// TestRollBack: from each phase before the end, and then a second migration by new
// controllers, with what brokers have changed in between.
func TestRollBack(t *testing.T) {
	ctx := t.Context()
	z := startZooKeeper(ctx, t)
	direct := z.open(ctx, t)
	begin := func() {
		z.wipe(t, "/kafka")
		loadRecorded(t, z, "before")
	}
	again := func(t *testing.T) { // a second migration
		t.Helper()
		z.create(t, znode.TopicPath("between"), `{"version":3,"topic_id":"AAAAAAAAAAAAAAAAAAAACQ","partitions":{"0":[1]},"adding_replicas":{},"removing_replicas":{}}`)
		l := newLog(t)
		r := l.runner(t, 3009, z.connect)
		l.elect(r)
		l.mirrored(t, r)
		compare(ctx, t, direct, l.image())
		if l.image().TopicByName("between") == nil {
			t.Error("a topic that was made in between is not there")
		}
	}
	t.Run("while brokers are awaited", func(t *testing.T) {
		begin()
		l := newLog(t)
		l.fold(&record.UnregisterBrokerRecord{BrokerID: 3, BrokerEpoch: 4})
		r := l.runner(t, 3001, z.connect)
		l.elect(r)
		waitStatus(t, r, "a broker to be missed", func(s run.Status) bool { return len(s.Brokers) == 1 })
		if err := l.rollBack(t, r); err != nil {
			t.Fatal(err)
		}
		if n, ok, err := direct.Get(ctx, znode.ControllerPath); err != nil || !ok || n.Version != 0 {
			t.Errorf("the broker's /controller is %s, %v", n.Data, err)
		}
		checkGivenBack(ctx, t, direct)
		again(t)
	})
	t.Run("in the copy", func(t *testing.T) {
		begin()
		l := newLog(t).atEpoch(50)
		n := 0
		l.refuse = func() error {
			if n++; n > 1 && n < 4 {
				return errors.New("full")
			}
			return nil
		}
		r := l.runner(t, 3001, z.connect)
		l.elect(r)
		waitStatus(t, r, "the copy to fail", func(s run.Status) bool { return s.State == driver.Copying && s.Err != "" })
		if err := l.rollBack(t, r); err != nil {
			t.Fatal(err)
		}
		checkGivenBack(ctx, t, direct)
		if l.open != nil || l.image().TopicCount() > 0 {
			t.Errorf("open %v, %d topics", l.open, l.image().TopicCount())
		}
		again(t)
	})
	t.Run("in dual write", func(t *testing.T) {
		begin()
		l := newLog(t).atEpoch(50)
		r := l.runner(t, 3001, z.connect)
		l.elect(r)
		l.mirrored(t, r)
		for _, records := range changes()[:2] {
			l.add(records...)
		}
		first := l.image()
		began := time.Now()
		if err := l.rollBack(t, r); err != nil {
			t.Fatal(err)
		}
		t.Logf("rolled back in %v", time.Since(began))
		checkGivenBack(ctx, t, direct)
		compare(ctx, t, direct, first)
		if err := l.rollBack(t, r); err != nil {
			t.Errorf("once more: %v", err)
		}
		// Whoever leads these controllers next leaves ZooKeeper alone.
		next := l.runner(t, 3002, z.connect)
		l.elect(next)
		waitStatus(t, next, "nothing", func(s run.Status) bool {
			return s.Leads && s.LogState == driver.None && s.State == driver.WaitForQuorum
		})
		again(t)
	})
	t.Run("stopped beside another KRaft controller", func(t *testing.T) {
		begin()
		l := newLog(t)
		r := l.runner(t, 3001, z.connect)
		l.elect(r)
		l.mirrored(t, r)
		if _, err := direct.Claim(ctx, zk.Claim{ID: 9, Epoch: 1000}); err != nil {
			t.Fatal(err)
		}
		l.add(changes()[0]...)
		waitStatus(t, r, "the rival to be noticed", func(s run.Status) bool { return s.State == driver.Stopped })
		first := l.image()
		if err := l.rollBack(t, r); err != nil {
			t.Fatal(err)
		}
		checkGivenBack(ctx, t, direct)
		compare(ctx, t, direct, first)
		again(t)
	})
	t.Run("stopped since a broker is the controller", func(t *testing.T) {
		begin()
		l := newLog(t).atEpoch(50)
		r := l.runner(t, 3001, z.connect)
		l.elect(r)
		l.mirrored(t, r)
		l.add(changes()[0]...) // a state at epoch 50
		l.mirrored(t, r)
		// /controller was deleted by hand, a broker has taken it at an epoch that is too low,
		// and has made a topic.
		z.set(t, znode.ControllerPath, `{"version":2,"brokerid":1,"timestamp":"1","kraftControllerEpoch":-1}`)
		z.set(t, znode.ControllerEpochPath, "7")
		theirs := `{"version":3,"topic_id":"AAAAAAAAAAAAAAAAAAAACg","partitions":{"0":[2]},"adding_replicas":{},"removing_replicas":{}}`
		z.create(t, znode.TopicPath("theirs"), theirs)
		l.add(changes()[1]...)
		waitStatus(t, r, "the broker to be noticed", func(s run.Status) bool { return s.State == driver.Stopped })
		if err := l.rollBack(t, r); err != nil {
			t.Fatal(err)
		}
		checkGivenBack(ctx, t, direct)
		if n, _, err := direct.Get(ctx, znode.TopicPath("theirs")); err != nil || string(n.Data) != theirs {
			t.Errorf("the broker's topic is %s, %v", n.Data, err)
		}
		if n, ok, err := direct.Get(ctx, znode.ControllerPath); ok || err != nil {
			t.Errorf("/controller of an epoch that cannot elect is still there: %s, %v", n.Data, err)
		}
		l.mu.Lock()
		l.leader = nil
		l.mu.Unlock()
		again(t)
	})
	t.Run("refused", func(t *testing.T) {
		begin()
		l := newLog(t)
		r := l.runner(t, 3001, z.connect)
		if err := l.rollBack(t, r); err == nil || !strings.Contains(err.Error(), "not the active one") {
			t.Errorf("a follower: %v", err)
		}
		if err := r.Finalize(ctx); err == nil || !strings.Contains(err.Error(), "not the active one") {
			t.Errorf("a follower: %v", err)
		}
		l.elect(r)
		l.mirrored(t, r)
		if err := r.Finalize(ctx); err == nil || !strings.Contains(err.Error(), "[1 2 3] are still in ZooKeeper mode") {
			t.Errorf("brokers in ZooKeeper mode: %v", err)
		}
		for id := range kafka.BrokerID(3) {
			l.add(&record.RegisterBrokerRecord{BrokerID: id + 1, BrokerEpoch: kafka.BrokerEpoch(900 + id), IncarnationID: kafka.UUID{15: byte(id + 9)}})
		}
		if err := l.rollBack(t, r); err == nil || !strings.Contains(err.Error(), "[1 2 3] are in KRaft mode") {
			t.Errorf("brokers in KRaft mode: %v", err)
		}
		if err := r.Finalize(ctx); err != nil {
			t.Fatal(err)
		}
		if err := l.rollBack(t, r); err == nil || !strings.Contains(err.Error(), "finalized") {
			t.Errorf("a finalized one: %v", err)
		}
		tree, err := direct.Read(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if s := znode.Decode(tree); s.Controller == nil || s.Controller.Value.ID != 3001 || s.Migration == nil || s.Migration.Value.Offset < l.image().At().Offset-1 {
			t.Errorf("/controller %+v, /migration %+v", s.Controller, s.Migration)
		}
	})
}

// TestControllerDiesInARollback: before and after each of its writes. Its successor
// finds either the migration or ZooKeeper as its brokers', never nobody's.
func TestControllerDiesInARollback(t *testing.T) {
	ctx := t.Context()
	z := startZooKeeper(ctx, t)
	server, _, _ := strings.Cut(z.connect, "/")
	direct := z.open(ctx, t)
	for _, p := range []point{
		{"append", 1, false}, {"append", 1, true}, {"multi", 1, false}, {"multi", 1, true}, {"append", 2, false}, {"append", 2, true},
	} {
		t.Run(strings.ReplaceAll(p.String(), " ", "-"), func(t *testing.T) {
			z.wipe(t, "/kafka")
			loadRecorded(t, z, "before")
			d := &death{dead: make(chan struct{})}
			g := startGate(t, server, d)
			l := newLog(t)
			l.dies = d.append
			first := l.runner(t, 3001, g.address+"/kafka")
			l.elect(first)
			l.mirrored(t, first)
			d.mu.Lock()
			d.at = point{p.kind, p.n + map[string]int{"append": d.appends / 2, "multi": d.multis}[p.kind], p.after}
			d.mu.Unlock()
			held := l.image()
			gone, cancel := context.WithCancel(ctx)
			go func() {
				<-d.dead
				cancel()
			}()
			_ = first.RollBack(gone) // it dies
			l.mu.Lock()
			l.dies, l.leader = nil, nil
			open := l.open != nil
			if open { // the next one's activation
				l.fold(&record.AbortTransactionRecord{})
			}
			l.mu.Unlock()
			second := l.runner(t, 3002, z.connect)
			l.elect(second)
			waitStatus(t, second, "what is there to be found", func(s run.Status) bool {
				return s.State == driver.DualWrite && s.Lag == 0 || s.State == driver.Stopped || s.LogState == driver.None
			})
			switch s := second.Status(); s.State {
			case driver.DualWrite:
				held = l.image()
				if err := l.rollBack(t, second); err != nil {
					t.Fatal(err)
				}
			case driver.Stopped:
				if !strings.Contains(s.Reason, "rolled back") {
					t.Errorf("%+v", s)
				}
			}
			checkGivenBack(ctx, t, direct)
			compare(ctx, t, direct, held)
		})
	}
}

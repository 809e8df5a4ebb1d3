package driver_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"kvorum/internal/kafka"
	"kvorum/migration/driver"
	"kvorum/migration/znode"
)

// world is the metadata log and ZooKeeper as they outlive a controller, and the one
// driver that leads now.
type world struct {
	t       *rapid.T
	log     driver.Log
	zk      driver.ZooKeeper
	epoch   kafka.LeaderEpoch
	driver  *driver.Driver
	actions []driver.Action // at most one
	retry   *driver.Retry
	copies  int // committed migration transactions
	faults  int // how many more may happen
}

// outcomes of a point in an action.
const (
	goOn = iota
	fail
	crash
)

// elect begins a leadership from what is there. The controller's activation aborts a
// transaction that its predecessor left open.
func (w *world) elect() {
	w.epoch++
	w.driver, w.actions, w.retry = &driver.Driver{}, nil, nil
	w.log.Offset++
	w.log.Open = false
	w.step(driver.Elected{Epoch: w.epoch})
	w.commit()
}

func (w *world) commit() { w.step(driver.Committed{Log: w.log}) }

func (w *world) step(e driver.Event) {
	for _, effect := range w.driver.Step(e) {
		switch effect := effect.(type) {
		case driver.Action:
			if len(w.actions) > 0 {
				w.t.Fatalf("%v while %v is unanswered", effect, w.actions[0])
			}
			w.actions = append(w.actions, effect)
		case driver.RetryIn:
			w.retry = &driver.Retry{Epoch: effect.Epoch}
		case driver.Tell:
			if w.log.State != driver.Migration || effect.Offset > w.zk.Migration.Offset {
				w.t.Fatalf("brokers are told of offset %d, ZooKeeper holds %d", effect.Offset, w.zk.Migration.Offset)
			}
		}
	}
}

// fate draws what happens at a point.
func (w *world) fate() int {
	if w.faults == 0 {
		return goOn
	}
	f := rapid.SampledFrom([]int{goOn, goOn, fail, crash}).Draw(w.t, "fate")
	if f != goOn {
		w.faults--
	}
	return f
}

// carryOut does an action's writes one by one; any of them may be the last one of
// this controller, or be refused.
func (w *world) carryOut(a driver.Action) {
	for _, write := range append(w.writes(a.Kind), func() {}) {
		switch w.fate() {
		case fail:
			w.step(driver.Done{Epoch: a.Epoch, Failed: true, Log: w.log})
			return
		case crash:
			w.elect()
			return
		}
		write()
	}
	w.step(driver.Done{Epoch: a.Epoch, Log: w.log, ZooKeeper: w.zk, Written: w.zk.Migration.Offset})
}

func (w *world) writes(k driver.ActionKind) []func() {
	if k != driver.Look && k != driver.Claim && (w.zk.Controller.KRaftEpoch != w.epoch || w.zk.Migration.ControllerEpoch != w.epoch) {
		w.t.Fatalf("%v at epoch %d without a claim: %+v", k, w.epoch, w.zk)
	}
	switch k {
	case driver.Claim:
		if len(w.log.Unready) > 0 || w.log.State == driver.PreMigration && len(w.log.ZooKeeperMode) < len(w.zk.Brokers) {
			w.t.Fatalf("a claim before everybody is there: %+v", w.log)
		}
		return []func(){
			func() { w.zk.HasController, w.zk.Controller = true, znode.Controller{ID: 1, KRaftEpoch: w.epoch} },
			func() { w.zk.Migration.ControllerID, w.zk.Migration.ControllerEpoch = 1, w.epoch },
		}
	case driver.Abort:
		return []func(){func() { w.log.Offset++; w.log.Open = false }}
	case driver.Copy:
		if w.log.Open || w.log.State != driver.PreMigration {
			w.t.Fatalf("a copy into a log that is not ready for it: %+v", w.log)
		}
		return []func(){
			func() { w.log.Offset++; w.log.Open = true },
			func() { w.log.Offset += 200 },
			func() { w.log.Offset += 2; w.log.Open, w.log.State = false, driver.Migration; w.copies++ },
		}
	case driver.Mirror:
		if w.log.State != driver.Migration {
			w.t.Fatalf("ZooKeeper is written in state %d", w.log.State)
		}
		return []func(){func() {}, func() { w.zk.Migration.Offset, w.zk.Migration.Epoch = w.log.Offset, w.epoch }}
	}
	return nil
}

// idle is what happens around the driver: somebody registers, time passes, the log
// grows.
func (w *world) idle() {
	switch {
	case len(w.log.Unready) > 0:
		w.log.Unready = slices.Clone(w.log.Unready[1:])
	case len(w.log.ZooKeeperMode) < len(w.zk.Brokers):
		w.log.ZooKeeperMode = slices.Clone(w.zk.Brokers[:len(w.log.ZooKeeperMode)+1])
	}
	w.log.Offset++
	w.commit()
	if r := w.retry; r != nil {
		w.retry = nil
		w.step(*r)
	}
}

func (w *world) mirrored() bool {
	return w.driver.Status().State == driver.DualWrite && w.driver.Status().Lag == 0 && len(w.actions) == 0
}

// TestCrashAnywhere: wherever controllers die and whatever fails, the next one
// completes the migration, with one copy.
func TestCrashAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, faults: rapid.IntRange(0, 20).Draw(t, "faults")}
		w.log = driver.Log{Offset: 4, State: driver.PreMigration, Unready: []kafka.NodeID{1, 2, 3}[:rapid.IntRange(0, 3).Draw(t, "unready")]}
		w.zk = driver.ZooKeeper{
			Migration: znode.NoMigration, HasController: true, Controller: znode.Controller{ID: 7, KRaftEpoch: kafka.NoEpoch},
			Brokers: []kafka.BrokerID{7, 8, 9},
		}
		w.elect()
		for steps := 0; w.faults > 0 || !w.mirrored(); steps++ {
			if steps > 1000 {
				t.Fatalf("no end: %+v, log %+v, ZooKeeper %+v", w.driver.Status(), w.log, w.zk)
			}
			if len(w.actions) == 0 {
				w.idle()
				continue
			}
			a := w.actions[0]
			w.actions = nil
			if rapid.Bool().Draw(t, "the log grows meanwhile") {
				w.log.Offset++
				before := len(w.actions)
				w.commit()
				if len(w.actions) != before {
					t.Fatalf("%v while %v is unanswered", w.actions, a)
				}
			}
			w.carryOut(a)
		}
		if w.copies != 1 || w.log.Open {
			t.Fatalf("%d copies, open %v", w.copies, w.log.Open)
		}
		w.log.State = driver.PostMigration
		w.log.Offset++
		w.commit()
		if s := w.driver.Status().State; s != driver.KRaft || len(w.actions) > 0 {
			t.Fatalf("finalized, and %v with %v", s, w.actions)
		}
	})
}

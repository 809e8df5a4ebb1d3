package driver_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"kvorum/internal/kafka"
	"kvorum/migration/driver"
	"kvorum/migration/znode"
)

var (
	byBroker = znode.Controller{ID: 3, KRaftEpoch: kafka.NoEpoch}
	byKRaft  = znode.Controller{ID: 3003, KRaftEpoch: 6}
	claimed  = znode.Migration{ControllerID: 3003, ControllerEpoch: 6, Offset: kafka.NoOffset, Epoch: kafka.NoEpoch}
	copied   = znode.Migration{ControllerID: 3003, ControllerEpoch: 6, Offset: 325, Epoch: 6}
	brokers  = []kafka.BrokerID{1, 2, 3}
)

func ready(s driver.LogState, offset kafka.Offset) driver.Log {
	return driver.Log{Offset: offset, State: s, ZooKeeperMode: brokers}
}

func action(k driver.ActionKind) []driver.Effect {
	return []driver.Effect{driver.Action{Kind: k, Epoch: 7}}
}

// TestMigration is the recorded migration (offsets 4, 256, 325), from the election to
// its end.
func TestMigration(t *testing.T) {
	var d driver.Driver
	pre := driver.Log{Offset: 4, State: driver.PreMigration, Unready: []kafka.NodeID{3002}}
	two := driver.Log{Offset: 194, State: driver.PreMigration, ZooKeeperMode: brokers[:2]}
	zk := driver.ZooKeeper{Migration: znode.NoMigration, HasController: true, Controller: byBroker, Brokers: brokers}
	for i, s := range []struct {
		event  driver.Event
		want   []driver.Effect
		status driver.Status
	}{
		{driver.Elected{Epoch: 7}, nil, driver.Status{State: driver.WaitForQuorum}},
		{driver.Committed{Log: pre}, nil, driver.Status{State: driver.WaitForQuorum, Controllers: []kafka.NodeID{3002}}},
		{driver.Committed{Log: two}, action(driver.Look), driver.Status{State: driver.WaitForBrokers}},
		{driver.Done{Epoch: 7, Log: two, ZooKeeper: zk}, []driver.Effect{driver.RetryIn{After: 500 * time.Millisecond, Epoch: 7}},
			driver.Status{State: driver.WaitForBrokers, Brokers: []kafka.BrokerID{3}}},
		{driver.Committed{Log: ready(driver.PreMigration, 256)}, nil, driver.Status{State: driver.WaitForBrokers}},
		{driver.Retry{Epoch: 7}, action(driver.Look), driver.Status{State: driver.WaitForBrokers}},
		{driver.Done{Epoch: 7, Log: ready(driver.PreMigration, 256), ZooKeeper: zk}, action(driver.Claim), driver.Status{State: driver.BecomeController}},
		{driver.Done{Epoch: 7, Failed: true}, []driver.Effect{driver.RetryIn{After: 100 * time.Millisecond, Epoch: 7}}, driver.Status{State: driver.BecomeController}},
		{driver.Retry{Epoch: 7}, action(driver.Look), driver.Status{State: driver.WaitForBrokers}},
		{driver.Done{Epoch: 7, ZooKeeper: zk}, action(driver.Claim), driver.Status{State: driver.BecomeController}},
		{driver.Done{Epoch: 7}, action(driver.Copy), driver.Status{State: driver.Copying}},
		{driver.Done{Epoch: 6, Failed: true, Rival: true}, nil, driver.Status{State: driver.Copying}}, // of a leadership before
		{driver.Done{Epoch: 7, Log: ready(driver.Migration, 325)}, action(driver.Mirror), driver.Status{State: driver.Syncing}},
		{driver.Committed{Log: ready(driver.Migration, 327)}, nil, driver.Status{State: driver.Syncing}},
		{driver.Done{Epoch: 7, Written: 325}, append([]driver.Effect{driver.Tell{Offset: 325}}, action(driver.Mirror)...), driver.Status{State: driver.DualWrite, Lag: 2}},
		{driver.Done{Epoch: 7, Written: 327}, []driver.Effect{driver.Tell{Offset: 327}}, driver.Status{State: driver.DualWrite}},
		{driver.Committed{Log: ready(driver.Migration, 328)}, action(driver.Mirror), driver.Status{State: driver.DualWrite, Lag: 1}},
		{driver.Committed{Log: ready(driver.PostMigration, 1240)}, nil, driver.Status{State: driver.KRaft}},
		{driver.Done{Epoch: 7, Failed: true, Rival: true}, nil, driver.Status{State: driver.KRaft}},
		{driver.Deposed{}, nil, driver.Status{State: driver.Inactive}},
	} {
		if got := d.Step(s.event); !reflect.DeepEqual(got, s.want) {
			t.Fatalf("%d: %+v gives %+v, want %+v", i, s.event, got, s.want)
		}
		if got := d.Status(); !reflect.DeepEqual(got, s.status) {
			t.Fatalf("%d: after %+v: %+v, want %+v", i, s.event, got, s.status)
		}
	}
}

// TestBegin is what a new leader makes of what it finds.
func TestBegin(t *testing.T) {
	for _, c := range []struct {
		name   string
		log    driver.LogState
		zk     driver.ZooKeeper
		state  driver.State
		reason string
	}{
		{"at first", driver.PreMigration, driver.ZooKeeper{Migration: znode.NoMigration, HasController: true, Controller: byBroker}, driver.BecomeController, ""},
		{"no broker is the controller just now", driver.PreMigration, driver.ZooKeeper{Migration: znode.NoMigration}, driver.BecomeController, ""},
		{"died in the copy", driver.PreMigration, driver.ZooKeeper{Migration: claimed, HasController: true, Controller: byKRaft}, driver.BecomeController, ""},
		{"died after the copy", driver.Migration, driver.ZooKeeper{Migration: claimed, HasController: true, Controller: byKRaft}, driver.BecomeController, ""},
		{"died in dual write", driver.Migration, driver.ZooKeeper{Migration: copied, HasController: true, Controller: byKRaft}, driver.BecomeController, ""},
		{"a second migration", driver.PreMigration, driver.ZooKeeper{Migration: copied, HasController: true, Controller: byKRaft}, driver.Stopped, "another quorum migrates"},
		{"rolled back", driver.Migration, driver.ZooKeeper{Migration: znode.NoMigration, HasController: true, Controller: byBroker}, driver.Stopped, "rolled back"},
		{"in a rollback", driver.Migration, driver.ZooKeeper{Migration: copied}, driver.Stopped, "rolled back"},
		{"a broker took it back", driver.Migration, driver.ZooKeeper{Migration: copied, HasController: true, Controller: byBroker}, driver.Stopped, "rolled back"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d driver.Driver
			d.Step(driver.Committed{Log: ready(c.log, 400)})
			d.Step(driver.Elected{Epoch: 7})
			d.Step(driver.Done{Epoch: 7, ZooKeeper: c.zk})
			if s := d.Status(); s.State != c.state || !strings.Contains(s.Reason, c.reason) || (s.Reason == "") != (c.reason == "") {
				t.Fatalf("%v %q, want %v %q", s.State, s.Reason, c.state, c.reason)
			}
		})
	}
}

// TestRival: who lost ZooKeeper to another writes nothing more, until it is elected
// again.
func TestRival(t *testing.T) {
	var d driver.Driver
	d.Step(driver.Committed{Log: ready(driver.Migration, 400)})
	d.Step(driver.Elected{Epoch: 7})
	zk := driver.ZooKeeper{Migration: copied, HasController: true, Controller: byKRaft}
	d.Step(driver.Done{Epoch: 7, ZooKeeper: zk})
	d.Step(driver.Done{Epoch: 7})
	if got := d.Step(driver.Done{Epoch: 7, Failed: true, Rival: true}); got != nil || d.Status().State != driver.Stopped {
		t.Fatalf("%+v in %v", got, d.Status().State)
	}
	if got := d.Step(driver.Committed{Log: ready(driver.Migration, 401)}); got != nil {
		t.Fatalf("it goes on with %+v", got)
	}
	stopped := d
	d.Step(driver.Elected{Epoch: 9})
	if s := d.Status(); s.State != driver.WaitForBrokers || s.Reason != "" {
		t.Fatalf("elected again: %+v", s)
	}
	// A person who knows of the other one goes back.
	over := []driver.Effect{driver.Action{Kind: driver.GiveBack, Epoch: 7, Over: true}}
	if got := stopped.Step(driver.RollBack{Epoch: 7}); !reflect.DeepEqual(got, over) || stopped.Status().State != driver.RollingBack {
		t.Fatalf("%+v in %+v", got, stopped.Status())
	}
	stopped.Step(driver.Done{Epoch: 7, Failed: true})
	if got := stopped.Step(driver.Retry{Epoch: 7}); !reflect.DeepEqual(got, over) {
		t.Fatalf("again: %+v", got)
	}
}

// TestRollBack: from wherever it is asked for, nothing else is begun; what fails is
// tried again, and after it nothing happens any more.
func TestRollBack(t *testing.T) {
	zk := driver.ZooKeeper{Migration: znode.NoMigration, HasController: true, Controller: byBroker, Brokers: brokers}
	for name, events := range map[string][]driver.Event{
		"waiting for the quorum": {driver.Committed{Log: driver.Log{Offset: 4, State: driver.PreMigration, Unready: []kafka.NodeID{3002}}}},
		"waiting for brokers":    {driver.Committed{Log: driver.Log{Offset: 4, State: driver.PreMigration}}, driver.Done{Epoch: 7, ZooKeeper: zk}},
		"copying": {driver.Committed{Log: ready(driver.PreMigration, 4)}, driver.Done{Epoch: 7, ZooKeeper: zk}, driver.Done{Epoch: 7},
			driver.RollBack{Epoch: 7}, driver.Done{Epoch: 7, Failed: true}},
		"dual write": {driver.Committed{Log: ready(driver.Migration, 4)}, driver.Done{Epoch: 7, ZooKeeper: driver.ZooKeeper{Migration: claimed, HasController: true, Controller: byKRaft}},
			driver.Done{Epoch: 7}, driver.Done{Epoch: 7, Written: 4}},
	} {
		var d driver.Driver
		d.Step(driver.Elected{Epoch: 7})
		for _, e := range events {
			d.Step(e)
		}
		if got := d.Step(driver.RollBack{Epoch: 6}); len(got) > 0 {
			t.Errorf("%s: a rollback of another leadership: %v", name, got)
		}
		if got := d.Step(driver.RollBack{Epoch: 7}); !reflect.DeepEqual(got, action(driver.GiveBack)) {
			t.Errorf("%s: %v", name, got)
		}
		if got := d.Step(driver.Done{Epoch: 7, Failed: true}); len(got) != 1 {
			t.Errorf("%s: after a failure: %v", name, got)
		}
		if got := d.Step(driver.Retry{Epoch: 7}); !reflect.DeepEqual(got, action(driver.GiveBack)) {
			t.Errorf("%s: again: %v", name, got)
		}
		d.Step(driver.Committed{Log: ready(driver.None, 900)})
		got := append(d.Step(driver.Done{Epoch: 7, Log: ready(driver.None, 900)}), d.Step(driver.Committed{Log: ready(driver.None, 901)})...)
		if len(got) > 0 || d.Status().State != driver.RolledBack {
			t.Errorf("%s: at the end %v, %+v", name, got, d.Status())
		}
	}
}

// TestStart: with OnCommand ZooKeeper is looked at again and again, and claimed when a
// person says so and every broker is there; what a controller before has claimed is
// claimed at once.
func TestStart(t *testing.T) {
	free := driver.ZooKeeper{Migration: znode.NoMigration, HasController: true, Controller: byBroker, Brokers: brokers}
	more := driver.ZooKeeper{Migration: znode.NoMigration, HasController: true, Controller: byBroker, Brokers: []kafka.BrokerID{1, 2, 3, 4}}
	held := driver.ZooKeeper{Migration: claimed, HasController: true, Controller: byKRaft, Brokers: brokers}
	again := []driver.Effect{driver.RetryIn{After: 500 * time.Millisecond, Epoch: 7}}
	type step struct {
		event driver.Event
		want  []driver.Effect
		state driver.State
	}
	begin := []step{
		{driver.Elected{Epoch: 7, OnCommand: true}, action(driver.Look), driver.WaitForBrokers},
		{driver.Done{Epoch: 7, ZooKeeper: free}, again, driver.WaitForStart},
		{driver.Retry{Epoch: 7}, action(driver.Look), driver.WaitForStart},
	}
	for name, steps := range map[string][]step{
		"while it looks": {
			{driver.Start{Epoch: 6}, nil, driver.WaitForStart},
			{driver.Start{Epoch: 7}, nil, driver.WaitForStart},
			{driver.Done{Epoch: 7, ZooKeeper: free}, action(driver.Claim), driver.BecomeController},
		},
		"between two looks": {
			{driver.Done{Epoch: 7, ZooKeeper: free}, again, driver.WaitForStart},
			{driver.Start{Epoch: 7}, action(driver.Look), driver.WaitForStart},
			{driver.Done{Epoch: 7, Failed: true}, []driver.Effect{driver.RetryIn{After: 100 * time.Millisecond, Epoch: 7}}, driver.WaitForStart},
			{driver.Retry{Epoch: 7}, action(driver.Look), driver.WaitForStart},
			{driver.Done{Epoch: 7, ZooKeeper: free}, action(driver.Claim), driver.BecomeController},
		},
		"a broker comes": {
			{driver.Done{Epoch: 7, ZooKeeper: more}, again, driver.WaitForBrokers},
			{driver.Start{Epoch: 7}, nil, driver.WaitForBrokers},
			{driver.Retry{Epoch: 7}, action(driver.Look), driver.WaitForBrokers},
			{driver.Done{Epoch: 7, ZooKeeper: more}, again, driver.WaitForBrokers},
		},
		"another controller begins": {
			{driver.Deposed{}, nil, driver.Inactive},
			{driver.Elected{Epoch: 9, OnCommand: true}, []driver.Effect{driver.Action{Kind: driver.Look, Epoch: 9}}, driver.WaitForBrokers},
			{driver.Done{Epoch: 9, ZooKeeper: held}, []driver.Effect{driver.Action{Kind: driver.Claim, Epoch: 9}}, driver.BecomeController},
		},
		"back": {
			{driver.RollBack{Epoch: 7}, nil, driver.WaitForStart},
			{driver.Done{Epoch: 7, ZooKeeper: free}, action(driver.GiveBack), driver.RollingBack},
		},
	} {
		var d driver.Driver
		d.Step(driver.Committed{Log: ready(driver.PreMigration, 4)})
		for i, s := range append(begin[:len(begin):len(begin)], steps...) {
			if got := d.Step(s.event); !reflect.DeepEqual(got, s.want) || d.Status().State != s.state {
				t.Errorf("%s, %d: %+v gives %+v in %v, want %+v in %v", name, i, s.event, got, d.Status().State, s.want, s.state)
				break
			}
		}
	}
}

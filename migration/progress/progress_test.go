package progress

import (
	"strings"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/migration/driver"
)

// TestNext: each state has something to say, and says who is awaited.
func TestNext(t *testing.T) {
	brokers := Progress{AwaitedControllers: []kafka.NodeID{3000, 3001}, AwaitedBrokers: []kafka.BrokerID{1, 2}, ZooKeeperMode: []kafka.BrokerID{0, 1}}
	for s := driver.Inactive; s <= driver.RolledBack; s++ {
		for _, p := range []Progress{{}, brokers} {
			p.State = s.String()
			if next := p.Next(); strings.Contains(next, "unknown") || strings.Contains(next, " - ") {
				t.Errorf("%s: %s", s, next)
			}
			if p.Over() != (s == driver.KRaft || s == driver.RolledBack) {
				t.Errorf("%s is over: %v", s, p.Over())
			}
		}
	}
	for state, names := range map[driver.State]string{driver.WaitForQuorum: "3000,3001", driver.WaitForBrokers: "1,2", driver.DualWrite: "0,1"} {
		brokers.State = state.String()
		if next := brokers.Next(); !strings.Contains(next, names) || !strings.HasPrefix(next, "yours") {
			t.Errorf("%s: %s", state, next)
		}
	}
	if p := (Progress{State: "LATER"}); !strings.Contains(p.Next(), "unknown") {
		t.Errorf("a state of a later release: %s", p.Next())
	}
}

func TestLogName(t *testing.T) {
	for s, want := range map[driver.LogState]string{driver.None: "none", driver.Migration: "migration", driver.PreMigration: "pre-migration", driver.PostMigration: "post-migration", 9: "unknown (9)"} {
		if got := LogName(s); got != want {
			t.Errorf("%d is %s, want %s", s, got, want)
		}
	}
}

package controller

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

func zkState(state int8) Decision {
	return Decision{Records: []record.Message{message(&record.ZkMigrationStateRecord{ZkMigrationState: state})}}
}

// TestMigrationAtActivation holds what a controller's own key does to the state in
// the log (ActivationRecordsGenerator). The rows of a new log are Apache's, but for
// the least level.
func TestMigrationAtActivation(t *testing.T) {
	none, copied, pre, post := image.ZkNone, image.ZkMigration, image.ZkPreMigration, image.ZkPostMigration
	tests := []struct {
		name    string
		level   image.MetadataVersion
		state   int8 // of the log; -1: it is empty
		enabled bool
		zk      bool // a broker is registered in ZooKeeper mode
		open    bool
		want    string // records
		err     string
		note    string
	}{
		{name: "new", level: 21, state: -1, want: "BeginTransaction FeatureLevel ZkMigrationState:0 EndTransaction"},
		{name: "new for a migration", level: 21, state: -1, enabled: true, want: "BeginTransaction FeatureLevel ZkMigrationState:2 EndTransaction"},
		{name: "new for a migration, at the least level", level: 15, state: -1, enabled: true, want: "BeginTransaction FeatureLevel ZkMigrationState:2 EndTransaction"},
		{name: "new for a migration, too old", level: 14, state: -1, enabled: true, err: "metadata.version 3.6-IV2 cannot take brokers over from ZooKeeper, only 3.7-IV0 to 3.9-IV0"},
		{name: "new for a migration, too new", level: 22, state: -1, enabled: true, err: "--release-version 3.9"},
		{name: "new for a migration, its bootstrap cut off", level: 21, state: -1, enabled: true, open: true, want: "AbortTransaction BeginTransaction FeatureLevel ZkMigrationState:2 EndTransaction"},
		{name: "never on ZooKeeper", level: 21, state: none},
		{name: "never on ZooKeeper, enabled", level: 21, state: none, enabled: true, err: "was formatted without it"},
		{name: "before the copy", level: 21, state: pre, enabled: true},
		{name: "within the copy", level: 21, state: pre, enabled: true, open: true, want: "AbortTransaction"},
		{name: "before the copy, not enabled", level: 21, state: pre, note: "set zookeeper.metadata.migration.enable=true"},
		{name: "dual write", level: 21, state: copied, enabled: true, zk: true},
		{name: "the end", level: 21, state: copied, want: "ZkMigrationState:3", note: "ending the migration"},
		{name: "the end, after a big decision was cut off", level: 21, state: copied, open: true, want: "AbortTransaction ZkMigrationState:3", note: "ending the migration"},
		{name: "the end too early", level: 21, state: copied, zk: true, note: "broker 4 is in ZooKeeper mode"},
		{name: "after the end", level: 21, state: post},
		{name: "after the end, still enabled", level: 21, state: post, enabled: true, note: "remove it"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := Input{Image: image.Empty(), Settings: &Settings{}}
			if test.state >= 0 {
				w := newWorld(t, test.level, nil)
				if test.zk {
					r := &record.RegisterBrokerRecord{BrokerID: 4, IncarnationID: kafka.UUID{4}, BrokerEpoch: 40, IsMigratingZkBroker: true, Fenced: true}
					w.apply(Decision{Records: []record.Message{{Record: r, Version: 2}}})
				}
				w.apply(zkState(test.state))
				in = w.in
			}
			settings := *in.Settings
			settings.ZooKeeperMigration = test.enabled
			in.Settings = &settings
			d, note, err := Activate(in, BootstrapRecords(test.level, nil, nil), test.open)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v", err)
				}
				return
			}
			var got []string
			for i, name := range names(d.Records) {
				if z, ok := d.Records[i].Record.(*record.ZkMigrationStateRecord); ok {
					name += fmt.Sprint(":", z.ZkMigrationState)
				}
				got = append(got, name)
			}
			if text := strings.Join(got, " "); err != nil || text != test.want || (note == "") != (test.note == "") || !strings.Contains(note, test.note) {
				t.Errorf("wrote %q and noted %q: %v", text, note, err)
			}
		})
	}
}

// TestZooKeeperModeRegistration is ClusterControlManager's rule of who may come in
// which mode.
func TestZooKeeperModeRegistration(t *testing.T) {
	type request = kmsg.BrokerRegistrationRequest
	tests := []struct {
		name      string
		state     int8
		enabled   bool
		zooKeeper bool
		change    func(*request)
		want      errors.Code
	}{
		{"ZooKeeper mode, not enabled", image.ZkNone, false, true, nil, errors.BrokerIDNotRegistered},
		{"ZooKeeper mode before the copy", image.ZkPreMigration, true, true, nil, errors.None},
		{"ZooKeeper mode before the copy, not enabled", image.ZkPreMigration, false, true, nil, errors.BrokerIDNotRegistered},
		{"ZooKeeper mode in dual write", image.ZkMigration, true, true, nil, errors.None},
		{"ZooKeeper mode in dual write, not enabled", image.ZkMigration, false, true, nil, errors.BrokerIDNotRegistered},
		{"ZooKeeper mode after the end", image.ZkPostMigration, true, true, nil, errors.BrokerIDNotRegistered},
		{"KRaft mode before the copy", image.ZkPreMigration, true, false, nil, errors.BrokerIDNotRegistered},
		{"KRaft mode in dual write", image.ZkMigration, true, false, nil, errors.None},
		{"KRaft mode after the end", image.ZkPostMigration, false, false, nil, errors.None},
		{"without the listener for control requests", image.ZkPreMigration, true, true, func(r *request) { r.Listeners[0].Name = "OTHER" }, errors.InvalidRegistration},
		{"KRaft mode without it", image.ZkMigration, true, false, func(r *request) { r.Listeners[0].Name = "OTHER" }, errors.None},
		{"another inter.broker.protocol.version", image.ZkPreMigration, true, true, func(r *request) { setFeature(r, "metadata.version", 20, 20) }, errors.UnsupportedVersion},
		{"the same inter.broker.protocol.version", image.ZkPreMigration, true, true, func(r *request) { setFeature(r, "metadata.version", 21, 21) }, errors.None},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, image.MV39IV0, nil)
			w.apply(zkState(test.state))
			settings := *w.in.Settings
			settings.ZooKeeperMigration, settings.InterBrokerListener = test.enabled, "PLAINTEXT"
			w.in.Settings = &settings
			r := w.registration(5, 2)
			r.IsMigratingZkBroker = test.zooKeeper
			if test.change != nil {
				test.change(r)
			}
			d, resp := RegisterBroker(w.in, r)
			if got := errors.Code(resp.ErrorCode); got != test.want {
				t.Fatalf("answered %v", got)
			}
			if test.want != errors.None {
				return
			}
			w.apply(d)
			if b := w.in.Image.Broker(5); b.IsMigratingZkBroker != test.zooKeeper || !b.Fenced {
				t.Errorf("registered as %+v", b)
			}
		})
	}
}

package controller

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

func setFeature(req *kmsg.BrokerRegistrationRequest, name string, least, most int16) {
	for i := range req.Features {
		if req.Features[i].Name == name {
			req.Features[i].MinSupportedVersion, req.Features[i].MaxSupportedVersion = least, most
		}
	}
}

func dropFeature(req *kmsg.BrokerRegistrationRequest, name string) {
	req.Features = slices.DeleteFunc(req.Features, func(f kmsg.BrokerRegistrationRequestFeature) bool { return f.Name == name })
}

func TestRegistrationIsRefused(t *testing.T) {
	type request = kmsg.BrokerRegistrationRequest
	tests := []struct {
		name   string
		level  image.MetadataVersion
		change func(*world, *request)
		want   errors.Code
	}{
		{"other cluster", 30, func(_ *world, r *request) { r.ClusterID = "other" }, errors.InconsistentClusterID},
		{"id in use", 30, func(_ *world, r *request) { r.BrokerID, r.LogDirs = 1, [][16]byte{dir(1, 0)} }, errors.DuplicateBrokerRegistration},
		{"id in use, session at its end", 30, func(w *world, r *request) {
			r.BrokerID, r.LogDirs = 1, [][16]byte{dir(1, 0)}
			w.in.NowMs += worldTimeout
		}, errors.DuplicateBrokerRegistration},
		{"id in use, session expired", 30, func(w *world, r *request) {
			r.BrokerID, r.LogDirs = 1, [][16]byte{dir(1, 0)}
			w.in.NowMs += worldTimeout + 1
		}, errors.None},
		{"id in use by a fenced broker", 30, func(w *world, r *request) {
			beat := w.beat(1)
			beat.WantFence = true
			w.heartbeat(beat)
			r.BrokerID, r.LogDirs = 1, [][16]byte{dir(1, 0)}
		}, errors.None},
		{"ZooKeeper broker", 21, func(_ *world, r *request) { r.IsMigratingZkBroker = true }, errors.BrokerIDNotRegistered},
		{"before the migration", 21, func(w *world, _ *request) {
			w.apply(Decision{Records: []record.Message{message(&record.ZkMigrationStateRecord{ZkMigrationState: image.ZkPreMigration})}})
		}, errors.BrokerIDNotRegistered},

		{"no directory", 17, func(_ *world, r *request) { r.LogDirs = nil }, errors.InvalidRegistration},
		{"no directory at an older level", 15, func(_ *world, r *request) { r.LogDirs = nil }, errors.None},
		{"reserved directory", 30, func(_ *world, r *request) { r.LogDirs = [][16]byte{kafka.DirectoryLost} }, errors.InvalidRegistration},
		{"directory twice", 30, func(_ *world, r *request) { r.LogDirs = [][16]byte{dir(5, 0), dir(5, 0)} }, errors.InvalidRegistration},
		{"directory of another", 30, func(_ *world, r *request) { r.LogDirs = [][16]byte{dir(1, 1)} }, errors.InvalidRegistration},
		{"listener twice", 30, func(_ *world, r *request) { r.Listeners = append(r.Listeners, r.Listeners[0]) }, errors.InvalidRegistration},
		{"too many directories", 30, func(_ *world, r *request) { r.LogDirs = make([][16]byte, maxRegistrationItems+1) }, errors.InvalidRegistration},

		{"3.9 at 3.9", 21, func(_ *world, r *request) { setFeature(r, "metadata.version", 1, 21) }, errors.None},
		{"3.9 at 4.0", 22, func(_ *world, r *request) { setFeature(r, "metadata.version", 1, 21) }, errors.UnsupportedVersion},
		{"4.3 below its least", 7, func(_ *world, r *request) { setFeature(r, "metadata.version", 8, 30) }, errors.UnsupportedVersion},
		{"no metadata.version", 30, func(_ *world, r *request) { dropFeature(r, "metadata.version") }, errors.InvalidRegistration},
		{"feature twice", 30, func(_ *world, r *request) { r.Features = append(r.Features, r.Features[0]) }, errors.InvalidRegistration},
		{"a finalized feature is not listed", 30, func(_ *world, r *request) { dropFeature(r, "share.version") }, errors.UnsupportedVersion},
		{"a feature that is not finalized is not listed", 21, func(_ *world, r *request) { dropFeature(r, "share.version") }, errors.None},
		{"a finalized feature is too high", 30, func(_ *world, r *request) { setFeature(r, "transaction.version", 0, 1) }, errors.UnsupportedVersion},
		{"a feature must be on", 21, func(_ *world, r *request) { setFeature(r, "group.version", 1, 1) }, errors.UnsupportedVersion},
		{"an unknown feature that may be off", 21, func(_ *world, r *request) {
			r.Features = append(r.Features, kmsg.BrokerRegistrationRequestFeature{Name: "new", MaxSupportedVersion: 3})
		}, errors.None},
		{"no kraft.version at 1", 21, func(_ *world, r *request) { dropFeature(r, "kraft.version") }, errors.UnsupportedVersion},
		{"no kraft.version at 0", 21, func(w *world, r *request) { dropFeature(r, "kraft.version"); w.in.KRaftVersion = 0 }, errors.None},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.level, DefaultFeatures(test.level))
			w.start(1)
			req := w.registration(5, 2)
			test.change(w, req)
			d, resp := RegisterBroker(w.in, req)
			if got := errors.Code(resp.ErrorCode); got != test.want {
				t.Fatalf("%s instead of %s", got, test.want)
			}
			if (len(d.Records) > 0) != (test.want == errors.None) {
				t.Errorf("wrote %s", picture(w.in.Image, d.Records))
			}
			if test.want == errors.None {
				w.apply(d)
			}
		})
	}
}

func TestRegistrationRecordByLevel(t *testing.T) {
	for level, want := range map[image.MetadataVersion]int16{7: 1, 8: 2, 16: 2, 17: 3, 21: 3, 29: 3, 30: 4} {
		w := newWorld(t, level, nil)
		req := w.registration(1, 1)
		rack := "r"
		req.Rack = &rack
		d, resp := RegisterBroker(w.in, req)
		if len(d.Records) != 1 || d.Records[0].Version != want || d.Atomic {
			t.Fatalf("%s: %+v", level, d)
		}
		r := d.Records[0].Record.(*record.RegisterBrokerRecord)
		if !r.Fenced || r.BrokerEpoch != kafka.BrokerEpoch(w.in.NextOffset) || int64(r.BrokerEpoch) != resp.BrokerEpoch || *r.Rack != "r" {
			t.Errorf("%s: %+v", level, r)
		}
		if (len(r.LogDirs) == 2) != (level >= image.MV37IV2) || len(r.EndPoints) != 1 || len(r.Features) != 7 {
			t.Errorf("%s: %+v", level, r)
		}
		w.apply(d)
	}
}

// A broker that registers again without restarting keeps its epoch and state.
func TestAmendedRegistration(t *testing.T) {
	w := newWorld(t, image.MV43IV0, DefaultFeatures(image.MV43IV0))
	w.start(1, 2)
	beat := w.beat(1)
	beat.CordonedLogDirs = [][16]byte{dir(1, 1)}
	w.heartbeat(beat)
	w.topic(1, "a", nil, []kafka.BrokerID{1, 2})
	before := w.in.Image.Broker(1)
	req := w.registration(1, 1)
	req.LogDirs = append(req.LogDirs, dir(1, 2))
	if resp := w.register(req); resp.ErrorCode != 0 || resp.BrokerEpoch != int64(before.Epoch) {
		t.Fatalf("%+v", resp)
	}
	after := w.in.Image.Broker(1)
	if after.Fenced || len(after.Directories) != 3 || !slices.Equal(after.CordonedDirectories, before.CordonedDirectories) {
		t.Errorf("%+v", after)
	}
	if after.RegisteredAt <= before.RegisteredAt {
		t.Error("the broker has to catch up with the new record")
	}
	if w.partition("a", 0).Leader != 1 {
		t.Errorf("it lost its leadership: %s", partitionText(w.partition("a", 0)))
	}
}

// A new incarnation loses its place in ISRs, and in ELRs if it crashed.
func TestRestartLeavesISRAndELR(t *testing.T) {
	for _, test := range []struct {
		name    string
		elr     bool
		version int16
		clean   bool
		wantISR []kafka.BrokerID
		wantELR []kafka.BrokerID
	}{
		{"without ELR, crashed", false, 4, false, []kafka.BrokerID{1}, nil},
		{"without ELR, clean", false, 4, true, []kafka.BrokerID{1}, nil},
		{"ELR, clean", true, 4, true, []kafka.BrokerID{1}, []kafka.BrokerID{2}},
		{"ELR, crashed", true, 4, false, []kafka.BrokerID{1}, nil},
		{"ELR, says clean in a version that cannot", true, 2, true, []kafka.BrokerID{1}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			features := DefaultFeatures(image.MV43IV0)
			if !test.elr {
				delete(features, image.FeatureELRVersion)
			}
			w := newWorld(t, image.MV43IV0, features)
			w.start(1, 2)
			w.topic(1, "a", map[string]string{"min.insync.replicas": "2"}, []kafka.BrokerID{2, 1})
			w.in.NowMs += worldTimeout + 1
			w.in.Sessions.Touch(1, w.in.Image.Broker(1).Epoch, w.in.NowMs, 0)
			req := w.registration(2, 2)
			req.Version = test.version
			if !test.clean {
				req.PreviousBrokerEpoch = -1
			}
			if resp := w.register(req); resp.ErrorCode != 0 {
				t.Fatal(errors.Code(resp.ErrorCode))
			}
			p := w.partition("a", 0)
			if !slices.Equal(p.ISR, test.wantISR) || !slices.Equal(p.ELR, test.wantELR) || p.Leader != 1 {
				t.Error(partitionText(p))
			}
		})
	}
}

func TestUnregisterBroker(t *testing.T) {
	w := newWorld(t, image.MV39IV0, nil)
	w.start(1, 2)
	w.topic(1, "a", nil, []kafka.BrokerID{2, 1})
	req := kmsg.NewPtrUnregisterBrokerRequest()
	req.BrokerID = 9
	if _, resp := UnregisterBroker(w.in, req); errors.Code(resp.ErrorCode) != errors.BrokerIDNotRegistered || resp.ErrorMessage == nil {
		t.Errorf("%+v", resp)
	}
	req.BrokerID = 2
	denied := w.in
	denied.Caller.Allowed = func(int8, int8, string) bool { return false }
	if d, resp := UnregisterBroker(denied, req); errors.Code(resp.ErrorCode) != errors.ClusterAuthorizationFailed || d.Records != nil {
		t.Errorf("%+v", resp)
	}
	d, resp := UnregisterBroker(w.in, req)
	if resp.ErrorCode != 0 {
		t.Fatal(errors.Code(resp.ErrorCode))
	}
	w.apply(d)
	if w.in.Image.Broker(2) != nil || w.partition("a", 0).Leader != 1 {
		t.Error(partitionText(w.partition("a", 0)))
	}
}

func TestRegisterControllerNeedsALevel(t *testing.T) {
	req := kmsg.NewPtrControllerRegistrationRequest()
	req.ControllerID = 3
	for level, want := range map[image.MetadataVersion]errors.Code{14: errors.UnsupportedVersion, 15: errors.None, 30: errors.None} {
		w := newWorld(t, level, nil)
		d, resp := RegisterController(w.in, req)
		if errors.Code(resp.ErrorCode) != want {
			t.Errorf("%s: %s", level, errors.Code(resp.ErrorCode))
		}
		if w.apply(d); (w.in.Image.Controller(3) != nil) != (want == errors.None) {
			t.Errorf("%s: %+v", level, w.in.Image.Controller(3))
		}
	}
	req.Listeners = make([]kmsg.ControllerRegistrationRequestListener, maxRegistrationItems+1)
	if _, resp := RegisterController(newWorld(t, 30, nil).in, req); errors.Code(resp.ErrorCode) != errors.InvalidRegistration {
		t.Errorf("%+v", resp)
	}
}

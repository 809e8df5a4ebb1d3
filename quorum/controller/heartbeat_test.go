package controller

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

func TestHeartbeatStates(t *testing.T) {
	type request = kmsg.BrokerHeartbeatRequest
	fence := func(w *world, _ *request) { b := w.beat(1); b.WantFence = true; w.heartbeat(b) }
	lead := func(w *world, _ *request) { w.topic(1, "a", nil, []kafka.BrokerID{1, 2}) }
	tests := []struct {
		name                       string
		before                     func(*world, *request)
		wantFence, wantShutdown    bool
		behind                     int64
		caughtUp, fenced, shutdown bool
		records                    string
	}{
		{"fenced, wants to stay", fence, true, false, 0, true, true, false, ""},
		{"fenced, caught up", fence, false, false, 0, true, false, false, "BrokerRegistrationChange v0 1 epoch=3 fenced=-1 shutdown=0"},
		{"fenced, behind", fence, false, false, 100, false, true, false, ""},
		{"fenced, wants to stop", fence, false, true, 0, true, true, true, ""},
		{"unfenced", nil, false, false, 0, true, false, false, ""},
		{"unfenced, behind", nil, false, false, 100, false, false, false, ""},
		{"unfenced, wants to be fenced", nil, true, false, 0, true, true, false, "BrokerRegistrationChange v0 1 epoch=3 fenced=1 shutdown=0"},
		{"unfenced, wants both", nil, true, true, 0, true, true, true, "BrokerRegistrationChange v0 1 epoch=3 fenced=1 shutdown=0"},
		{"unfenced, leads nothing, wants to stop", nil, false, true, 0, true, true, true, "BrokerRegistrationChange v0 1 epoch=3 fenced=1 shutdown=0"},
		{"unfenced, leads, wants to stop", lead, false, true, 0, true, false, false,
			"BrokerRegistrationChange v1 1 epoch=3 fenced=0 shutdown=1\nPartitionChange v0 a-0 leader=2 isr=[2]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, image.MV36IV0, nil)
			w.apply(Decision{Records: []record.Message{message(&record.NoOpRecord{}), message(&record.NoOpRecord{})}})
			w.start(1, 2)
			req := w.beat(1)
			if test.before != nil {
				test.before(w, req)
			}
			req.WantFence, req.WantShutdown = test.wantFence, test.wantShutdown
			req.CurrentMetadataOffset -= test.behind
			d, resp := Heartbeat(w.in, req)
			if resp.ErrorCode != 0 || resp.IsCaughtUp != test.caughtUp || resp.IsFenced != test.fenced || resp.ShouldShutdown != test.shutdown {
				t.Errorf("%+v", resp)
			}
			want := test.records
			if want != "" {
				want += "\n"
			}
			if got := picture(w.in.Image, d.Records); got != want {
				t.Errorf("wrote\n%swant\n%s", got, want)
			}
		})
	}
}

func TestHeartbeatIsRefused(t *testing.T) {
	w := newWorld(t, image.MV43IV0, nil)
	w.start(1)
	for name, test := range map[string]struct {
		change func(*kmsg.BrokerHeartbeatRequest)
		want   errors.Code
	}{
		"other epoch":          {func(r *kmsg.BrokerHeartbeatRequest) { r.BrokerEpoch++ }, errors.StaleBrokerEpoch},
		"not registered":       {func(r *kmsg.BrokerHeartbeatRequest) { r.BrokerID = 9 }, errors.StaleBrokerEpoch},
		"too many directories": {func(r *kmsg.BrokerHeartbeatRequest) { r.CordonedLogDirs = make([][16]byte, 1001) }, errors.InvalidRequest},
	} {
		req := w.beat(1)
		test.change(req)
		if d, resp := Heartbeat(w.in, req); errors.Code(resp.ErrorCode) != test.want || !resp.IsFenced || d.Records != nil {
			t.Errorf("%s: %+v", name, resp)
		}
	}
}

// A controlled shutdown ends when the broker leads nothing and every active
// broker has applied the records that moved its leaderships.
func TestControlledShutdownWaitsForTheOthers(t *testing.T) {
	w := newWorld(t, image.MV39IV0, nil)
	w.start(1, 2, 3)
	w.topic(1, "a", nil, []kafka.BrokerID{1, 2})
	stop := func() *kmsg.BrokerHeartbeatResponse {
		req := w.beat(1)
		req.WantShutdown = true
		return w.heartbeat(req)
	}
	if resp := stop(); resp.ShouldShutdown || resp.IsFenced {
		t.Fatalf("%+v", resp)
	}
	moved := w.in.Image.At().Offset
	behind := func(id kafka.BrokerID, at kafka.Offset) {
		req := w.beat(id)
		req.CurrentMetadataOffset = int64(at)
		w.heartbeat(req)
	}
	behind(2, moved)
	behind(3, moved-1)
	for range 2 { // asking again does not move the offset to wait for
		if resp := stop(); resp.ShouldShutdown || len(w.log) == 0 {
			t.Fatalf("%+v", resp)
		}
	}
	behind(3, moved)
	if resp := stop(); !resp.ShouldShutdown || !resp.IsFenced || !w.in.Image.Broker(1).Fenced {
		t.Fatalf("%+v", resp)
	}
	if resp := stop(); !resp.ShouldShutdown || !resp.IsFenced {
		t.Fatalf("asked again: %+v", resp)
	}
}

func TestControlledShutdownSurvivesAFailover(t *testing.T) {
	w := newWorld(t, image.MV39IV0, nil)
	w.start(1, 2)
	w.topic(1, "a", nil, []kafka.BrokerID{1, 2})
	req := w.beat(1)
	req.WantShutdown = true
	w.heartbeat(req)
	w.in.Sessions.Reset(w.in.Image, w.in.NowMs)
	if resp := w.heartbeat(req); resp.ShouldShutdown {
		t.Fatal("broker 2 was not heard yet")
	}
	w.heartbeat(w.beat(2))
	if resp := w.heartbeat(req); !resp.ShouldShutdown {
		t.Fatalf("%+v", resp)
	}
}

func TestDirectoriesFail(t *testing.T) {
	w := newWorld(t, image.MV39IV0, nil)
	w.start(1, 2)
	w.topic(1, "a", nil, []kafka.BrokerID{1, 2}, []kafka.BrokerID{1, 2}, []kafka.BrokerID{1})
	for i, n := range []byte{0, 1, 0} {
		w.assign(1, dir(1, n), worldTopicID(1), int32(i))
	}
	lost := func(dirs ...[16]byte) *kmsg.BrokerHeartbeatRequest {
		req := w.beat(1)
		req.OfflineLogDirs = dirs
		return req
	}
	w.heartbeat(lost(dir(1, 0), dir(2, 0))) // broker 2's directory is not for broker 1 to report
	if b := w.in.Image.Broker(1); len(b.Directories) != 1 || b.Directories[0] != dir(1, 1) {
		t.Errorf("%+v", b)
	}
	for id, want := range []string{
		"replicas=[1 2] isr=[2] leader=2 epoch=1.2", "replicas=[1 2] isr=[1 2] leader=1 epoch=0.1", "replicas=[1] isr=[1] leader=-1 epoch=1.2",
	} {
		if got := partitionText(w.partition("a", kafka.PartitionID(id))); got != want {
			t.Errorf("a-%d: %s", id, got)
		}
	}
	before := len(w.log)
	w.heartbeat(lost(dir(1, 0)))
	if len(w.log) != before {
		t.Errorf("reported again: %s", picture(w.in.Image, w.log[before:]))
	}
	w.heartbeat(lost(dir(1, 0), dir(1, 1))) // the last one: the broker will halt
	if b := w.in.Image.Broker(1); len(b.Directories) != 1 || w.partition("a", 1).Leader != 2 {
		t.Errorf("%+v, %s", b, partitionText(w.partition("a", 1)))
	}
}

// A broker that becomes unfenced and reports a failed directory at once must
// not lead what is in there.
func TestUnfencedWithAFailedDirectory(t *testing.T) {
	w := newWorld(t, image.MV39IV0, nil)
	w.start(1)
	w.topic(1, "a", nil, []kafka.BrokerID{1}, []kafka.BrokerID{1})
	w.assign(1, dir(1, 0), worldTopicID(1), 0)
	w.assign(1, dir(1, 1), worldTopicID(1), 1)
	req := w.beat(1)
	req.WantFence = true
	w.heartbeat(req)
	req = w.beat(1)
	req.OfflineLogDirs = [][16]byte{dir(1, 1)}
	w.heartbeat(req)
	if w.partition("a", 0).Leader != 1 || w.partition("a", 1).Leader != kafka.NoLeader {
		t.Errorf("%s, %s", partitionText(w.partition("a", 0)), partitionText(w.partition("a", 1)))
	}
}

func TestHeartbeatsReportCordonedDirectories(t *testing.T) {
	for _, level := range []image.MetadataVersion{29, 30} {
		w := newWorld(t, level, nil)
		w.start(1)
		report := func(dirs [][16]byte) int {
			req := w.beat(1)
			req.CordonedLogDirs = dirs
			before := len(w.log)
			w.heartbeat(req)
			return len(w.log) - before
		}
		want := 1
		if level < image.MV43IV0 {
			want = 0
		}
		a, b := [16]byte(dir(1, 0)), [16]byte(dir(1, 1))
		for i, step := range []struct {
			dirs [][16]byte
			want int
		}{
			{nil, 0}, {[][16]byte{}, want}, {[][16]byte{}, 0}, {[][16]byte{a}, want}, {[][16]byte{a}, 0}, {nil, 0},
			{[][16]byte{a, b}, want}, {[][16]byte{b, a}, 0}, {[][16]byte{}, want},
		} {
			if got := report(step.dirs); got != step.want {
				t.Errorf("%s, step %d: %d records", level, i, got)
			}
		}
	}
}

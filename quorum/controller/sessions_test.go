package controller

import (
	"math"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

func TestSessionsExpireOldestFirst(t *testing.T) {
	s := NewSessions()
	s.Touch(3, 30, 100, 5)
	s.Touch(1, 10, 100, 5)
	s.Touch(2, 20, 90, 5)
	if got := s.Expired(190, 100); len(got) != 0 {
		t.Errorf("expired at the end of the timeout: %+v", got)
	}
	var ids []kafka.BrokerID
	for _, b := range s.Expired(201, 100) {
		ids = append(ids, b.ID)
	}
	if len(ids) != 3 || ids[0] != 2 || ids[1] != 1 || ids[2] != 3 {
		t.Errorf("expired in order %v", ids)
	}
	if at, ok := s.NextExpiryMs(100); !ok || at != 191 || len(s.Expired(at, 100)) != 1 {
		t.Errorf("next expiry at %d, %v", at, ok)
	}
	if _, ok := NewSessions().NextExpiryMs(100); ok {
		t.Error("no session has no expiry")
	}
}

func TestSessionsBelongToABrokerEpoch(t *testing.T) {
	s := NewSessions()
	s.Touch(1, 10, 100, 5)
	if !s.Valid(1, 10, 200, 100) || s.Valid(1, 10, 201, 100) || s.Valid(1, 11, 100, 100) || s.Valid(2, 10, 100, 100) {
		t.Error("valid: only broker 1 with epoch 10, up to 200")
	}
	s.Touch(1, 10, 50, 6) // an older time does not shorten a session
	if !s.Valid(1, 10, 200, 100) {
		t.Error("the session got shorter")
	}
	s.Registered(1, 10, 150, 100) // an amended registration keeps the offset
	if b, _ := s.Session(1); b.MetadataOffset != 6 || b.LastContactMs != 150 {
		t.Errorf("after an amended registration: %+v", b)
	}
	s.Registered(1, 12, 160, 100)
	if b, _ := s.Session(1); b.Epoch != 12 || b.MetadataOffset != kafka.NoOffset {
		t.Errorf("after a new registration: %+v", b)
	}
	if s.Remove(1); s.Len() != 0 {
		t.Error("removed, but there")
	}
}

func TestResetRestartsUnfencedBrokers(t *testing.T) {
	w := newWorld(t, image.MV39IV0, nil)
	w.start(1, 2, 3)
	w.register(w.registration(4, 1)) // fenced
	w.topic(1, "a", nil, []kafka.BrokerID{2, 1})
	shut := w.beat(2)
	shut.WantShutdown = true
	w.heartbeat(shut)
	end := w.in.Image.At().Offset

	s := NewSessions()
	s.Touch(9, 9, 1, 1)
	s.Reset(w.in.Image, 5000)
	if s.Len() != 3 {
		t.Errorf("%d sessions", s.Len())
	}
	if !s.Valid(1, w.in.Image.Broker(1).Epoch, 5000, 0) {
		t.Error("broker 1 has no session")
	}
	if at, ok := s.ShutdownOffset(2, w.in.Image.Broker(2).Epoch); !ok || at != end {
		t.Errorf("broker 2 may stop at %d, %v", at, ok)
	}
	if low := s.LowestActiveOffset(w.in.Image); low != kafka.NoOffset {
		t.Errorf("nobody was heard, but the lowest offset is %d", low)
	}
	s.Touch(1, w.in.Image.Broker(1).Epoch, 5000, 20)
	s.Touch(3, w.in.Image.Broker(3).Epoch, 5000, 10)
	s.Touch(2, w.in.Image.Broker(2).Epoch, 5000, 1) // shutting down: does not count
	if low := s.LowestActiveOffset(w.in.Image); low != 10 {
		t.Errorf("the lowest offset is %d", low)
	}
	if low := s.LowestActiveOffset(image.Empty()); low != math.MaxInt64 {
		t.Errorf("without brokers it is %d", low)
	}
}

func TestPruneKeepsOnlyWhatCanBeFenced(t *testing.T) {
	w := newWorld(t, image.MV39IV0, nil)
	w.start(1)
	w.register(w.registration(2, 1)) // fenced
	s := w.in.Sessions
	s.Touch(7, 7, w.in.NowMs, 0)
	s.Touch(2, w.in.Image.Broker(2).Epoch, w.in.NowMs, 0)
	s.Prune(w.in.Image, w.in.NowMs, worldTimeout)
	if _, ok := s.Session(7); ok || s.Len() != 2 {
		t.Errorf("after prune: %d sessions", s.Len())
	}
	s.Prune(w.in.Image, w.in.NowMs+worldTimeout+1, worldTimeout)
	if _, ok := s.Session(1); !ok || s.Len() != 1 {
		t.Error("the unfenced broker's expired session must stay until it is fenced")
	}
}

func TestFencingIsOneAtATimeAndSkipsTheFenced(t *testing.T) {
	w := newWorld(t, image.MV39IV0, nil)
	w.start(1, 2)
	w.register(w.registration(3, 1))
	w.in.Sessions.Touch(3, w.in.Image.Broker(3).Epoch, w.in.NowMs-10, 0)
	w.in.NowMs += worldTimeout + 1
	for _, want := range []kafka.BrokerID{1, 2} {
		d, id := FenceExpired(w.in)
		if id != want || len(recordsNamed(d, "BrokerRegistrationChangeRecord")) != 1 {
			t.Fatalf("fenced %d, want %d: %s", id, want, picture(w.in.Image, d.Records))
		}
		w.apply(d)
	}
	if d, id := FenceExpired(w.in); id != kafka.NoLeader || len(d.Records) != 0 {
		t.Errorf("fenced %d: %s", id, picture(w.in.Image, d.Records))
	}
}

func recordsNamed(d Decision, name string) (out []record.Record) {
	for _, m := range d.Records {
		if m.Record.RecordName() == name {
			out = append(out, m.Record)
		}
	}
	return out
}

package protocol

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// ownRequests has one of each, all fields set.
func ownRequests() []kmsg.Request {
	return []kmsg.Request{
		&DescribeMigrationRequest{},
		&AlterMigrationRequest{Action: RollBackMigration, TimeoutMillis: 1 << 20},
	}
}

func TestOwnRequests(t *testing.T) {
	requests := ownRequests()
	if len(requests) != len(own) {
		t.Fatalf("%d requests are tried of %d", len(requests), len(own))
	}
	client := "c"
	for i, req := range requests {
		frame := AppendRequest(nil, 7, &client, req)[4:]
		got, err := Decode(frame)
		if err != nil {
			t.Fatalf("%T: %v", req, err)
		}
		if got.API != &own[i] || got.CorrelationID != 7 || !reflect.DeepEqual(got.Body, req) {
			t.Errorf("%T is read as %+v of %s", req, got.Body, got.API.Name)
		}
		for n := range len(frame) - 1 {
			if _, err := Decode(frame[:n]); err == nil && n < MinFrame+3 {
				t.Errorf("%T cut to %d bytes is read", req, n)
			}
		}
		failed := Failure(got, errors.New(errors.ClusterAuthorizationFailed, "no"))
		answer := AppendResponse(nil, 7, failed)
		back := got.Response()
		if id, err := ReadResponse(answer[4:], back); err != nil || id != 7 || !bytes.Equal(back.AppendTo(nil), failed.AppendTo(nil)) {
			t.Errorf("%T fails with %+v, read as %+v: %v", req, failed, back, err)
		}
	}
	progress := &DescribeMigrationResponse{Progress: []byte(`{"state":"x"}`)}
	back := &DescribeMigrationResponse{}
	if _, err := ReadResponse(AppendResponse(nil, 1, progress)[4:], back); err != nil || !bytes.Equal(back.Progress, progress.Progress) || back.ErrorMessage != nil {
		t.Errorf("%+v: %v", back, err)
	}
}

// TestOwnRequestsAreNotAnnounced: no client of Kafka's is told of them.
func TestOwnRequestsAreNotAnnounced(t *testing.T) {
	h := NewHandlers[int](Controller)
	h.Bind(KeyDescribeMigration, 1)
	if keys := h.announced(); len(keys) != 1 || keys[0].ApiKey != int16(KeyAPIVersions) {
		t.Errorf("%v are announced", keys)
	}
	if _, err := h.Lookup(KeyDescribeMigration, 0); err != nil {
		t.Error(err)
	}
	if _, ok := Lookup(FirstOwnKey + Key(len(own))); ok {
		t.Error("a key beyond the last is known")
	}
	defer func() {
		if r := recover(); r == nil || !strings.Contains(r.(string), "DescribeMigration") {
			t.Errorf("bound to a client's listener: %v", r)
		}
	}()
	NewHandlers[int](Broker).Bind(KeyDescribeMigration, 1)
}

// FuzzOwnAnswer: whatever a peer answers to our own requests is read or refused.
func FuzzOwnAnswer(f *testing.F) {
	message := "no"
	f.Add((&DescribeMigrationResponse{ErrorCode: 1, ErrorMessage: &message, Progress: []byte("{}")}).AppendTo(nil))
	f.Add((&AlterMigrationResponse{ErrorMessage: &message}).AppendTo(nil))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, req := range ownRequests() {
			resp := req.ResponseKind()
			if resp.ReadFrom(body) != nil {
				continue
			}
			again := req.ResponseKind()
			if err := again.ReadFrom(resp.AppendTo(nil)); err != nil || !bytes.Equal(again.AppendTo(nil), resp.AppendTo(nil)) {
				t.Errorf("%+v is read again as %+v: %v", resp, again, err)
			}
		}
	})
}

package listener

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol"
	"kvorum/protocol/errors"
)

// audited returns an audit of a node with or without an authorizer, what it writes,
// and a request of somebody's.
func audited(denials bool) (*bytes.Buffer, func(kmsg.Request, kmsg.Response)) {
	var out bytes.Buffer
	a := NewAudit(slog.New(slog.NewTextHandler(&out, nil)), denials)
	who := Asker{Principal: protocol.Principal{Type: "User", Name: "alice"}, Client: netip.MustParseAddr("10.1.2.3"), Listener: "PLAINTEXT"}
	id := "cli"
	return &out, func(req kmsg.Request, resp kmsg.Response) {
		a.Answered(who, &protocol.Request{Header: protocol.Header{Key: protocol.Key(req.Key()), ClientID: &id}, Body: req}, resp)
	}
}

func deleted(codes ...errors.Code) *kmsg.DeleteTopicsResponse {
	resp := kmsg.NewPtrDeleteTopicsResponse()
	for _, c := range codes {
		resp.Topics = append(resp.Topics, kmsg.DeleteTopicsResponseTopic{ErrorCode: int16(c)})
	}
	return resp
}

// TestAudit: what changes something has one line with the outcome, what reads has
// one only if it was denied on a node that looks.
func TestAudit(t *testing.T) {
	topic := func(name string) *kmsg.DeleteTopicsRequest {
		return &kmsg.DeleteTopicsRequest{Topics: []kmsg.DeleteTopicsRequestTopic{{Topic: &name}, {TopicID: [16]byte{15: 1}}}}
	}
	secret := &kmsg.AlterUserSCRAMCredentialsRequest{Upsertions: []kmsg.AlterUserSCRAMCredentialsRequestUpsertion{{Name: "bob", Salt: []byte("hidden"), SaltedPassword: []byte("hidden")}}}
	token := &kmsg.ExpireDelegationTokenRequest{HMAC: []byte("hidden")}
	denied := &kmsg.MetadataResponse{Topics: []kmsg.MetadataResponseTopic{{ErrorCode: int16(errors.TopicAuthorizationFailed)}}}
	for _, c := range []struct {
		name    string
		denials bool
		req     kmsg.Request
		resp    kmsg.Response
		want    string // "": no line
	}{
		{"a change", false, topic("orders"), deleted(errors.None, errors.None),
			`msg=audit outcome=ok api=DeleteTopics principal=User:alice client=10.1.2.3 client_id=cli listener=PLAINTEXT forwarded=false resources=topic:orders,topic:AAAAAAAAAAAAAAAAAAAAAQ` + "\n"},
		{"a change in part", false, topic("orders"), deleted(errors.UnknownTopicOrPartition, errors.None, errors.UnknownTopicOrPartition, errors.RequestTimedOut), "outcome=failed api=DeleteTopics"},
		{"its errors", false, topic("orders"), deleted(errors.UnknownTopicOrPartition, errors.None, errors.UnknownTopicOrPartition, errors.RequestTimedOut), "errors=UNKNOWN_TOPIC_OR_PARTITION,REQUEST_TIMED_OUT\n"},
		{"a denied change", false, topic("orders"), deleted(errors.TopicAuthorizationFailed, errors.None), "outcome=denied api=DeleteTopics"},
		{"not the active controller", true, topic("orders"), deleted(errors.NotController), ""},
		{"no answer", true, topic("orders"), nil, ""},
		{"credentials", false, secret, &kmsg.AlterUserSCRAMCredentialsResponse{}, "resources=user:bob\n"},
		{"a token", false, token, &kmsg.ExpireDelegationTokenResponse{}, `resources=""`},
		{"a read", true, &kmsg.MetadataRequest{}, &kmsg.MetadataResponse{}, ""},
		{"a denied read", true, &kmsg.MetadataRequest{}, denied, "outcome=denied api=Metadata"},
		{"a denied read where nobody looks", false, &kmsg.MetadataRequest{}, denied, ""},
	} {
		out, answered := audited(c.denials)
		answered(c.req, c.resp)
		if got := out.String(); !strings.Contains(got, c.want) || (c.want == "") != (got == "") || strings.Contains(got, "hidden") {
			t.Errorf("%s: %q, want %q in it", c.name, got, c.want)
		}
	}
	var none *Audit
	none.Answered(Asker{}, nil, nil)
}

// TestAuditIsBounded: a line is short whatever was asked for, denied ones are few in
// a second, and no change is left out.
func TestAuditIsBounded(t *testing.T) {
	out, answered := audited(true)
	req, resp := kmsg.NewPtrCreateTopicsRequest(), kmsg.NewPtrCreateTopicsResponse()
	for i := range 5000 {
		req.Topics = append(req.Topics, kmsg.CreateTopicsRequestTopic{Topic: strings.Repeat("\x00", 30_000)})
		resp.Topics = append(resp.Topics, kmsg.CreateTopicsResponseTopic{ErrorCode: int16(70 + i%30)})
	}
	answered(req, resp)
	if line := out.String(); len(line) > 8<<10 || !strings.Contains(line, " and 4990 more") || strings.Count(line, ",") > maxAuditNames+maxAuditErrors {
		t.Errorf("%d bytes: %.300s", len(line), line)
	}
	out.Reset()
	for range 1000 {
		answered(&kmsg.DeleteGroupsRequest{Groups: []string{"g"}}, &kmsg.DeleteGroupsResponse{Groups: []kmsg.DeleteGroupsResponseGroup{{ErrorCode: int16(errors.GroupAuthorizationFailed)}}})
	}
	if n := strings.Count(out.String(), "\n"); n == 0 || n > 10*linesPerSecond {
		t.Errorf("%d lines about what was denied", n)
	}
	out.Reset()
	for range 1000 {
		answered(&kmsg.DeleteGroupsRequest{Groups: []string{"g"}}, &kmsg.DeleteGroupsResponse{Groups: make([]kmsg.DeleteGroupsResponseGroup, 1)})
	}
	if n := strings.Count(out.String(), "\n"); n != 1000 {
		t.Errorf("%d lines about 1000 changes", n)
	}
}

// TestEveryChangeIsAudited: no API that the controllers decide on for clients was
// forgotten, but those that change nothing or are nodes' own.
func TestEveryChangeIsAudited(t *testing.T) {
	silent := map[string]bool{"ListPartitionReassignments": true, "DescribeQuorum": true, "AllocateProducerIds": true}
	for api := range protocol.APIs {
		if !api.Forwardable {
			continue
		}
		if _, ok := changed(kmsg.RequestForKey(int16(api.Key))); ok == silent[api.Name] {
			t.Errorf("%s: audited %v", api.Name, ok)
		}
	}
	for _, req := range []kmsg.Request{&kmsg.DeleteRecordsRequest{}, &kmsg.DeleteGroupsRequest{}, &kmsg.OffsetDeleteRequest{}, &kmsg.AlterReplicaLogDirsRequest{}} {
		if _, ok := changed(req); !ok {
			t.Errorf("%T is not audited", req)
		}
	}
}

// TestAuditedOnce: a change that the active controller has answered and audited has
// no second line, one that was answered here has.
func TestAuditedOnce(t *testing.T) {
	var out bytes.Buffer // written before Served is called
	served := make(chan Served, 2)
	l := start(t, func(cfg *Config) {
		cfg.Audit = NewAudit(slog.New(slog.NewTextHandler(&out, nil)), false)
		cfg.Events.Served = func(s Served) { served <- s }
	}, func(h *protocol.Handlers[Handler]) {
		h.Bind(64, func(_ context.Context, r *Request) (Response, error) {
			if r.Body.(*kmsg.UnregisterBrokerRequest).BrokerID == 1 {
				r.AuditedByController()
			}
			return Reply(r.Body.ResponseKind()), nil
		})
	})
	c := dial(t, l)
	for id := range int32(2) {
		c.send(&kmsg.UnregisterBrokerRequest{BrokerID: id})
		c.receive(kmsg.NewPtrUnregisterBrokerResponse())
		<-served
	}
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "resources=broker:0") {
		t.Errorf("not one line for what was answered here:\n%s", got)
	}
}

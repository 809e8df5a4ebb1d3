package protocol

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// Every API of a controller can be failed as a whole in every version: the
// client finds the code in what it decodes.
func TestFailureReachesTheClient(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	fail := errors.New(errors.NotController, "node 3 leads")
	for a := range APIs {
		if a.Listeners&Controller == 0 || a.Key == KeySASLHandshake {
			continue
		}
		for v := a.Min; v <= a.Max; v++ {
			req := kmsg.RequestForKey(int16(a.Key))
			fillLists(r, reflect.ValueOf(req), 0, 1)
			req.SetVersion(v)
			in := &Request{Header: Header{Key: a.Key, Version: v, CorrelationID: 3}, API: a, Body: req}
			resp := Failure(in, fail)
			if resp == nil {
				t.Fatalf("%s cannot fail", a.Name)
			}
			got := in.Response()
			if _, err := ReadResponse(AppendResponse(nil, 3, resp)[4:], got); err != nil {
				t.Fatalf("%s version %d: %v", a.Name, v, err)
			}
			if !hasError(reflect.ValueOf(got), errors.NotController) {
				t.Errorf("%s version %d: no error in %+v for %+v", a.Name, v, got, req)
			}
		}
	}
}

func TestFailureDetails(t *testing.T) {
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: "a"}, {Topic: "b"}}
	scram := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	scram.Deletions = []kmsg.AlterUserSCRAMCredentialsRequestDeletion{{Name: "u"}, {Name: "u", Mechanism: 2}}
	scram.Upsertions = []kmsg.AlterUserSCRAMCredentialsRequestUpsertion{{Name: "v"}}
	features := kmsg.NewPtrUpdateFeaturesRequest()
	fail := func(req kmsg.Request, err error) kmsg.Response {
		api, _ := Lookup(Key(req.Key()))
		return Failure(&Request{Header: Header{Key: api.Key}, API: api, Body: req}, err)
	}
	topics := fail(create, errors.New(errors.PolicyViolation, "no")).(*kmsg.CreateTopicsResponse).Topics
	if len(topics) != 2 || topics[1].Topic != "b" || *topics[1].ErrorMessage != "no" || topics[1].NumPartitions != -1 {
		t.Errorf("%+v", topics)
	}
	if users := fail(scram, errors.NotController.Err()).(*kmsg.AlterUserSCRAMCredentialsResponse).Results; len(users) != 2 || users[0].ErrorMessage != nil {
		t.Errorf("%+v", users)
	}
	if f := fail(features, errors.New(errors.FeatureUpdateFailed, "why")).(*kmsg.UpdateFeaturesResponse); *f.ErrorMessage != "why" || f.ErrorCode != int16(errors.FeatureUpdateFailed) {
		t.Errorf("%+v", f)
	}
	if resp := fail(kmsg.NewPtrProduceRequest(), errors.NotController.Err()); resp != nil {
		t.Errorf("Produce fails as %+v", resp)
	}
}

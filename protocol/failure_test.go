package protocol

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// noError are the versions whose responses have no place for an error.
func noError(a *API, version int16) bool { return a.Name == "DescribeLogDirs" && version < 3 }

// Every API can be failed as a whole in every version: the client finds the code
// in what it decodes.
func TestFailureReachesTheClient(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	fail := errors.New(errors.NotController, "node 3 leads")
	for a := range APIs {
		for v := a.Min; v <= a.Max; v++ {
			req := kmsg.RequestForKey(int16(a.Key))
			fillLists(r, reflect.ValueOf(req), 0, 1)
			req.SetVersion(v)
			in := &Request{Header: Header{Key: a.Key, Version: v, CorrelationID: 3}, API: a, Body: req}
			resp := Failure(in, fail)
			got := in.Response()
			if _, err := ReadResponse(AppendResponse(nil, 3, resp)[4:], got); err != nil {
				t.Fatalf("%s version %d: %v", a.Name, v, err)
			}
			if !noError(a, v) && !hasError(reflect.ValueOf(got), errors.NotController) {
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
	produce := kmsg.NewPtrProduceRequest()
	produce.Topics = []kmsg.ProduceRequestTopic{{Topic: "a", Partitions: []kmsg.ProduceRequestTopicPartition{{Partition: 3, Records: []byte{1}}, {Partition: 4}}}}
	if p := fail(produce, errors.New(errors.InvalidRecord, "why")).(*kmsg.ProduceResponse).Topics[0]; p.Topic != "a" || len(p.Partitions) != 2 ||
		p.Partitions[1].Partition != 4 || p.Partitions[1].ErrorCode != int16(errors.InvalidRecord) || p.Partitions[0].BaseOffset != -1 ||
		p.Partitions[0].LogAppendTime != -1 || *p.Partitions[0].ErrorMessage != "why" {
		t.Errorf("%+v", p)
	}
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorKeys = []string{"g", "h"}
	if c := fail(find, errors.CoordinatorNotAvailable.Err()).(*kmsg.FindCoordinatorResponse).Coordinators; len(c) != 2 || c[1].Key != "h" || c[1].NodeID != -1 || c[1].Port != -1 {
		t.Errorf("%+v", c)
	}
	offsets := kmsg.NewPtrOffsetFetchRequest()
	offsets.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g", Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: []int32{5}}}}}
	if g := fail(offsets, errors.NotCoordinator.Err()).(*kmsg.OffsetFetchResponse).Groups[0]; g.Group != "g" || g.ErrorCode != int16(errors.NotCoordinator) ||
		g.Topics[0].Partitions[0].Partition != 5 || g.Topics[0].Partitions[0].Offset != -1 {
		t.Errorf("%+v", g)
	}
	describe := kmsg.NewPtrDescribeTopicPartitionsRequest()
	describe.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "t"}}
	if ts := fail(describe, errors.InvalidRequest.Err()).(*kmsg.DescribeTopicPartitionsResponse).Topics; *ts[0].Topic != "t" || ts[0].ErrorCode == 0 {
		t.Errorf("%+v", ts)
	}
}

package handler

import (
	"context"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/replica"
	"kvorum/broker/storage/producer"
	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// What the controllers answer comes back as it is, and what they do not answer
// is an error of the whole request.
func TestForward(t *testing.T) {
	w := newWorld(t)
	w.forward = func(req kmsg.Request) (kmsg.Response, error) {
		res := req.ResponseKind().(*kmsg.CreateTopicsResponse)
		topic := kmsg.NewCreateTopicsResponseTopic()
		topic.Topic, topic.ErrorCode = req.(*kmsg.CreateTopicsRequest).Topics[0].Topic, int16(errors.PolicyViolation)
		res.Topics = append(res.Topics, topic)
		return res, nil
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: "new"}}
	for version := int16(2); version <= 7; version++ {
		res := ask[*kmsg.CreateTopicsResponse](w, version, req)
		if len(res.Topics) != 1 || res.Topics[0].Topic != "new" || code(res.Topics[0].ErrorCode) != errors.PolicyViolation {
			t.Errorf("v%d: %+v", version, res)
		}
	}
	w.forward = func(kmsg.Request) (kmsg.Response, error) { return nil, errors.RequestTimedOut.Err() }
	if res := ask[*kmsg.CreateTopicsResponse](w, 7, req); code(res.Topics[0].ErrorCode) != errors.RequestTimedOut {
		t.Errorf("%+v", res)
	}
}

func change(resource kmsg.ConfigResourceType, name, key, value string) kmsg.IncrementalAlterConfigsRequestResource {
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = resource, name
	r.Configs = []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: key, Value: &value}}
	return r
}

// A broker judges what is its own and passes on the rest, in the request's order.
func TestIncrementalAlterConfigs(t *testing.T) {
	w := newWorld(t)
	w.forward = func(req kmsg.Request) (kmsg.Response, error) {
		res := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
		for _, r := range req.(*kmsg.IncrementalAlterConfigsRequest).Resources {
			res.Resources = append(res.Resources, kmsg.IncrementalAlterConfigsResponseResource{ResourceType: r.ResourceType, ResourceName: r.ResourceName})
		}
		return res, nil
	}
	twice := change(kmsg.ConfigResourceTypeTopic, "twice", "retention.ms", "1")
	sameKey := change(kmsg.ConfigResourceTypeTopic, "samekey", "retention.ms", "1")
	sameKey.Configs = append(sameKey.Configs, sameKey.Configs[0])
	null := change(kmsg.ConfigResourceTypeTopic, "null", "retention.ms", "1")
	null.Configs[0].Value = nil
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{
		change(kmsg.ConfigResourceTypeBroker, "1", "log.cleaner.threads", "x"),
		change(kmsg.ConfigResourceTypeTopic, "a", "retention.ms", "1"),
		change(kmsg.ConfigResourceTypeBroker, "2", "log.cleaner.threads", "2"),
		twice, twice, sameKey, null,
		change(kmsg.ConfigResourceTypeBrokerLogger, "1", "kafka", "INFO"),
		change(kmsg.ConfigResourceType(77), "1", "kafka", "INFO"),
		change(kmsg.ConfigResourceTypeBroker, "1", "log.cleaner.threads", "2"),
	}
	// The last one names the resource of the first.
	req.Resources[len(req.Resources)-1].ResourceName = ""
	res := ask[*kmsg.IncrementalAlterConfigsResponse](w, 1, req)
	want := []errors.Code{
		errors.InvalidRequest, errors.None, errors.InvalidRequest, errors.InvalidRequest, errors.InvalidRequest, errors.InvalidRequest,
		errors.InvalidRequest, errors.InvalidConfig, errors.InvalidRequest, errors.None,
	}
	for i, r := range res.Resources {
		if code(r.ErrorCode) != want[i] || r.ResourceName != req.Resources[i].ResourceName {
			t.Errorf("%d: %+v", i, r)
		}
	}
	if len(w.forwarded) != 1 || len(w.forwarded[0].(*kmsg.IncrementalAlterConfigsRequest).Resources) != 2 {
		t.Errorf("forwarded %+v", w.forwarded)
	}
}

func TestAlterConfigs(t *testing.T) {
	w := newWorld(t)
	w.forward = func(req kmsg.Request) (kmsg.Response, error) {
		res := req.ResponseKind().(*kmsg.AlterConfigsResponse)
		for _, r := range req.(*kmsg.AlterConfigsRequest).Resources {
			res.Resources = append(res.Resources, kmsg.AlterConfigsResponseResource{ResourceType: r.ResourceType, ResourceName: r.ResourceName})
		}
		return res, nil
	}
	one := func(kind kmsg.ConfigResourceType, name, value string) kmsg.AlterConfigsRequestResource {
		return kmsg.AlterConfigsRequestResource{ResourceType: kind, ResourceName: name, Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "log.cleaner.threads", Value: &value}}}
	}
	req := kmsg.NewPtrAlterConfigsRequest()
	req.Resources = []kmsg.AlterConfigsRequestResource{one(kmsg.ConfigResourceTypeBroker, "1", "x"), one(kmsg.ConfigResourceTypeBroker, "", "2"), one(kmsg.ConfigResourceTypeBrokerLogger, "1", "2")}
	res := ask[*kmsg.AlterConfigsResponse](w, 2, req)
	for i, want := range []errors.Code{errors.InvalidRequest, errors.None, errors.InvalidRequest} {
		if code(res.Resources[i].ErrorCode) != want {
			t.Errorf("%d: %+v", i, res.Resources[i])
		}
	}
}

func TestDescribeConfigs(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("a"), partition("a", 0, self), &record.ConfigRecord{ResourceType: 2, ResourceName: "a", Name: "retention.ms", Value: ref("5")})
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms = true
	req.Resources = []kmsg.DescribeConfigsRequestResource{
		{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "a", ConfigNames: []string{"retention.ms"}},
		{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "none"},
		{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1"},
		{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "2"},
		{ResourceType: kmsg.ConfigResourceTypeBrokerLogger, ResourceName: "1"},
	}
	res := ask[*kmsg.DescribeConfigsResponse](w, 4, req)
	for i, want := range []errors.Code{errors.None, errors.UnknownTopicOrPartition, errors.None, errors.InvalidRequest, errors.None} {
		if code(res.Resources[i].ErrorCode) != want {
			t.Errorf("%d: %+v", i, res.Resources[i])
		}
	}
	if c := res.Resources[0].Configs; len(c) != 1 || *c[0].Value != "5" || len(c[0].ConfigSynonyms) == 0 {
		t.Errorf("%+v", c)
	}
	if n := len(res.Resources[2].Configs); n < 100 {
		t.Errorf("a broker has %d configs", n)
	}
}

func ref(s string) *string { return &s }

func TestListConfigResources(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("a"), partition("a", 0, self), &record.ConfigRecord{ResourceType: 16, ResourceName: "m", Name: "interval.ms", Value: ref("1000")})
	req := kmsg.NewPtrListConfigResourcesRequest()
	if res := ask[*kmsg.ListConfigResourcesResponse](w, 0, req); len(res.ConfigResources) != 1 || res.ConfigResources[0].Name != "m" {
		t.Errorf("v0: %+v", res)
	}
	if res := ask[*kmsg.ListConfigResourcesResponse](w, 1, req); len(res.ConfigResources) != 1+1+2+2 {
		t.Errorf("v1: %+v", res)
	}
	req.ResourceTypes = []int8{2}
	if res := ask[*kmsg.ListConfigResourcesResponse](w, 1, req); len(res.ConfigResources) != 1 || res.ConfigResources[0].Name != "a" {
		t.Errorf("topics: %+v", res)
	}
	req.ResourceTypes = []int8{99}
	if res := ask[*kmsg.ListConfigResourcesResponse](w, 1, req); code(res.ErrorCode) != errors.UnsupportedVersion {
		t.Errorf("%+v", res)
	}
}

func TestDeleteRecordsAndEpochs(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("a"), partition("a", 0, self))
	w.produce(9, produceTo("a", 0, records("x", "y", "z")))
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 10_000
	req.Topics = []kmsg.DeleteRecordsRequestTopic{
		{Topic: "a", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: 2}, {Partition: 7, Offset: 2}}},
		{Topic: "none", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: -1}}},
	}
	res := ask[*kmsg.DeleteRecordsResponse](w, 2, req)
	a := res.Topics[0].Partitions
	if a[0].ErrorCode != 0 || a[0].LowWatermark != 2 || code(a[1].ErrorCode) != errors.UnknownTopicOrPartition || code(res.Topics[1].Partitions[0].ErrorCode) != errors.UnknownTopicOrPartition {
		t.Errorf("%+v", res)
	}
	epochs := kmsg.NewPtrOffsetForLeaderEpochRequest()
	p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	epochs.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "a", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{p}}}
	for version := int16(2); version <= 4; version++ {
		got := ask[*kmsg.OffsetForLeaderEpochResponse](w, version, epochs).Topics[0].Partitions[0]
		if got.ErrorCode != 0 || got.EndOffset != 3 || got.LeaderEpoch != 0 {
			t.Errorf("v%d: %+v", version, got)
		}
	}
	epochs.Topics[0].Partitions[0].CurrentLeaderEpoch = 9
	if got := ask[*kmsg.OffsetForLeaderEpochResponse](w, 4, epochs).Topics[0].Partitions[0]; code(got.ErrorCode) != errors.UnknownLeaderEpoch || got.EndOffset != -1 {
		t.Errorf("%+v", got)
	}
}

func TestDescribeLogDirs(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("a"), partition("a", 0, self), topic("b"), partition("b", 0, self), partition("b", 1, self))
	w.produce(9, produceTo("a", 0, records("x")))
	req := kmsg.NewPtrDescribeLogDirsRequest()
	for version := int16(1); version <= 5; version++ {
		res := ask[*kmsg.DescribeLogDirsResponse](w, version, req)
		if len(res.Dirs) != 1 || res.Dirs[0].Dir != "/logs" || len(res.Dirs[0].Topics) != 2 {
			t.Fatalf("v%d: %+v", version, res)
		}
	}
	req.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "b", Partitions: []int32{1}}}
	if res := ask[*kmsg.DescribeLogDirsResponse](w, 4, req); len(res.Dirs[0].Topics) != 1 || len(res.Dirs[0].Topics[0].Partitions) != 1 {
		t.Errorf("%+v", res)
	}
}

// idsFrom is one and the same id for every producer.
type idsFrom kafka.ProducerID

func (i idsFrom) Next(context.Context) (kafka.ProducerID, error) { return kafka.ProducerID(i), nil }

func TestInitProducerID(t *testing.T) {
	w := newWorld(t, func(cfg *Config) { cfg.ProducerIDs = idsFrom(100) })
	req := kmsg.NewPtrInitProducerIDRequest()
	req.ProducerID, req.ProducerEpoch = -1, -1
	for version := int16(0); version <= 5; version++ {
		if res := ask[*kmsg.InitProducerIDResponse](w, version, req); res.ErrorCode != 0 || res.ProducerID != 100 || res.ProducerEpoch != 0 {
			t.Errorf("v%d: %+v", version, res)
		}
	}
	id := "t"
	for name, want := range map[string]errors.Code{"": errors.InvalidRequest, "t": errors.CoordinatorNotAvailable} {
		id = name
		req.TransactionalID = &id
		if res := ask[*kmsg.InitProducerIDResponse](w, 4, req); code(res.ErrorCode) != want || res.ProducerID != -1 {
			t.Errorf("%q: %+v", name, res)
		}
	}
	req.TransactionalID, req.ProducerID = nil, 5
	if res := ask[*kmsg.InitProducerIDResponse](w, 4, req); code(res.ErrorCode) != errors.InvalidRequest {
		t.Errorf("%+v", res)
	}
}

// appendTransaction writes a record of an open transaction, as a log that was
// taken over may have one.
func (w *world) appendTransaction(name string, id kafka.ProducerID) {
	w.t.Helper()
	var b batch.Builder
	b.Reset()
	b.Add(1_700_000_000_000, nil, []byte("x"))
	b.SetProducer(id, 0, 0, true)
	p, err := w.replicas.Lookup(kafka.TopicPartition{Topic: name})
	if err != nil {
		w.t.Fatal(err)
	}
	o := replica.AppendOptions{Acks: 1, LeaderEpoch: kafka.NoEpoch}
	o.Origin, o.NowMs = producer.Client, clock.System.Now().UnixMilli()
	if _, err := p.Append(b.AppendTo(nil, 0, 0), o); err != nil {
		w.t.Fatal(err)
	}
}

// A transaction that was open when its data was taken over can be ended: until
// then read_committed stops before it, and afterwards says that it was aborted.
func TestWriteTxnMarkers(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("a"), partition("a", 0, self))
	w.appendTransaction("a", 9)
	committed := fetchOf("a", 0)
	committed.IsolationLevel = 1
	p := ask[*kmsg.FetchResponse](w, 12, committed).Topics[0].Partitions[0]
	if p.HighWatermark != 1 || p.LastStableOffset != 0 || len(p.RecordBatches) != 0 {
		t.Fatalf("open: %+v", p)
	}
	producers := kmsg.NewPtrDescribeProducersRequest()
	producers.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "a", Partitions: []int32{0}}}
	if got := ask[*kmsg.DescribeProducersResponse](w, 0, producers).Topics[0].Partitions[0]; len(got.ActiveProducers) != 1 || got.ActiveProducers[0].CurrentTxnStartOffset != 0 {
		t.Errorf("%+v", got)
	}
	req := kmsg.NewPtrWriteTxnMarkersRequest()
	m := kmsg.NewWriteTxnMarkersRequestMarker()
	m.ProducerID = 9
	m.Topics = []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: "a", Partitions: []int32{0, 5}}}
	req.Markers = []kmsg.WriteTxnMarkersRequestMarker{m}
	res := ask[*kmsg.WriteTxnMarkersResponse](w, 1, req)
	codes := []errors.Code{code(res.Markers[0].Topics[0].Partitions[0].ErrorCode), code(res.Markers[0].Topics[0].Partitions[1].ErrorCode)}
	if !slices.Equal(codes, []errors.Code{errors.None, errors.UnknownTopicOrPartition}) {
		t.Fatalf("%v", codes)
	}
	p = ask[*kmsg.FetchResponse](w, 12, committed).Topics[0].Partitions[0]
	if p.LastStableOffset != 2 || len(p.AbortedTransactions) != 1 || p.AbortedTransactions[0].ProducerID != 9 {
		t.Errorf("aborted: %+v", p)
	}
}

func TestTokensNeedALogin(t *testing.T) {
	w := newWorld(t)
	for _, req := range []kmsg.Request{kmsg.NewPtrCreateDelegationTokenRequest(), kmsg.NewPtrDescribeDelegationTokenRequest()} {
		switch res := ask[kmsg.Response](w, 2, req).(type) {
		case *kmsg.CreateDelegationTokenResponse:
			if code(res.ErrorCode) != errors.DelegationTokenRequestNotAllowed {
				t.Errorf("%+v", res)
			}
		case *kmsg.DescribeDelegationTokenResponse:
			if code(res.ErrorCode) != errors.DelegationTokenRequestNotAllowed {
				t.Errorf("%+v", res)
			}
		}
	}
	if res := ask[*kmsg.DescribeACLsResponse](w, 2, &kmsg.DescribeACLsRequest{ResourceType: 1, ResourcePatternType: 1, Operation: 1, PermissionType: 1}); code(res.ErrorCode) != errors.SecurityDisabled {
		t.Errorf("%+v", res)
	}
}

package handler

import (
	stderrors "errors"
	"io"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// records is one batch of values.
func records(values ...string) []byte {
	var b batch.Builder
	b.Reset()
	for _, v := range values {
		b.Add(1_700_000_000_000, nil, []byte(v))
	}
	return b.AppendTo(nil, 0, kafka.NoEpoch)
}

// produceTo is a Produce of one batch.
func produceTo(topic string, p int32, data []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	req.Topics = []kmsg.ProduceRequestTopic{{
		Topic: topic, TopicID: topicID(topic), Partitions: []kmsg.ProduceRequestTopicPartition{{Partition: p, Records: data}},
	}}
	return req
}

func (w *world) produce(version int16, req *kmsg.ProduceRequest) kmsg.ProduceResponseTopicPartition {
	w.t.Helper()
	return ask[*kmsg.ProduceResponse](w, version, req).Topics[0].Partitions[0]
}

func TestProduceAndFetch(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("a"), partition("a", 0, self))
	for version := int16(3); version <= 13; version++ {
		p := w.produce(version, produceTo("a", 0, records("x", "y")))
		if p.ErrorCode != 0 || p.BaseOffset != int64(2*(version-3)) || p.LogAppendTime != -1 {
			t.Fatalf("v%d: %+v", version, p)
		}
	}
	for version := int16(4); version <= 18; version++ {
		res := ask[*kmsg.FetchResponse](w, version, fetchOf("a", 5))
		p := res.Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.HighWatermark != 22 || p.LastStableOffset != 22 || p.AbortedTransactions != nil {
			t.Fatalf("v%d: %+v", version, p)
		}
		v, _, err := batch.Next(p.RecordBatches)
		if err != nil || v.BaseOffset() != 4 || v.Count() != 2 {
			t.Fatalf("v%d: the first batch: %v %v", version, v, err)
		}
		if version >= 5 && p.LogStartOffset != 0 {
			t.Errorf("v%d: log start %d", version, p.LogStartOffset)
		}
	}
	committed := fetchOf("a", 0)
	committed.IsolationLevel = 1
	if p := ask[*kmsg.FetchResponse](w, 12, committed).Topics[0].Partitions[0]; p.AbortedTransactions == nil {
		t.Errorf("read_committed has null for aborted transactions")
	}
}

func fetchOf(topic string, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.SessionEpoch = 1<<20, -1
	p := kmsg.NewFetchRequestTopicPartition()
	p.FetchOffset, p.PartitionMaxBytes = offset, 1<<20
	req.Topics = []kmsg.FetchRequestTopic{{Topic: topic, TopicID: topicID(topic), Partitions: []kmsg.FetchRequestTopicPartition{p}}}
	return req
}

func TestProduceErrors(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("a"), partition("a", 0, self), topic("far"), partition("far", 0, other), topic("__consumer_offsets"), partition("__consumer_offsets", 0, self))
	damaged := records("x")
	damaged[len(damaged)-1] ^= 1
	var txn batch.Builder
	txn.Reset()
	txn.Add(0, nil, []byte("x"))
	txn.SetProducer(1, 0, 0, true)
	for _, c := range []struct {
		name  string
		topic string
		data  []byte
		code  errors.Code
	}{
		{"no topic", "none", records("x"), errors.UnknownTopicOrPartition},
		{"elsewhere", "far", records("x"), errors.NotLeaderOrFollower},
		{"damaged", "a", damaged, errors.CorruptMessage},
		{"two batches", "a", append(records("x"), records("y")...), errors.InvalidRecord},
		{"nothing", "a", []byte{}, errors.InvalidRecord},
		{"of a transaction", "a", txn.AppendTo(nil, 0, 0), errors.InvalidTxnState},
		{"of a transaction, elsewhere", "far", txn.AppendTo(nil, 0, 0), errors.NotLeaderOrFollower},
		{"internal", "__consumer_offsets", records("x"), errors.InvalidTopicException},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := w.produce(9, produceTo(c.topic, 0, c.data))
			if code(p.ErrorCode) != c.code || p.BaseOffset != -1 {
				t.Errorf("%v: %+v", code(p.ErrorCode), p)
			}
			req := produceTo(c.topic, 0, c.data)
			req.Acks = 0
			if _, err := w.send("CLIENTS", "c", 9, req); !stderrors.Is(err, io.EOF) {
				t.Errorf("acks=0: %v instead of a closed connection", err)
			}
		})
	}
	if p := w.produce(13, produceTo("none", 0, records("x"))); code(p.ErrorCode) != errors.UnknownTopicID {
		t.Errorf("%+v", p)
	}
	req := produceTo("a", 0, records("x"))
	req.Acks = 2
	if p := w.produce(9, req); code(p.ErrorCode) != errors.InvalidRequiredAcks {
		t.Errorf("%+v", p)
	}
	if p := ask[*kmsg.FetchResponse](w, 12, fetchOf("a", 0)).Topics[0].Partitions[0]; p.HighWatermark != 0 {
		t.Errorf("something was written: %+v", p)
	}
}

// From v10 on a client is told who leads instead, and where.
func TestProduceTellsLeader(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("far"), partition("far", 0, other))
	res := ask[*kmsg.ProduceResponse](w, 10, produceTo("far", 0, records("x")))
	p := res.Topics[0].Partitions[0]
	if p.CurrentLeader.LeaderID != 2 || len(res.Brokers) != 1 || res.Brokers[0].Host != "b2" {
		t.Errorf("%+v %+v", p, res.Brokers)
	}
	fetch := ask[*kmsg.FetchResponse](w, 16, fetchOf("far", 0))
	f := fetch.Topics[0].Partitions[0]
	if code(f.ErrorCode) != errors.NotLeaderOrFollower || f.CurrentLeader.LeaderID != 2 || len(fetch.Brokers) != 1 {
		t.Errorf("%+v %+v", f, fetch.Brokers)
	}
}

func TestListOffsets(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("a"), partition("a", 0, self))
	w.produce(9, produceTo("a", 0, records("x", "y", "z")))
	for _, c := range []struct {
		version   int16
		timestamp int64
		offset    int64
		code      errors.Code
	}{
		{1, -1, 3, errors.None}, {1, -2, 0, errors.None}, {11, -1, 3, errors.None}, {11, -2, 0, errors.None},
		{7, -3, 0, errors.None}, {6, -3, -1, errors.UnsupportedVersion}, {8, -4, 0, errors.None}, {7, -4, -1, errors.UnsupportedVersion},
		{9, -5, -1, errors.None}, {8, -5, -1, errors.UnsupportedVersion}, {11, -6, -1, errors.None}, {10, -6, -1, errors.UnsupportedVersion},
		{11, -7, -1, errors.UnsupportedVersion}, {5, 1_700_000_000_000, 0, errors.None}, {5, 1_700_000_000_001, -1, errors.None},
	} {
		res := ask[*kmsg.ListOffsetsResponse](w, c.version, listOf("a", c.timestamp))
		if p := res.Topics[0].Partitions[0]; code(p.ErrorCode) != c.code || p.Offset != c.offset {
			t.Errorf("v%d of %d: %+v", c.version, c.timestamp, p)
		}
	}
	twice := listOf("a", -1)
	twice.Topics = append(twice.Topics, twice.Topics[0])
	if res := ask[*kmsg.ListOffsetsResponse](w, 5, twice); code(res.Topics[0].Partitions[0].ErrorCode) != errors.InvalidRequest {
		t.Errorf("%+v", res)
	}
	if res := ask[*kmsg.ListOffsetsResponse](w, 5, listOf("none", -1)); code(res.Topics[0].Partitions[0].ErrorCode) != errors.UnknownTopicOrPartition {
		t.Errorf("%+v", res)
	}
}

func listOf(topic string, timestamp int64) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp, p.CurrentLeaderEpoch = timestamp, -1
	req.ReplicaID = -1
	req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}
	return req
}

// A session goes on without naming its partitions, says only what is new, adds
// and forgets.
func TestFetchSession(t *testing.T) {
	for _, version := range []int16{7, 12, 13, 18} {
		w := newWorld(t)
		w.publish(topic("a"), partition("a", 0, self), topic("b"), partition("b", 0, self))
		w.produce(9, produceTo("a", 0, records("x")))
		first := fetchOf("a", 1)
		first.SessionEpoch = 0
		res := ask[*kmsg.FetchResponse](w, version, first)
		if res.SessionID == 0 || len(res.Topics) != 1 {
			t.Fatalf("v%d: %+v", version, res)
		}
		next := func(epoch int32, change ...func(*kmsg.FetchRequest)) *kmsg.FetchResponse {
			req := kmsg.NewPtrFetchRequest()
			req.MaxBytes, req.SessionID, req.SessionEpoch = 1<<20, res.SessionID, epoch
			for _, f := range change {
				f(req)
			}
			return ask[*kmsg.FetchResponse](w, version, req)
		}
		if got := next(1); got.ErrorCode != 0 || len(got.Topics) != 0 || got.SessionID != res.SessionID {
			t.Fatalf("v%d: nothing is new: %+v", version, got)
		}
		w.produce(9, produceTo("a", 0, records("y")))
		if got := next(2); len(got.Topics) != 1 || len(got.Topics[0].Partitions[0].RecordBatches) == 0 {
			t.Fatalf("v%d: %+v", version, got)
		}
		got := next(3, func(r *kmsg.FetchRequest) { r.Topics = append(fetchOf("b", 0).Topics, fetchOf("a", 2).Topics...) })
		if len(got.Topics) != 1 || got.Topics[0].Topic != "b" && kafka.TopicID(got.Topics[0].TopicID) != topicID("b") {
			t.Fatalf("v%d: %+v", version, got)
		}
		if got := next(3); code(got.ErrorCode) != errors.InvalidFetchSessionEpoch {
			t.Errorf("v%d: an epoch twice: %+v", version, got)
		}
		if got := next(4, func(r *kmsg.FetchRequest) {
			r.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "a", TopicID: topicID("a"), Partitions: []int32{0}}}
		}); got.ErrorCode != 0 {
			t.Fatalf("v%d: a partition is forgotten: %+v", version, got)
		}
		w.produce(9, produceTo("a", 0, records("z")))
		if got := next(5); got.ErrorCode != 0 || len(got.Topics) != 0 {
			t.Errorf("v%d: a partition that was forgotten: %+v", version, got)
		}
		w.publish(&record.RemoveTopicRecord{TopicID: topicID("b")})
		want := errors.UnknownTopicOrPartition
		if version >= 13 {
			want = errors.UnknownTopicID
		}
		for epoch := int32(6); epoch < 8; epoch++ { // an error is told again and again
			if got := next(epoch); len(got.Topics) != 1 || code(got.Topics[0].Partitions[0].ErrorCode) != want {
				t.Errorf("v%d: a topic that was deleted: %+v", version, got)
			}
		}
		if got := next(-1); got.SessionID != 0 || w.handlers.sessions.len() != 0 {
			t.Errorf("v%d: %+v", version, got)
		}
		if got := next(8); code(got.ErrorCode) != errors.FetchSessionIDNotFound {
			t.Errorf("v%d: %+v", version, got)
		}
	}
}

func TestFetchSessionNamesOrIDs(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("a"), partition("a", 0, self))
	first := fetchOf("a", 0)
	first.SessionEpoch = 0
	id := ask[*kmsg.FetchResponse](w, 12, first).SessionID
	req := fetchOf("a", 0)
	req.SessionID, req.SessionEpoch = id, 1
	if res := ask[*kmsg.FetchResponse](w, 13, req); code(res.ErrorCode) != errors.FetchSessionTopicIDError {
		t.Errorf("%+v", res)
	}
}

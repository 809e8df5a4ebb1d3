package peerlog

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	codes "kvorum/protocol/errors"
)

func batchAt(base kafka.Offset, epoch kafka.LeaderEpoch) []byte {
	return batch.AppendData(nil, base, epoch, 1, [][]byte{[]byte("one"), []byte("two")})
}

func answer(high int64, batches ...[]byte) *kmsg.FetchResponse {
	part := kmsg.NewFetchResponseTopicPartition()
	part.HighWatermark = high
	for _, b := range batches {
		part.RecordBatches = append(part.RecordBatches, b...)
	}
	topic := kmsg.NewFetchResponseTopic()
	topic.Partitions = append(topic.Partitions, part)
	resp := kmsg.NewPtrFetchResponse()
	resp.Topics = append(resp.Topics, topic)
	return resp
}

// TestTake: only what is committed and follows the log is taken of an answer.
func TestTake(t *testing.T) {
	flipped := batchAt(12, 3)
	flipped[len(flipped)-2] ^= 1
	with := func(change func(*kmsg.FetchResponse, *kmsg.FetchResponseTopicPartition)) *kmsg.FetchResponse {
		resp := answer(14, batchAt(10, 2))
		change(resp, &resp.Topics[0].Partitions[0])
		return resp
	}
	for _, c := range []struct {
		name  string
		resp  *kmsg.FetchResponse
		after kafka.EpochOffset
	}{
		{"all", answer(14, batchAt(10, 2), batchAt(12, 3)), kafka.EpochOffset{Offset: 14, Epoch: 3}},
		{"nothing", answer(14), kafka.EpochOffset{Offset: 10, Epoch: 2}},
		{"above the high watermark", answer(13, batchAt(10, 2), batchAt(12, 3)), kafka.EpochOffset{Offset: 12, Epoch: 2}},
		{"a gap", answer(14, batchAt(10, 2), batchAt(13, 2)), kafka.EpochOffset{Offset: 12, Epoch: 2}},
		{"a gap at the start", answer(14, batchAt(11, 2)), kafka.EpochOffset{Offset: 10, Epoch: 2}},
		{"an older epoch", answer(14, batchAt(10, 1)), kafka.EpochOffset{Offset: 10, Epoch: 2}},
		{"an epoch that falls", answer(16, batchAt(10, 2), batchAt(12, 3), batchAt(14, 2)), kafka.EpochOffset{Offset: 14, Epoch: 3}},
		{"damaged", answer(14, batchAt(10, 2), flipped), kafka.EpochOffset{Offset: 12, Epoch: 2}},
		{"cut off", answer(14, batchAt(10, 2), batchAt(12, 3)[:70]), kafka.EpochOffset{Offset: 12, Epoch: 2}},
		{"another history", with(func(_ *kmsg.FetchResponse, p *kmsg.FetchResponseTopicPartition) { p.DivergingEpoch.EndOffset = 8 }), kafka.EpochOffset{Offset: 10, Epoch: 2}},
		{"an error", with(func(r *kmsg.FetchResponse, _ *kmsg.FetchResponseTopicPartition) {
			r.ErrorCode = int16(codes.InconsistentClusterID)
		}), kafka.EpochOffset{Offset: 10, Epoch: 2}},
		{"a partition's error", with(func(_ *kmsg.FetchResponse, p *kmsg.FetchResponseTopicPartition) {
			p.ErrorCode = int16(codes.OffsetOutOfRange)
		}), kafka.EpochOffset{Offset: 10, Epoch: 2}},
		{"no topic", with(func(r *kmsg.FetchResponse, _ *kmsg.FetchResponseTopicPartition) { r.Topics = nil }), kafka.EpochOffset{Offset: 10, Epoch: 2}},
	} {
		data, after := Take(c.resp, kafka.EpochOffset{Offset: 10, Epoch: 2})
		if after != c.after || (len(data) > 0) != (after.Offset > 10) {
			t.Errorf("%s: the log goes on to %+v with %d bytes, want %+v", c.name, after, len(data), c.after)
		}
	}
}

// broken is a log whose disk is.
type broken struct{}

func (broken) LogStart() kafka.Offset  { return 0 }
func (broken) EndOffset() kafka.Offset { return 20 }
func (broken) EpochEnd(e kafka.LeaderEpoch) kafka.EpochOffset {
	return kafka.EpochOffset{Offset: 20, Epoch: e}
}
func (broken) Read(kafka.Offset, int) ([]byte, error) { return nil, errors.New("input/output error") }

// TestGiveFromABrokenLog: the other side is told that there is nothing to have here,
// this one why.
func TestGiveFromABrokenLog(t *testing.T) {
	req, cluster := kmsg.NewPtrFetchRequest(), "a cluster"
	req.Version, req.ClusterID = 17, &cluster
	part := kmsg.NewFetchRequestTopicPartition()
	part.FetchOffset, part.LastFetchedEpoch = 10, 2
	topic := kmsg.NewFetchRequestTopic()
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	resp, err := Give(broken{}, cluster, req)
	if err == nil || !strings.Contains(err.Error(), "offset 10") || !strings.Contains(err.Error(), "input/output error") {
		t.Errorf("the error is %v", err)
	}
	if code := codes.Code(resp.Topics[0].Partitions[0].ErrorCode); code != codes.UnknownServerError {
		t.Errorf("the answer is %v", code)
	}
	if data, after := Take(resp, kafka.EpochOffset{Offset: 10, Epoch: 2}); data != nil || after.Offset != 10 {
		t.Errorf("%d bytes are taken of it, up to %+v", len(data), after)
	}
}

// FuzzTake: whatever a peer sends, what is taken is whole batches in order, without a
// gap, sound, and below its high watermark.
func FuzzTake(f *testing.F) {
	f.Add(append(batchAt(10, 2), batchAt(12, 3)...), int64(14))
	f.Add(append(batchAt(10, 2), batchAt(12, 1)...), int64(14))
	f.Add(batchAt(10, 2)[:40], int64(1<<62))
	f.Fuzz(func(t *testing.T, records []byte, high int64) {
		end := kafka.EpochOffset{Offset: 10, Epoch: 2}
		data, after := Take(answer(high, records), end)
		for v, err := range batch.All(data) {
			if err != nil || v.CheckCRC() != nil || v.BaseOffset() != end.Offset || v.Epoch() < end.Epoch || int64(v.EndOffset()) > high {
				t.Fatalf("a batch at %d of epoch %d is taken behind %+v, high watermark %d: %v", v.BaseOffset(), v.Epoch(), end, high, err)
			}
			end = kafka.EpochOffset{Offset: v.EndOffset(), Epoch: v.Epoch()}
		}
		if end != after {
			t.Fatalf("the log is said to go on to %+v, and goes on to %+v", after, end)
		}
	})
}

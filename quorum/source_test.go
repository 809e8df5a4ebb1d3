package quorum

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// TestConfirms: a state counts as complete by what an active controller told, and by
// nobody else's answer.
func TestConfirms(t *testing.T) {
	answer := func(high int64, change func(*kmsg.FetchResponse)) *kmsg.FetchResponse {
		p := kmsg.NewFetchResponseTopicPartition()
		p.HighWatermark = high
		resp := kmsg.NewPtrFetchResponse()
		resp.Topics = []kmsg.FetchResponseTopic{{Partitions: []kmsg.FetchResponseTopicPartition{p}}}
		if change != nil {
			change(resp)
		}
		return resp
	}
	for _, c := range []struct {
		name   string
		active bool
		resp   *kmsg.FetchResponse
		end    kafka.Offset
		want   bool
	}{
		{"nobody has told", false, nil, 100, false},
		{"it is active", true, nil, 0, true},
		{"as long as the active one's", false, answer(100, nil), 100, true},
		{"longer", false, answer(100, nil), 101, true},
		{"shorter", false, answer(100, nil), 99, false},
		{"not the active controller", false, answer(100, func(r *kmsg.FetchResponse) {
			r.Topics[0].Partitions[0].ErrorCode = int16(errors.NotLeaderOrFollower)
		}), 100, false},
		{"another cluster", false, answer(100, func(r *kmsg.FetchResponse) { r.ErrorCode = int16(errors.InconsistentClusterID) }), 100, false},
		{"no high watermark", false, answer(-1, nil), 100, false},
		{"another history", false, answer(100, func(r *kmsg.FetchResponse) { r.Topics[0].Partitions[0].DivergingEpoch.EndOffset = 7 }), 100, false},
		{"nothing", false, kmsg.NewPtrFetchResponse(), 100, false},
	} {
		ctl := &Controller{told: make(chan struct{})}
		if c.resp != nil {
			ctl.learnEnd(c.resp)
		}
		if got := ctl.confirms(&State{Active: c.active, End: c.end}); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

package coordinator

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// BenchmarkCommit is one commit of ten partitions, by many clients at a time, into
// a log that takes no time.
func BenchmarkCommit(b *testing.B) {
	m := newMemLog(b)
	g := newGroups(b, m)
	for g.commit("g", "t", 0, 0) != 0 {
		time.Sleep(time.Millisecond)
	}
	var clients atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		q := kmsg.NewPtrOffsetCommitRequest()
		q.Version, q.Group, q.Generation = 9, fmt.Sprint("group-", clients.Add(1)), -1
		parts := make([]kmsg.OffsetCommitRequestTopicPartition, 10)
		for i := range parts {
			parts[i].Partition = int32(i)
		}
		q.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "orders", Partitions: parts}}
		for p.Next() {
			if a := g.OffsetCommit(context.Background(), me, q); a.Topics[0].Partitions[9].ErrorCode != 0 {
				b.Error(a)
			}
		}
	})
	b.ReportMetric(float64(b.N)/float64(m.appends), "commits/batch")
}

// BenchmarkHeartbeat is one heartbeat of a group of 1,000 members.
func BenchmarkHeartbeat(b *testing.B) {
	m := newMemLog(b)
	g := newGroups(b, m, func(c *Config) { c.Group.InitialRebalanceDelayMs = 200 })
	for g.commit("g", "t", 0, 0) != 0 {
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	joined := make([]*kmsg.JoinGroupResponse, 1000)
	together(len(joined), func(i int) {
		q := joinRequest("members", "")
		q.Version, q.SessionTimeoutMillis = 3, 1_000_000
		joined[i] = g.JoinGroup(context.Background(), me, q)
	})
	together(len(joined), func(i int) { g.sync(context.Background(), "members", joined[i]) })
	b.Logf("%d members joined and synced in %v", len(joined), time.Since(began))
	b.ReportAllocs()
	var n atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if code := g.heartbeat("members", joined[int(n.Add(1))%len(joined)]); code != 0 {
				b.Error(code)
			}
		}
	})
}

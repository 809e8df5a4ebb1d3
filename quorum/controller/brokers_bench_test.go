package controller

import (
	"fmt"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// benchWorld has 3 brokers and 100,000 partitions with 3 replicas.
func benchWorld(b *testing.B) *world {
	w := newWorld(b, image.MV39IV0, nil)
	w.start(1, 2, 3)
	orders := [][]kafka.BrokerID{{1, 2, 3}, {2, 3, 1}, {3, 1, 2}}
	for n := range byte(100) {
		var replicas [][]kafka.BrokerID
		for i := range 1000 {
			replicas = append(replicas, orders[i%3])
		}
		w.topic(n, fmt.Sprintf("t%d", n), nil, replicas...)
	}
	w.log = nil
	return w
}

// A broker that is well must cost next to nothing: all of them say so every
// two seconds.
func BenchmarkHeartbeat(b *testing.B) {
	w := benchWorld(b)
	req := w.beat(1)
	b.ReportAllocs()
	for b.Loop() {
		if d, _ := Heartbeat(w.in, req); d.Records != nil {
			b.Fatal("a heartbeat wrote records")
		}
	}
}

// A broker that fails changes every partition that it is in sync with.
func BenchmarkFenceExpired(b *testing.B) {
	w := benchWorld(b)
	w.in.NowMs += worldTimeout + 1
	b.ReportAllocs()
	for b.Loop() {
		if d, _ := FenceExpired(w.in); len(d.Records) != 100_001 {
			b.Fatalf("%d records", len(d.Records))
		}
	}
}

// A pass that finds nothing to do is the price of having no index.
func BenchmarkBalanceLeaders(b *testing.B) {
	w := benchWorld(b)
	b.ReportAllocs()
	for b.Loop() {
		if d, _ := BalanceLeaders(w.in); d.Records != nil {
			b.Fatal("elections in a balanced cluster")
		}
	}
}

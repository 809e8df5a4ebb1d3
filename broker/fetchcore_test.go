package broker

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// TestFetch tells how the metadata log is fetched, from controllers that behave
// as kvorum's, as Apache's, or badly.
func TestFetch(t *testing.T) {
	datadriven.Walk(t, "testdata/fetch", func(t *testing.T, path string) {
		var c *fetchCore
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "new" {
				end, epoch := 0, 0
				d.MaybeScanArgs(t, "end", &end)
				d.MaybeScanArgs(t, "epoch", &epoch)
				c = newFetchCore(fetchConfig{
					self: 7, clusterID: "c", bootstrap: []string{"a:1", "b:1"}, voters: map[kafka.NodeID]string{3: "static:1"},
					maxBytes: 1000, snapshotBytes: 500, backoffMs: 20,
				}, kafka.Offset(end), kafka.LeaderEpoch(epoch))
				return ""
			}
			if d.Cmd == "peers" {
				var n int
				d.ScanArgs(t, "n", &n)
				c.setPeers([]string{"peer1:1", "peer2:1"}[:n])
				return ""
			}
			var now int64
			d.ScanArgs(t, "at", &now)
			return tellFetch(c, c.step(now, fetchEvent(t, d)))
		})
	})
}

func fetchEvent(t *testing.T, d *datadriven.TestData) any {
	number := func(key string, other int64) int64 {
		d.MaybeScanArgs(t, key, &other)
		return other
	}
	from := "a:1"
	d.MaybeScanArgs(t, "from", &from)
	switch d.Cmd {
	case "start":
		return fetchStarted{}
	case "tick":
		return fetchTick{}
	case "stored":
		return fetchStored{end: kafka.Offset(number("end", 0)), lastEpoch: kafka.LeaderEpoch(number("epoch", 0))}
	case "broken":
		return fetchAnswered{address: from, err: fmt.Errorf("connection refused")}
	case "snapshot":
		return snapshotAnswer(from, number)
	case "answer":
		return fetchAnswer(t, d, from, number)
	}
	t.Fatalf("unknown event %s", d.Cmd)
	return nil
}

func snapshotAnswer(from string, number func(string, int64) int64) snapshotAnswered {
	resp := kmsg.NewPtrFetchSnapshotResponse()
	part := kmsg.NewFetchSnapshotResponseTopicPartition()
	part.ErrorCode = int16(number("code", 0))
	part.SnapshotID.EndOffset, part.SnapshotID.Epoch = number("id", 0), int32(number("epoch", 1))
	part.Position, part.Size, part.Bytes = number("position", 0), number("size", 0), make([]byte, number("bytes", 0))
	topic := kmsg.NewFetchSnapshotResponseTopic()
	topic.Partitions = append(topic.Partitions, part)
	resp.Topics = append(resp.Topics, topic)
	return snapshotAnswered{address: from, resp: resp}
}

// fetchAnswer reads code, leader, epoch, node (id@host:port of the leader's
// endpoint), high, snapshot and diverging (as offset of the epoch), and batches as
// base/count/epoch.
func fetchAnswer(t *testing.T, d *datadriven.TestData, from string, number func(string, int64) int64) fetchAnswered {
	resp := kmsg.NewPtrFetchResponse()
	part := kmsg.NewFetchResponseTopicPartition()
	part.ErrorCode = int16(number("code", 0))
	part.CurrentLeader.LeaderID, part.CurrentLeader.LeaderEpoch = int32(number("leader", -1)), int32(number("epoch", 0))
	part.HighWatermark = number("high", -1)
	part.SnapshotID.EndOffset, part.SnapshotID.Epoch = number("snapshot", -1), int32(number("snapshot", -1)/100)
	if part.SnapshotID.EndOffset < 0 {
		part.SnapshotID.Epoch = -1
	}
	if at := number("diverging", -1); at >= 0 {
		part.DivergingEpoch.EndOffset, part.DivergingEpoch.Epoch = at, 1
	}
	for _, arg := range d.CmdArgs {
		if arg.Key == "node" {
			broker := kmsg.NewFetchResponseBroker()
			broker.NodeID, broker.Host, broker.Port = part.CurrentLeader.LeaderID, arg.Vals[0], 1
			resp.Brokers = append(resp.Brokers, broker)
		}
		if arg.Key == "batch" {
			var n [3]int
			for i, text := range strings.Split(arg.Vals[0], "/") {
				var err error
				if n[i], err = strconv.Atoi(text); err != nil {
					t.Fatal(err)
				}
			}
			var values [][]byte
			for range n[1] {
				values = append(values, []byte("record"))
			}
			part.RecordBatches = batch.AppendData(part.RecordBatches, kafka.Offset(n[0]), kafka.LeaderEpoch(n[2]), 1, values)
		}
	}
	if d.HasArg("cut") {
		part.RecordBatches = part.RecordBatches[:len(part.RecordBatches)-1]
	}
	if d.HasArg("flip") {
		part.RecordBatches[len(part.RecordBatches)-1] ^= 1
	}
	topic := kmsg.NewFetchResponseTopic()
	topic.Partitions = append(topic.Partitions, part)
	if !d.HasArg("empty") {
		resp.Topics = append(resp.Topics, topic)
	}
	resp.ErrorCode = int16(number("top", int64(errors.None)))
	return fetchAnswered{address: from, resp: resp}
}

func tellFetch(c *fetchCore, out fetchEffects) string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if out.note != "" {
		add("note: %s", out.note)
	}
	if l := out.learned; l != nil {
		add("learned: leader %d of epoch %d at %s", l.ID, l.Epoch, l.Address)
	}
	if out.caughtUp {
		add("caught up")
	}
	if out.fetch != nil {
		p := out.fetch.Topics[0].Partitions[0]
		add("fetch from %s: epoch %d, offset %d of epoch %d, high watermark %d", out.address, p.CurrentLeaderEpoch, p.FetchOffset, p.LastFetchedEpoch, p.HighWatermark)
	}
	if out.snapshot != nil {
		p := out.snapshot.Topics[0].Partitions[0]
		add("fetch snapshot %d-%d from %s: position %d", p.SnapshotID.EndOffset, p.SnapshotID.Epoch, out.address, p.Position)
	}
	for v, err := range batch.All(out.store) {
		if err != nil {
			add("store: %v", err)
			break
		}
		add("store offsets %d to %d", v.BaseOffset(), v.LastOffset())
	}
	if k := out.chunk; k != nil {
		add("keep %d bytes of snapshot %d at %d, last %t", len(k.bytes), k.id.Offset, k.position, k.last)
	}
	if out.wakeAtMs != 0 {
		add("wake at %d", out.wakeAtMs)
	}
	add("log %d, tail %d, high watermark %d", c.end, c.tailEnd, c.high)
	return strings.Join(lines, "\n") + "\n"
}

package protocol

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// AppendFetch appends the body of a Fetch response, of resp's version (4 to 18),
// to body. records has one source for each partition of resp, in order, nil
// where there are no records; a partition's own RecordBatches are sent where its
// source is nil. Records that are missing are sent as empty, never as null, as
// Apache does. Unknown tags are not sent.
//
// It is kmsg's encoding without its price: that copies every record, and
// compares each partition by reflection (2 µs and 6 allocations for each).
func AppendFetch(body *Body, resp *kmsg.FetchResponse, records []Source) {
	e := fetchEncoder{body: body, version: resp.Version, flexible: resp.Version >= 12, records: records}
	e.i32(resp.ThrottleMillis)
	if e.version >= 7 {
		e.i16(resp.ErrorCode)
		e.i32(resp.SessionID)
	}
	e.count(len(resp.Topics))
	for i := range resp.Topics {
		e.topic(&resp.Topics[i])
	}
	if len(e.records) > 0 {
		panic(fmt.Sprintf("protocol: %d sources too many for a Fetch response", len(e.records)))
	}
	if e.flexible {
		e.nodes(resp.Brokers)
	}
}

// fetchEncoder writes one response.
type fetchEncoder struct {
	body     *Body
	version  int16
	flexible bool
	records  []Source // of the partitions that are still to come
}

func (e *fetchEncoder) i16(x int16) {
	e.body.Bytes = binary.BigEndian.AppendUint16(e.body.Bytes, uint16(x))
}
func (e *fetchEncoder) i32(x int32) {
	e.body.Bytes = binary.BigEndian.AppendUint32(e.body.Bytes, uint32(x))
}
func (e *fetchEncoder) i64(x int64) {
	e.body.Bytes = binary.BigEndian.AppendUint64(e.body.Bytes, uint64(x))
}
func (e *fetchEncoder) uvarint(x int) {
	e.body.Bytes = binary.AppendUvarint(e.body.Bytes, uint64(x))
}

// count writes the length of an array, or of bytes; -1 is null.
func (e *fetchEncoder) count(n int) {
	if e.flexible {
		e.uvarint(n + 1)
		return
	}
	e.i32(int32(n))
}

func (e *fetchEncoder) text(s string) {
	if e.flexible {
		e.uvarint(len(s) + 1)
	} else {
		e.i16(int16(len(s)))
	}
	e.body.Bytes = append(e.body.Bytes, s...)
}

func (e *fetchEncoder) topic(t *kmsg.FetchResponseTopic) {
	if e.version >= 13 {
		e.body.Bytes = append(e.body.Bytes, t.TopicID[:]...)
	} else {
		e.text(t.Topic)
	}
	e.count(len(t.Partitions))
	for i := range t.Partitions {
		e.partition(&t.Partitions[i])
	}
	if e.flexible {
		e.uvarint(0)
	}
}

func (e *fetchEncoder) partition(p *kmsg.FetchResponseTopicPartition) {
	e.i32(p.Partition)
	e.i16(p.ErrorCode)
	e.i64(p.HighWatermark)
	e.i64(p.LastStableOffset)
	if e.version >= 5 {
		e.i64(p.LogStartOffset)
	}
	if p.AbortedTransactions == nil {
		e.count(-1)
	} else {
		e.count(len(p.AbortedTransactions))
	}
	for i := range p.AbortedTransactions {
		e.i64(p.AbortedTransactions[i].ProducerID)
		e.i64(p.AbortedTransactions[i].FirstOffset)
		if e.flexible {
			e.uvarint(0)
		}
	}
	if e.version >= 11 {
		e.i32(p.PreferredReadReplica)
	}
	e.batches(p.RecordBatches)
	if e.flexible {
		e.tags(p)
	}
}

// batches writes the partition's records: its source, or what is in memory.
func (e *fetchEncoder) batches(memory []byte) {
	var source Source
	if len(e.records) > 0 {
		source, e.records = e.records[0], e.records[1:]
	}
	if source == nil {
		e.count(len(memory))
		e.body.Bytes = append(e.body.Bytes, memory...)
		return
	}
	n := source.Len()
	e.count(n)
	if n > 0 {
		e.body.insert(source)
	}
}

// tags writes what of the tagged fields is not the default. Each is a tag, the
// size of the struct, its two fields and its own empty tags.
func (e *fetchEncoder) tags(p *kmsg.FetchResponseTopicPartition) {
	d, l, s := &p.DivergingEpoch, &p.CurrentLeader, &p.SnapshotID
	diverging := d.Epoch != -1 || d.EndOffset != -1
	leader := l.LeaderID != -1 || l.LeaderEpoch != -1
	snapshot := s.EndOffset != -1 || s.Epoch != -1
	e.uvarint(bit(diverging) + bit(leader) + bit(snapshot))
	if diverging {
		e.body.Bytes = append(e.body.Bytes, 0, 4+8+1)
		e.i32(d.Epoch)
		e.i64(d.EndOffset)
		e.uvarint(0)
	}
	if leader {
		e.body.Bytes = append(e.body.Bytes, 1, 4+4+1)
		e.i32(l.LeaderID)
		e.i32(l.LeaderEpoch)
		e.uvarint(0)
	}
	if snapshot {
		e.body.Bytes = append(e.body.Bytes, 2, 8+4+1)
		e.i64(s.EndOffset)
		e.i32(s.Epoch)
		e.uvarint(0)
	}
}

func bit(set bool) int {
	if set {
		return 1
	}
	return 0
}

// nodes writes the one tagged field of the response, where leaders are. It is
// for version 16 and later, but may be sent from 12 on, as it is a tag.
func (e *fetchEncoder) nodes(nodes []kmsg.FetchResponseBroker) {
	if len(nodes) == 0 {
		e.uvarint(0)
		return
	}
	inner := fetchEncoder{body: &Body{}, flexible: true}
	inner.count(len(nodes))
	for i := range nodes {
		n := &nodes[i]
		inner.i32(n.NodeID)
		inner.text(n.Host)
		inner.i32(n.Port)
		if n.Rack == nil {
			inner.uvarint(0)
		} else {
			inner.text(*n.Rack)
		}
		inner.uvarint(0)
	}
	e.uvarint(1) // tags
	e.uvarint(0)
	e.uvarint(len(inner.body.Bytes))
	e.body.Bytes = append(e.body.Bytes, inner.body.Bytes...)
}

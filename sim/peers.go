package sim

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/peerlog"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// A broker that reaches no controller asks the others for metadata. Now and then who
// answers is not what it should be: a leader of Apache's that gives what only it has,
// one with a bad disk, one of another cluster at an address that was used again, or
// one that a recovered quorum has taken another way.

// peerMetadata asks another broker for the metadata log behind what the disk has.
func (b *broker) peerMetadata() {
	peer := b.w.brokers[b.w.rnd.IntN(brokerCount)]
	if peer == b {
		return
	}
	call, end, life := b.metadataWait.begin(b.w.now), b.metadataEnd(), b.lives
	b.w.send(b.node(), peer.node(), func() {
		resp := b.w.peerAnswer(peer, end)
		b.w.send(peer.node(), b.node(), func() {
			if b.lives != life || !b.metadataWait.done(call) {
				return
			}
			if data, _ := peerlog.Take(resp, end); len(data) > 0 {
				b.w.event("metadata from a peer")
				b.takeMetadata(data, false)
			}
		})
	})
}

// peerAnswer is what a broker, or somebody in its place, answers to one whose log ends
// at end.
func (w *World) peerAnswer(peer *broker, end kafka.EpochOffset) *kmsg.FetchResponse {
	req := kmsg.NewPtrFetchRequest()
	id := clusterID
	req.Version, req.ClusterID, req.MaxBytes = 17, &id, 1<<20
	part := kmsg.NewFetchRequestTopicPartition()
	part.FetchOffset, part.LastFetchedEpoch = int64(end.Offset), int32(end.Epoch)
	topic := kmsg.NewFetchRequestTopic()
	topic.TopicID, topic.Partitions = kafka.MetadataTopicID, append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)

	copied := metadataCopy{peer}
	switch w.odd.IntN(12) {
	case 0:
		w.event("peer of another cluster")
		return give(foreignCopy{copied, end, end.Epoch, end.Offset + 1}, "another cluster", req)
	case 1:
		// Its epochs part from the asker's one record before that one's end.
		w.event("peer of another history")
		return give(foreignCopy{copied, end, end.Epoch + 1, end.Offset - 1}, clusterID, req)
	case 2:
		w.event("peer with uncommitted metadata")
		return withTail(give(copied, clusterID, req), copied)
	case 3:
		return w.flipBit(give(copied, clusterID, req))
	default:
		return give(copied, clusterID, req)
	}
}

func give(log peerlog.Log, cluster string, req *kmsg.FetchRequest) *kmsg.FetchResponse {
	resp, err := peerlog.Give(log, cluster, req)
	if err != nil {
		panic(err) // the logs here can always be read
	}
	return resp
}

// withTail adds to an answer a record that follows the log and that no majority has.
func withTail(resp *kmsg.FetchResponse, log metadataCopy) *kmsg.FetchResponse {
	if len(resp.Topics) == 1 {
		part, end := &resp.Topics[0].Partitions[0], log.b.metadataEnd()
		part.RecordBatches = append(part.RecordBatches, log.record(end.Offset, end.Epoch)...)
	}
	return resp
}

// flipBit damages the last record of an answer that has any.
func (w *World) flipBit(resp *kmsg.FetchResponse) *kmsg.FetchResponse {
	if len(resp.Topics) == 1 && len(resp.Topics[0].Partitions[0].RecordBatches) > 0 {
		w.event("peer's answer damaged")
		data := resp.Topics[0].Partitions[0].RecordBatches
		data[len(data)-2] ^= 1
	}
	return resp
}

// metadataCopy is a broker's copy of the metadata log. What a broker stores is
// committed.
type metadataCopy struct{ b *broker }

func (metadataCopy) LogStart() kafka.Offset { return 0 }

func (c metadataCopy) EndOffset() kafka.Offset { return c.b.metadataEnd().Offset }

func (c metadataCopy) EpochEnd(e kafka.LeaderEpoch) (end kafka.EpochOffset) {
	for v := range c.all() {
		if v.Epoch() > e {
			break
		}
		end = kafka.EpochOffset{Offset: v.EndOffset(), Epoch: v.Epoch()}
	}
	return end
}

// Read gives everything: a world is small.
func (c metadataCopy) Read(from kafka.Offset, _ int) ([]byte, error) {
	var out []byte
	for v := range c.all() {
		if v.BaseOffset() >= from {
			out = append(out, v...)
		}
	}
	return out, nil
}

func (c metadataCopy) all() func(yield func(batch.View) bool) {
	return func(yield func(batch.View) bool) {
		for _, data := range c.b.metadata {
			for v := range batch.All(data) {
				if !yield(v) {
					return
				}
			}
		}
	}
}

// record is a batch that was never committed at an offset: one of before with other
// places in the log, which its checksum does not cover.
func (c metadataCopy) record(at kafka.Offset, epoch kafka.LeaderEpoch) []byte {
	var some batch.View
	for v := range c.all() {
		if !v.Control() {
			some = v
		}
	}
	if some == nil {
		return nil
	}
	some = append(batch.View(nil), some...)
	batch.Restamp(some, at, epoch)
	return some
}

// foreignCopy is a log that is not the asker's, and far longer. It gives one record, of
// an epoch of its own; the epoch that the asker knows ends where ends says.
type foreignCopy struct {
	metadataCopy
	asker kafka.EpochOffset
	epoch kafka.LeaderEpoch
	ends  kafka.Offset
}

func (c foreignCopy) EndOffset() kafka.Offset { return c.asker.Offset + 1<<20 }

func (c foreignCopy) EpochEnd(kafka.LeaderEpoch) kafka.EpochOffset {
	return kafka.EpochOffset{Offset: c.ends, Epoch: c.asker.Epoch}
}

func (c foreignCopy) Read(from kafka.Offset, _ int) ([]byte, error) {
	return c.record(from, c.epoch), nil
}

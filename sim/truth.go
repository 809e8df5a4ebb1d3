package sim

import (
	"fmt"
	"slices"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/batch"
)

// truth is the oracle. It is written the slow and simple way, from what leaders
// show below their high watermarks and from what producers were told; it knows
// nothing of how either came about.
//
// The invariants are named as in the public TLA+ models:
//
//	ConsistentRead               what one leader shows below its high watermark, every later one shows
//	LeaderCompleteness           who begins to lead has everything that is committed
//	LeaderCandidateCompleteness  so has everybody in the ISR or the ELR, as the controllers know them
//	NeverTwoLeadersInOneEpoch    an epoch of a partition has one leader
//	NoCommittedRecordLostGlobally what was acknowledged is committed, at the offset that was told
//	OnlyActiveReplicasJoin       who joins an ISR is neither fenced nor stopping
//	ProofOfDeath                 who is fenced before its session ends has refused twice
//	FencedLeadNothing            no broker leads that is fenced
//	UncleanElectionsWait         elections that may lose data wait for the sessions of who is presumed dead
//	NoLivingBrokerIsReplaced     no second process takes the id of a broker that is heard
//	Idempotence                  no sequence of a producer is committed twice, none is left out
//	TransactionsEndAsDecided each transaction is in a log in one piece, and ends as was decided, not before it was
//	ReadCommitted        readers of committed records get those of committed transactions, and no others
//	MetadataLogMatching          every node has the same state at the same offset
//	LogMatching                  below the high watermark replicas are the same bytes
type truth struct {
	logs    map[kafka.TopicPartition]*committedLog
	leaders map[leaderKey]kafka.BrokerID
	images  map[kafka.Offset][32]byte
	newest  *image.Image
}

type leaderKey struct {
	name  kafka.TopicPartition
	epoch kafka.LeaderEpoch
}

// committedLog is what was ever committed in a partition.
type committedLog struct {
	batches []entry
	end     kafka.Offset
	next    map[kafka.ProducerID]int32
}

// entry is a committed batch.
type entry struct {
	base, end kafka.Offset
	epoch     kafka.LeaderEpoch
	producer  kafka.ProducerID
	sequence  int32
	crc       uint32
	stamp     stamp
}

func (e entry) String() string {
	return fmt.Sprintf("offsets %d to %d of epoch %d by producer %d from sequence %d%v", e.base, e.end-1, e.epoch, e.producer, e.sequence, e.stamp)
}

func newTruth() truth {
	t := truth{logs: map[kafka.TopicPartition]*committedLog{}, leaders: map[leaderKey]kafka.BrokerID{}, images: map[kafka.Offset][32]byte{}}
	for _, name := range everything() {
		t.logs[name] = &committedLog{next: map[kafka.ProducerID]int32{}}
	}
	return t
}

func entryOf(v batch.View) entry {
	return entry{v.BaseOffset(), v.EndOffset(), v.Epoch(), v.ProducerID(), v.BaseSequence(), v.CRC(), stampOf(v)}
}

// committed takes what a leader shows below its high watermark beyond what is
// known, after a look at the last batch that is.
func (t *truth) committed(p *partition) {
	known, hw := t.logs[p.name], p.log.HighWatermark()
	if hw <= known.end {
		return
	}
	from := known.end
	if n := len(known.batches); n > 0 {
		from = known.batches[n-1].base
	}
	t.compare(p, from, hw)
}

// compare reads a replica from an offset, where a batch begins, up to another.
func (t *truth) compare(p *partition, from, upTo kafka.Offset) {
	w, known := p.b.w, t.logs[p.name]
	i := len(known.batches)
	for i > 0 && known.batches[i-1].base >= from {
		i--
	}
	for from < upTo {
		data := p.read(from, upTo, 1<<20)
		if len(data) == 0 {
			w.fail("ConsistentRead", "broker %d shows nothing of %s at %d, its high watermark is %d", p.b.id, p.name, from, upTo)
		}
		for v, err := range batch.All(data) {
			if err == nil {
				err = v.CheckCRC()
			}
			if err != nil {
				w.fail("ConsistentRead", "broker %d shows a broken batch of %s at %d: %v", p.b.id, p.name, from, err)
			}
			if from = v.EndOffset(); from > upTo {
				break
			}
			switch e := entryOf(v); {
			case i == len(known.batches):
				t.add(w, p, known, e)
			case known.batches[i] != e:
				w.fail("ConsistentRead", "broker %d shows %s, %v, where %v was committed", p.b.id, p.name, e, known.batches[i])
			}
			i++
		}
	}
}

// add takes a batch as committed.
func (t *truth) add(w *World, p *partition, known *committedLog, e entry) {
	if e.base != known.end {
		w.fail("ConsistentRead", "broker %d shows %s, %v, after offset %d", p.b.id, p.name, e, known.end)
	}
	if e.stamp != (stamp{}) {
		w.transactions.ledger.add(w, p.name, e)
	} else if want := known.next[e.producer]; e.producer >= 0 && e.sequence != want {
		w.fail("Idempotence", "%s has %v, where sequence %d is next", p.name, e, want)
	}
	known.next[e.producer] += int32(e.end - e.base)
	known.batches, known.end = append(known.batches, e), e.end
	t.candidates(w, p.name)
}

// candidates checks who could be elected now. A broker that the controllers do not
// know as who it is, or that is away, may lack something: they will hear of it
// before they elect it.
func (t *truth) candidates(w *World, name kafka.TopicPartition) {
	state := partitionIn(t.newest, name)
	for _, id := range slices.Concat(state.ISR, state.ELR) {
		b, known := w.brokers[id], t.newest.Broker(id)
		if p := b.partition(name); p != nil && b.up && known != nil && known.Epoch == b.epoch && p.log.LogEnd() < t.logs[name].end {
			w.fail("LeaderCandidateCompleteness", "broker %d of the ISR %v and the ELR %v has %s up to %d, and %d is committed; %s",
				id, state.ISR, state.ELR, name, p.log.LogEnd(), t.logs[name].end, w.describe())
		}
	}
}

// elected checks a broker that begins to lead.
func (t *truth) elected(p *partition, epoch kafka.LeaderEpoch) {
	w, key := p.b.w, leaderKey{p.name, epoch}
	if was, ok := t.leaders[key]; ok && was != p.b.id {
		w.fail("NeverTwoLeadersInOneEpoch", "brokers %d and %d both lead %s in epoch %d", was, p.b.id, p.name, epoch)
	}
	t.leaders[key] = p.b.id
	known, end := t.logs[p.name], p.log.LogEnd()
	switch {
	case p.deposed():
		// A zombie of an old epoch, which leads nobody. What it may show is below its
		// high watermark; behind that its log may be anything.
		t.compare(p, 0, min(known.end, p.log.HighWatermark()))
	case end < known.end:
		w.fail("LeaderCompleteness", "broker %d leads %s in epoch %d with a log up to %d, and %d is committed", p.b.id, p.name, epoch, end, known.end)
	default:
		t.compare(p, 0, known.end)
	}
}

// acknowledged checks what a producer was told.
func (t *truth) acknowledged(w *World, name kafka.TopicPartition, at kafka.Offset, id kafka.ProducerID, sequence, count int32) {
	for _, e := range t.logs[name].batches {
		if e.base == at {
			if e.producer != id || e.sequence != sequence || e.end != at+kafka.Offset(count) {
				w.fail("NoCommittedRecordLostGlobally", "producer %d was told that sequence %d of %s is at %d, where %v is", id, sequence, name, at, e)
			}
			return
		}
	}
	w.fail("NoCommittedRecordLostGlobally", "producer %d was told that sequence %d of %s is at %d, which is not committed", id, sequence, name, at)
}

// committedImage takes a committed state, a controller's or a broker's: all have
// the same at the same offset.
func (t *truth) committedImage(w *World, im *image.Image) {
	at := im.At().Offset
	if t.newest == nil || at > t.newest.At().Offset {
		tellChanges(w, t.newest, im)
		checkJoined(w, t.newest, im)
		checkLeaders(w, im)
		t.newest = im
		for _, name := range everything() {
			if partitionIn(im, name) != nil {
				t.candidates(w, name)
			}
		}
		w.power.look(im)
	}
	if at%7 != 0 {
		return // a hash costs as much as the whole image
	}
	h := im.Hash()
	if was, ok := t.images[at]; ok && was != h {
		w.fail("MetadataLogMatching", "two nodes have different states at offset %d", at)
	}
	t.images[at] = h
}

// checkJoined checks that nobody joins an ISR who is fenced or about to stop.
func checkJoined(w *World, was, is *image.Image) {
	for _, name := range everything() {
		now, old := partitionIn(is, name), partitionIn(was, name)
		if now == nil || old == nil || now.PartitionEpoch != old.PartitionEpoch+1 || now.LeaderEpoch != old.LeaderEpoch {
			continue // an election, or more than one step
		}
		for _, id := range now.ISR {
			if b := was.Broker(id); !slices.Contains(old.ISR, id) && !b.Active() && !is.Broker(id).Active() {
				w.fail("OnlyActiveReplicasJoin", "broker %d joined the ISR %v of %s while it was fenced or stopping", id, now.ISR, name)
			}
		}
	}
}

// checkLeaders checks that nobody leads who is fenced: brokers and clients would wait for
// one that is gone, and a controller that comes now knows of nothing that is left to do.
func checkLeaders(w *World, im *image.Image) {
	for _, name := range everything() {
		p := partitionIn(im, name)
		if p == nil || p.Leader == kafka.NoLeader {
			continue
		}
		if b := im.Broker(p.Leader); b == nil || b.Fenced {
			w.fail("FencedLeadNothing", "broker %d is fenced, and leads %s at offset %d", p.Leader, name, im.At().Offset)
		}
	}
}

// tellChanges puts what became of the partitions into the story.
func tellChanges(w *World, was, is *image.Image) {
	for _, name := range everything() {
		now := partitionIn(is, name)
		if old := partitionIn(was, name); now == nil || old != nil && old.PartitionEpoch == now.PartitionEpoch && minISROf(was, name.Topic) == minISROf(is, name.Topic) {
			continue
		}
		w.tell("controllers: %s is led by %d in epoch %d.%d, ISR %v, ELR %v, last known %v, min ISR %d, at offset %d", name, now.Leader, now.LeaderEpoch,
			now.PartitionEpoch, now.ISR, now.ELR, now.LastKnownELR, minISROf(is, name.Topic), is.At().Offset)
	}
}

func partitionIn(im *image.Image, name kafka.TopicPartition) *image.Partition {
	if im == nil || im.TopicByName(name.Topic) == nil {
		return nil
	}
	return im.TopicByName(name.Topic).Partition(name.Partition)
}

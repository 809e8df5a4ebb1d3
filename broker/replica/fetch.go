package replica

import (
	"context"
	"slices"
	"time"

	"kvorum/broker/replica/core"
	"kvorum/broker/storage"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// Isolation is what a consumer may see.
type Isolation int8

const (
	// ReadUncommitted sees everything below the high watermark.
	ReadUncommitted Isolation = 0
	// ReadCommitted sees nothing of a transaction that is open: it reads up to the
	// last stable offset and is told which transactions were aborted.
	ReadCommitted Isolation = 1
)

// Consumer is the replica id of a reader that is no broker.
const Consumer kafka.BrokerID = -1

// FetchOptions are what one Fetch says for all its partitions.
type FetchOptions struct {
	// Replica is the broker that fetches, Consumer for a client; BrokerEpoch is
	// its registration, kafka.NoBrokerEpoch if it did not say.
	Replica     kafka.BrokerID
	BrokerEpoch kafka.BrokerEpoch
	Isolation   Isolation
	// MinBytes is what the fetch waits for, at most MaxWait long. MaxBytes bounds
	// the answer, except that the first batch comes whatever its size, unless
	// HardMaxBytes is set (Fetch before v3).
	MinBytes, MaxBytes int
	HardMaxBytes       bool
	MaxWait            time.Duration
	// Anywhere says that a consumer may read from a follower, and can be sent to
	// one (Fetch v11, KIP-392). Rack is where it stands, empty if it did not say,
	// and Listener is the one that it uses.
	Anywhere       bool
	Rack, Listener string
}

// FetchPartition is what is read of one partition.
type FetchPartition struct {
	kafka.TopicPartition
	// TopicID is checked where it is not zero.
	TopicID kafka.TopicID
	Offset  kafka.Offset
	// LogStart is the follower's, kafka.NoOffset from a consumer.
	LogStart kafka.Offset
	MaxBytes int
	// LeaderEpoch is what the reader knows as the current one, and LastEpoch the
	// epoch of its last record: kafka.NoEpoch if it did not say.
	LeaderEpoch, LastEpoch kafka.LeaderEpoch
}

// FetchResult is what was read of one partition. Whoever gets it releases
// Records.
type FetchResult struct {
	// Err is a wire error; then the offsets are kafka.NoOffset.
	Err                                 error
	HighWatermark, LastStable, LogStart kafka.Offset
	// Records are whole batches; the first may begin before the offset.
	Records storage.Slice
	// Aborted are the transactions that a read_committed consumer leaves out.
	Aborted []storage.AbortedTransaction
	// Diverging, unless its epoch is kafka.NoEpoch, is where the reader's log
	// parts from this one: the largest epoch here that is not above LastEpoch, and
	// that epoch's end. There are no records then.
	Diverging kafka.EpochOffset
	// Preferred, unless it is kafka.NoLeader, is the replica from which the consumer
	// is to read on. There are no records then.
	Preferred kafka.BrokerID
	// Leader is who leads now, when Err says that it is not this broker.
	Leader CurrentLeader

	partition *Partition
	changes   uint64
}

// isFollower reports whether a broker fetches.
func (o *FetchOptions) isFollower() bool { return o.Replica >= 0 }

func (o *FetchOptions) sees() visibility {
	switch {
	case o.isFollower():
		return toLogEnd
	case o.Isolation == ReadCommitted:
		return toLastStable
	default:
		return toHighWatermark
	}
}

// Fetch reads each partition in order and appends one result per partition to
// out. If there is less than MinBytes and nothing that the reader should know at
// once, it waits for more until MaxWait or ctx ends.
func (ps *Partitions) Fetch(ctx context.Context, o FetchOptions, in []FetchPartition, out []FetchResult) []FetchResult {
	first := len(out)
	out, bytes, urgent := ps.read(&o, in, out)
	if bytes < o.MinBytes && !urgent && o.MaxWait > 0 && len(in) > 0 && ctx.Err() == nil {
		out = ps.awaitBytes(ctx, &o, in, out, first, bytes)
	}
	for i := range out[first:] {
		r := &out[first+i]
		ps.counters.fetched(o.isFollower(), r)
		if o.isFollower() {
			ps.sending.count(in[i].TopicPartition, r.Records.Len())
		}
		if r.Err != nil {
			r.Leader = ps.hint(r.Err, in[i].TopicPartition)
		}
	}
	return out
}

// awaitBytes sleeps until the partitions may have MinBytes, reads again, and so
// on until they have.
func (ps *Partitions) awaitBytes(ctx context.Context, o *FetchOptions, in []FetchPartition, out []FetchResult, first, bytes int) []FetchResult {
	w := newWait(len(in), int64(o.MinBytes))
	defer w.release()
	w.got.Store(int64(bytes))
	for i := range out[first:] {
		w.watchFetch(&out[first+i], o.sees())
	}
	timer := ps.clock.NewTimer(o.MaxWait)
	defer timer.Stop()
	for last := false; !last; {
		select {
		case <-w.wake:
		case <-timer.C():
			last = true
		case <-ctx.Done():
			last = true
		}
		if last && w.got.Load() == int64(bytes) {
			return out // nothing has come since it was read
		}
		ReleaseAll(out[first:])
		w.got.Store(0)
		var urgent bool
		out, bytes, urgent = ps.read(o, in, out[:first])
		last = last || urgent || w.got.Add(int64(bytes)) >= int64(o.MinBytes)
	}
	return out
}

// watchFetch puts the wait into the list of a partition that was read. If that
// has changed since, the wait is over.
func (w *wait) watchFetch(r *FetchResult, sees visibility) {
	if r.partition == nil {
		return
	}
	entry := w.add(r.partition)
	entry.sees = sees
	r.partition.mu.Lock()
	defer r.partition.mu.Unlock()
	if r.partition.changes != r.changes {
		w.got.Add(1)
		w.fire()
	}
	r.partition.fetches.push(entry)
}

// ReleaseAll gives back what the results hold of files.
func ReleaseAll(results []FetchResult) {
	for i := range results {
		results[i].Records.Release()
	}
}

// read reads all partitions once. urgent says that the reader must be told
// something now.
func (ps *Partitions) read(o *FetchOptions, in []FetchPartition, out []FetchResult) (_ []FetchResult, bytes int, urgent bool) {
	room, minOne := o.MaxBytes, !o.HardMaxBytes
	for i := range in {
		r := ps.readOne(o, &in[i], min(room, in[i].MaxBytes), minOne)
		n := r.Records.Len()
		if n > 0 {
			minOne = false
		}
		room = max(0, room-n)
		if bytes += n; n > 0 && ps.dirs.Crowded() {
			room = 0 // each partition's records hold a file open until they are sent
		}
		urgent = urgent || r.Err != nil || r.Diverging.Epoch != kafka.NoEpoch || r.Preferred != kafka.NoLeader
		out = append(out, r)
	}
	return out, bytes, urgent
}

func (ps *Partitions) readOne(o *FetchOptions, in *FetchPartition, maxBytes int, minOne bool) FetchResult {
	p, err := ps.find(in.TopicPartition, in.TopicID)
	if err != nil {
		return failedFetch(err)
	}
	r, err := p.read(o, in, maxBytes, minOne)
	if err != nil {
		r.Records.Release()
		return failedFetch(ps.failed(p, err))
	}
	return r
}

func failedFetch(err error) FetchResult {
	return FetchResult{Err: err, HighWatermark: kafka.NoOffset, LastStable: kafka.NoOffset, LogStart: kafka.NoOffset, Diverging: noDivergence, Preferred: kafka.NoLeader}
}

var noDivergence = kafka.EpochOffset{Epoch: kafka.NoEpoch, Offset: kafka.NoOffset}

// read reads one partition and, for a follower, records where it has got to.
func (p *Partition) read(o *FetchOptions, in *FetchPartition, maxBytes int, minOne bool) (FetchResult, error) {
	// The log is not cut between the look at the epoch and the read.
	p.role.RLock()
	defer p.role.RUnlock()
	r, upTo, err := p.open(o, in)
	if err != nil || r.Preferred != kafka.NoLeader {
		return r, err
	}
	if in.LastEpoch != kafka.NoEpoch {
		if r.Diverging, err = p.diverging(in); err != nil || r.Diverging.Epoch != kafka.NoEpoch {
			return r, err
		}
	}
	if !core.InLog(in.Offset, r.LogStart, p.Log().LogEnd(), r.HighWatermark) {
		return r, errors.New(errors.OffsetOutOfRange, "offset %d of partition %s is not in the log, which has %d to %d", in.Offset, p.name, r.LogStart, p.Log().LogEnd())
	}
	if in.Offset < upTo && (maxBytes > 0 || minOne) && !p.heldBack(o) {
		if o.sees() == toLastStable {
			r.Records, r.Aborted, err = p.Log().ReadCommitted(in.Offset, maxBytes, upTo, minOne)
		} else {
			r.Records, err = p.Log().Read(in.Offset, maxBytes, upTo, minOne)
		}
		if err != nil {
			return r, err
		}
	}
	if o.isFollower() {
		p.followed(o, in)
	}
	return r, nil
}

// heldBack reports whether a follower gets no records now: it is not in sync, this
// replica's sending is throttled, and enough was sent (ReplicaManager.
// shouldLeaderThrottle). It asks again, at the latest after its longest wait.
func (p *Partition) heldBack(o *FetchOptions) bool {
	if !o.isFollower() || p.owner.sending.exceeded(p.name) == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leader != nil && !slices.Contains(p.leader.ISR(), o.Replica)
}

// open checks who reads and where to.
func (p *Partition) open(o *FetchOptions, in *FetchPartition) (FetchResult, kafka.Offset, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := FetchResult{Diverging: noDivergence, Preferred: kafka.NoLeader, partition: p, changes: p.changes}
	if err := p.checkEpoch(in.LeaderEpoch); err != nil {
		return r, 0, err
	}
	if p.leader == nil && (p.follower == nil || !o.Anywhere) {
		return r, 0, p.notLed()
	}
	if o.isFollower() && !p.leader.Admits(o.Replica, o.BrokerEpoch) {
		return r, 0, p.refuse(p.leader, o, in)
	}
	if p.leader != nil && o.Anywhere {
		r.Preferred = p.nearest(o, in.Offset)
	}
	r.LogStart, r.HighWatermark, r.LastStable = p.Log().LogStart(), p.Log().HighWatermark(), p.Log().LastStable()
	switch o.sees() {
	case toLogEnd:
		return r, p.Log().LogEnd(), nil
	case toLastStable:
		return r, r.LastStable, nil
	default:
		return r, core.ReadableTo(r.HighWatermark, p.Log().LogEnd()), nil
	}
}

// nearest is where a consumer reads on, under mu; kafka.NoLeader: here, because
// replica.selector.class is not set, the consumer's rack is not known or this
// broker's own, or no other replica in it has the offset.
func (p *Partition) nearest(o *FetchOptions, offset kafka.Offset) kafka.BrokerID {
	im := p.owner.image.Load()
	if own := im.Broker(p.owner.self); !p.owner.rackAware || o.Rack == "" || own != nil && own.Rack != nil && *own.Rack == o.Rack {
		return kafka.NoLeader
	}
	return p.leader.Nearest(offset, func(id kafka.BrokerID) bool {
		b := im.Broker(id)
		return b != nil && !b.Fenced && b.Rack != nil && *b.Rack == o.Rack &&
			slices.ContainsFunc(b.Endpoints, func(e image.Endpoint) bool { return e.Name == o.Listener })
	})
}

// refuse is what a broker is told that may not fetch as a replica. One that the
// leader does not know as a replica may have a newer image, in which a
// reassignment has made it one, so it is told to ask again
// (Partition.followerReplicaOrThrow).
func (p *Partition) refuse(l *core.Leader, o *FetchOptions, in *FetchPartition) error {
	switch {
	case l.Knows(o.Replica):
		return errors.New(errors.NotLeaderOrFollower, "epoch %d of broker %d is older than its registration: partition %s", o.BrokerEpoch, o.Replica, p.name)
	case in.LeaderEpoch != kafka.NoEpoch:
		return errors.New(errors.UnknownLeaderEpoch, "broker %d is no replica of partition %s in leader epoch %d as far as its leader knows", o.Replica, p.name, in.LeaderEpoch)
	default:
		return errors.New(errors.NotLeaderOrFollower, "broker %d is no replica of partition %s", o.Replica, p.name)
	}
}

// diverging finds where the reader's log, whose last record is of LastEpoch,
// parts from this one (Partition.readRecords, KIP-595).
func (p *Partition) diverging(in *FetchPartition) (kafka.EpochOffset, error) {
	epoch, end := p.Log().EpochEnd(in.LastEpoch)
	if epoch == kafka.NoEpoch || end == kafka.NoOffset {
		return noDivergence, errors.New(errors.OffsetOutOfRange, "no leader epoch of partition %s is known up to the last fetched epoch %d", p.name, in.LastEpoch)
	}
	if epoch < in.LastEpoch || end < in.Offset {
		return kafka.EpochOffset{Epoch: epoch, Offset: end}, nil
	}
	return noDivergence, nil
}

// followed records where a follower has got to. Its own answer still has the
// high watermark of before, as Apache's.
func (p *Partition) followed(o *FetchOptions, in *FetchPartition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader == nil {
		return
	}
	start := p.Log().LogStart()
	low := p.leader.LowWatermark(start)
	p.step(core.FollowerFetched{ID: o.Replica, BrokerEpoch: o.BrokerEpoch, Offset: in.Offset, LogStart: in.LogStart, NowMs: p.owner.nowMs()})
	if p.leader.LowWatermark(start) != low {
		p.commits.all() // a DeleteRecords may wait for it
	}
}

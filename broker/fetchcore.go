package broker

import (
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// fetchConfig is what the fetcher of the metadata log goes by.
type fetchConfig struct {
	self      kafka.NodeID
	clusterID string
	directory kafka.DirectoryID // of the metadata log
	// bootstrap are the addresses to ask for the leader; voters those of leaders
	// whose address an answer does not tell.
	bootstrap []string
	voters    map[kafka.NodeID]string
	// maxBytes and snapshotBytes are what one request asks for.
	maxBytes, snapshotBytes int32
	backoffMs               int64
}

// maxTail bounds the fetched bytes that are not committed yet. An Apache leader
// serves what only it has; two answers of the largest size are more than it has in
// flight.
const maxTail = 16 << 20

// maxWaitMs is how long the leader may hold a Fetch (KafkaRaftClient's
// MAX_FETCH_WAIT_MS).
const maxWaitMs = 500

// fetchCore decides how the metadata log is fetched: an observer of a KRaft quorum
// (KafkaRaftClient), of kvorum's controllers or Apache's. It keeps the rules that a
// wrong turn here would break for good:
//
//   - only what is below the high watermark is stored, so nothing stored is ever
//     taken back: a divergence can cut the tail in memory and nothing else;
//   - the next Fetch goes out when what the last one brought is stored and acted
//     upon, so that the offset of a Fetch tells the controllers what this broker
//     knows.
//
// Exactly one thing is under way at a time: a request, or a write.
type fetchCore struct {
	cfg fetchConfig

	// end and lastEpoch are those of the stored log. tail follows it: whole batches
	// up to tailEnd, the last of tailEpoch.
	end       kafka.Offset
	lastEpoch kafka.LeaderEpoch
	tail      []byte
	tailEnd   kafka.Offset
	tailEpoch kafka.LeaderEpoch
	// high is the highest high watermark that a leader told, NoOffset before.
	high kafka.Offset

	// epoch is the highest that was seen, leader its leader if known.
	epoch   kafka.LeaderEpoch
	leader  Leader
	next    int // the bootstrap address to ask next
	failing int // failures in a row

	peers    peerTurn
	download *download // of a snapshot; nil if there is none
	busy     bool
	dueMs    int64
	caughtUp bool
}

// download is a snapshot that is being fetched.
type download struct {
	id       kafka.EpochOffset
	position int64
}

// Fetch events.
type (
	fetchStarted struct{}
	// fetchAnswered is the answer of address to a Fetch.
	fetchAnswered struct {
		address string
		resp    *kmsg.FetchResponse
		err     error
	}
	// snapshotAnswered is the answer to a FetchSnapshot.
	snapshotAnswered struct {
		address string
		resp    *kmsg.FetchSnapshotResponse
		err     error
	}
	// fetchStored says that a store or chunk is done: the log ends at end and is
	// acted upon.
	fetchStored struct {
		end       kafka.Offset
		lastEpoch kafka.LeaderEpoch
	}
	fetchTick struct{}
)

// chunk is a piece of a snapshot to keep. With last the snapshot is whole and
// replaces the log.
type chunk struct {
	id       kafka.EpochOffset
	position int64
	bytes    []byte
	last     bool
}

// fetchEffects is what the shell has to do after a step: at most one of a request,
// a write and a wait.
type fetchEffects struct {
	address  string // of fetch or snapshot
	peer     bool   // it is another broker's
	fetch    *kmsg.FetchRequest
	snapshot *kmsg.FetchSnapshotRequest
	// store is whole committed batches that follow the log, to be durable and acted
	// upon before fetchStored.
	store []byte
	chunk *chunk
	// wakeAtMs is when a tick is wanted, 0 for never.
	wakeAtMs int64
	// learned is a new leader, for the broker's other requests.
	learned *Leader
	// caughtUp is set once, when the log has been as long as the leader's.
	caughtUp bool
	note     string
}

// newFetchCore begins at the end of the stored log.
func newFetchCore(cfg fetchConfig, end kafka.Offset, lastEpoch kafka.LeaderEpoch) *fetchCore {
	c := &fetchCore{cfg: cfg, high: kafka.NoOffset, leader: Leader{ID: kafka.NoNode}, epoch: max(lastEpoch, 0)}
	c.stored(end, lastEpoch)
	return c
}

// stored notes the end of the log and forgets the tail.
func (c *fetchCore) stored(end kafka.Offset, lastEpoch kafka.LeaderEpoch) {
	c.end, c.lastEpoch = end, lastEpoch
	c.tail, c.tailEnd, c.tailEpoch = nil, end, lastEpoch
}

// step takes one event.
func (c *fetchCore) step(nowMs int64, ev any) fetchEffects {
	var out fetchEffects
	switch ev := ev.(type) {
	case fetchStarted, fetchTick:
	case fetchAnswered:
		c.busy = false
		if c.peers.asked {
			c.stepPeer(nowMs, ev, &out)
		} else {
			c.stepFetched(nowMs, ev, &out)
		}
	case snapshotAnswered:
		c.busy = false
		c.stepSnapshot(nowMs, ev, &out)
	case fetchStored:
		c.busy = false
		c.stepStored(ev)
	default:
		panic(fmt.Sprintf("broker: unknown fetch event %T", ev))
	}
	c.act(nowMs, &out)
	return out
}

// act says what comes next, where the step has not.
func (c *fetchCore) act(nowMs int64, out *fetchEffects) {
	switch {
	case c.busy:
	case out.store != nil || out.chunk != nil:
		c.busy = true
	case nowMs < c.dueMs:
		out.wakeAtMs = c.dueMs
	default:
		if c.high != kafka.NoOffset && c.end >= c.high && !c.caughtUp {
			c.caughtUp, out.caughtUp = true, true
		}
		c.busy = true
		if c.askPeer(out) {
			return
		}
		out.address = c.target()
		if c.download != nil {
			out.snapshot = c.snapshotRequest()
		} else {
			out.fetch = c.fetchRequest()
		}
	}
}

// target is where the next request goes: to the leader, or to the next address of
// somebody who may know it.
func (c *fetchCore) target() string {
	if c.leader.Address != "" {
		return c.leader.Address
	}
	address := c.cfg.bootstrap[c.next%len(c.cfg.bootstrap)]
	c.next++
	return address
}

func (c *fetchCore) fetchRequest() *kmsg.FetchRequest {
	req := newMetadataFetch(c.cfg.clusterID)
	req.ReplicaID, req.ReplicaState.ID = int32(c.cfg.self), int32(c.cfg.self)
	req.MaxWaitMillis, req.MaxBytes = maxWaitMs, c.cfg.maxBytes
	part := &req.Topics[0].Partitions[0]
	part.CurrentLeaderEpoch, part.FetchOffset, part.LastFetchedEpoch = int32(c.epoch), int64(c.tailEnd), int32(c.tailEpoch)
	part.ReplicaDirectoryID, part.HighWatermark = c.cfg.directory, int64(min(c.high, c.tailEnd))
	return req
}

func (c *fetchCore) snapshotRequest() *kmsg.FetchSnapshotRequest {
	req := kmsg.NewPtrFetchSnapshotRequest()
	req.ClusterID, req.ReplicaID, req.MaxBytes = &c.cfg.clusterID, int32(c.cfg.self), c.cfg.snapshotBytes
	part := kmsg.NewFetchSnapshotRequestTopicPartition()
	part.CurrentLeaderEpoch = int32(c.epoch)
	part.SnapshotID.EndOffset, part.SnapshotID.Epoch = int64(c.download.id.Offset), int32(c.download.id.Epoch)
	part.Position, part.ReplicaDirectoryID = c.download.position, c.cfg.directory
	topic := kmsg.NewFetchSnapshotRequestTopic()
	topic.Topic = kafka.MetadataTopic
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	return req
}

// retry rests before the next request, which goes to somebody else.
func (c *fetchCore) retry(nowMs int64, out *fetchEffects, format string, args ...any) {
	c.busy = false
	c.failing++
	if c.failing == 1 {
		out.note = fmt.Sprintf(format, args...)
	}
	c.leader = Leader{ID: kafka.NoNode}
	c.peers.controllerFailed(len(c.cfg.bootstrap))
	c.dueMs = nowMs + min(c.cfg.backoffMs<<min(c.failing-1, 6), maxFailurePause)
}

// stepFetched takes the answer to a Fetch (KafkaRaftClient.handleFetchResponse).
func (c *fetchCore) stepFetched(nowMs int64, ev fetchAnswered, out *fetchEffects) {
	if ev.err != nil {
		c.retry(nowMs, out, "fetch the metadata log: %v", ev.err)
		return
	}
	if code := errors.Code(ev.resp.ErrorCode); code != errors.None {
		c.retry(nowMs, out, "fetch the metadata log from %s: %v", ev.address, code.Err())
		return
	}
	if len(ev.resp.Topics) != 1 || len(ev.resp.Topics[0].Partitions) != 1 {
		c.retry(nowMs, out, "fetch the metadata log from %s: the answer has not the one partition that was asked for", ev.address)
		return
	}
	part := &ev.resp.Topics[0].Partitions[0]
	code := errors.Code(part.ErrorCode)
	if !c.follow(nowMs, ev.address, leaderOf(ev.resp, part, c.cfg.voters), code, out) {
		return
	}
	switch {
	case part.SnapshotID.Epoch >= 0 && part.SnapshotID.EndOffset >= 0:
		c.begin(nowMs, kafka.EpochOffset{Offset: kafka.Offset(part.SnapshotID.EndOffset), Epoch: kafka.LeaderEpoch(part.SnapshotID.Epoch)}, out)
	case part.DivergingEpoch.Epoch >= 0:
		c.diverge(nowMs, kafka.Offset(part.DivergingEpoch.EndOffset), kafka.LeaderEpoch(part.DivergingEpoch.Epoch), out)
	default:
		c.take(nowMs, ev.address, part, out)
	}
}

// follow takes what an answer says of the leader; false says that there is nothing
// else to take from it. The leader itself answers without an error and at our
// epoch.
func (c *fetchCore) follow(nowMs int64, address string, told Leader, code errors.Code, out *fetchEffects) bool {
	if told.Epoch < c.epoch {
		c.retry(nowMs, out, "controller %s is at epoch %d, and epoch %d is known: it is behind", address, told.Epoch, c.epoch)
		return false
	}
	if code == errors.None && told.Epoch == c.epoch && told.ID >= 0 {
		told.Address = address
	}
	news := told.ID >= 0 && told.Address != "" && told != c.leader
	later := told.Epoch > c.epoch
	c.epoch = told.Epoch
	if news {
		c.leader = told
		out.learned = &told
	}
	switch {
	case code == errors.None && later:
		c.dueMs = nowMs // it answers for an epoch that was not asked for: ask again
	case code == errors.None:
		return told.ID >= 0
	case news && told.Address != address:
		c.dueMs, c.failing = nowMs, 0
	case news && code == errors.FencedLeaderEpoch:
		c.dueMs, c.failing = nowMs, 0 // it leads, by an epoch that we know now
	default:
		c.retry(nowMs, out, "controller %s does not serve the metadata log: %v", address, code.Err())
	}
	return false
}

// take keeps the records of an answer, and stores what is committed of them.
func (c *fetchCore) take(nowMs int64, address string, part *kmsg.FetchResponseTopicPartition, out *fetchEffects) {
	for rest := part.RecordBatches; len(rest) > 0; {
		v, after, err := batch.Next(rest)
		if err != nil {
			break // a batch that is cut off at the end of the answer, or is none: asked for again
		}
		if v.BaseOffset() != c.tailEnd || v.Epoch() < c.tailEpoch || v.CheckCRC() != nil {
			c.retry(nowMs, out, "controller %s sent a batch at offset %d of epoch %d that does not follow offset %d of epoch %d, or is damaged",
				address, v.BaseOffset(), v.Epoch(), c.tailEnd, c.tailEpoch)
			return
		}
		if v.Epoch() > c.epoch || len(c.tail)+v.Size() > maxTail && len(c.tail) > 0 {
			break
		}
		c.tail = append(c.tail, v...)
		c.tailEnd, c.tailEpoch = v.EndOffset(), v.Epoch()
		rest = after
	}
	if high := kafka.Offset(part.HighWatermark); high > c.high {
		c.high = high
	}
	c.failing, c.dueMs = 0, nowMs
	out.store = c.committed()
	if out.store == nil && len(c.tail) >= maxTail {
		c.dueMs = nowMs + c.cfg.backoffMs // nothing more fits until the high watermark moves
	}
}

// committed is the part of the tail that lies below the high watermark.
func (c *fetchCore) committed() []byte {
	n := 0
	for v, err := range batch.All(c.tail) {
		if err != nil || v.EndOffset() > c.high {
			break
		}
		n += v.Size()
	}
	if n == 0 {
		return nil
	}
	return c.tail[:n:n]
}

// stepStored goes on after what was stored.
func (c *fetchCore) stepStored(ev fetchStored) {
	if c.download != nil {
		if ev.end == c.download.id.Offset && ev.end > c.end {
			// How far the leader was is not known any more: the log counts as caught up
			// when a Fetch after the snapshot says so.
			c.download, c.high = nil, kafka.NoOffset
			c.stored(ev.end, ev.lastEpoch)
		}
		return
	}
	var tail []byte
	for v, err := range batch.All(c.tail) {
		if err == nil && v.BaseOffset() >= ev.end {
			tail = append(tail, v...)
		}
	}
	c.end, c.lastEpoch, c.tail = ev.end, ev.lastEpoch, tail
	if len(tail) == 0 {
		c.stored(ev.end, ev.lastEpoch)
	}
}

// diverge drops the tail, which is not what the leader has. Below the end of the
// stored log everything was committed: a quorum that has something else there is
// not the one that this broker belongs to, or has lost what it committed.
func (c *fetchCore) diverge(nowMs int64, end kafka.Offset, epoch kafka.LeaderEpoch, out *fetchEffects) {
	if end < c.end {
		c.retry(nowMs, out, "the controllers' metadata log parts from this broker's at offset %d of epoch %d, and the log here is committed up to %d: "+
			"the controllers have lost metadata; the broker goes on with what it has", end, epoch, c.end)
		return
	}
	c.stored(c.end, c.lastEpoch)
	c.failing, c.dueMs = 0, nowMs
}

// begin starts to fetch a snapshot.
func (c *fetchCore) begin(nowMs int64, id kafka.EpochOffset, out *fetchEffects) {
	if id.Offset <= c.end {
		c.retry(nowMs, out, "the controllers offer a snapshot that ends at offset %d to a broker whose log ends at %d", id.Offset, c.end)
		return
	}
	c.stored(c.end, c.lastEpoch)
	c.download = &download{id: id}
	c.failing, c.dueMs = 0, nowMs
}

// stepSnapshot takes the answer to a FetchSnapshot.
func (c *fetchCore) stepSnapshot(nowMs int64, ev snapshotAnswered, out *fetchEffects) {
	abandon := func(format string, args ...any) {
		c.download = nil
		c.retry(nowMs, out, format, args...)
	}
	if ev.err != nil {
		c.retry(nowMs, out, "fetch a snapshot of the metadata: %v", ev.err) // it goes on where it is
		return
	}
	if code := errors.Code(ev.resp.ErrorCode); code != errors.None {
		abandon("fetch a snapshot of the metadata from %s: %v", ev.address, code.Err())
		return
	}
	if len(ev.resp.Topics) != 1 || len(ev.resp.Topics[0].Partitions) != 1 {
		abandon("fetch a snapshot of the metadata from %s: the answer has not the one partition that was asked for", ev.address)
		return
	}
	part := &ev.resp.Topics[0].Partitions[0]
	if code := errors.Code(part.ErrorCode); code != errors.None {
		abandon("fetch a snapshot of the metadata from %s: %v", ev.address, code.Err())
		return
	}
	d := c.download
	id := kafka.EpochOffset{Offset: kafka.Offset(part.SnapshotID.EndOffset), Epoch: kafka.LeaderEpoch(part.SnapshotID.Epoch)}
	n := int64(len(part.Bytes))
	if id != d.id || part.Position != d.position || n == 0 || d.position+n > part.Size {
		abandon("controller %s sent bytes %d+%d of a snapshot of %d bytes that ends at %d, where byte %d of the one that ends at %d was asked for",
			ev.address, part.Position, n, part.Size, id.Offset, d.position, d.id.Offset)
		return
	}
	out.chunk = &chunk{id: id, position: d.position, bytes: part.Bytes, last: d.position+n == part.Size}
	d.position += n
	c.failing, c.dueMs = 0, nowMs
}

// leaderEndpoint finds a node among the endpoints of an answer.
func leaderEndpoint(brokers []kmsg.FetchResponseBroker, id kafka.NodeID) string {
	i := slices.IndexFunc(brokers, func(b kmsg.FetchResponseBroker) bool { return b.NodeID == int32(id) })
	if i < 0 {
		return ""
	}
	return net.JoinHostPort(brokers[i].Host, strconv.Itoa(int(brokers[i].Port)))
}

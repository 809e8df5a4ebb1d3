package quorum

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/internal/testlog"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/metadatalog/replay"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
	"kvorum/quorum/raft"
)

// simViolation is what a run ends with when something is not as it must be.
type simViolation string

func (v simViolation) Error() string { return string(v) }

func violated(format string, args ...any) { panic(simViolation(fmt.Sprintf(format, args...))) }

// simKnowledge is what the simulation knows and no controller does.
type simKnowledge struct {
	asked map[uint64]*simAsked
	// migrations are the batches of migrations that are not answered, by id.
	migrations map[uint64]*simNode
	order      []*simAsked

	// world is the fold of the whole log; the maps are what it has ever held.
	world  *replay.Replayer
	topics map[kafka.TopicID]bool
	names  map[string]bool
	epochs map[brokerIncarnation]bool
	blocks map[int64]bool // producer ids that were given
	// hashes are those of committed images, by the offset of their last record.
	hashes map[kafka.Offset][sha256.Size]byte
	// leaders are who was active or named as leader in each epoch.
	leaders map[kafka.LeaderEpoch]kafka.NodeID
	// transaction is the epoch of the open metadata transaction, 0 if none is.
	transaction kafka.LeaderEpoch

	totals simTotals
}

type brokerIncarnation struct {
	id    kafka.BrokerID
	epoch kafka.BrokerEpoch
}

// simAsked is a request and what is known of it.
type simAsked struct {
	id       uint64
	node     *simNode
	body     kmsg.Request
	open     bool // somebody waits for the reply
	gone     bool // the core was told that nobody does
	replies  int
	need     kafka.Offset // what must be committed before the reply
	visible  bool         // the brokers must have fetched it, too
	commitMs int64        // when need was committed
}

// nodeChecks is what the checks remember of a node's life.
type nodeChecks struct {
	pending *image.Image
	image   *image.Image
	queued  int
	epoch   kafka.LeaderEpoch
}

// simTotals count what a simulation has met.
type simTotals struct {
	Active, Loads, Restarts                 int
	Placed, Refused, Unknown                int
	Acknowledged, Renounced, TimedOut, Busy int
	Waited, GaveUp                          int
	Answered, Unanswered                    int // probes
	Transactions, Aborted                   int
}

func (t *simTotals) add(o simTotals) {
	sum, more := reflect.ValueOf(t).Elem(), reflect.ValueOf(o)
	for i := range sum.NumField() {
		if sum.Field(i).CanSet() {
			sum.Field(i).SetInt(sum.Field(i).Int() + more.Field(i).Int())
		}
	}
}

// mustHaveSeenEverything fails a test whose seeds met too little.
func (t *simTotals) mustHaveSeenEverything(tb testing.TB, seeds uint64) {
	if seeds < 50 {
		return
	}
	v := reflect.ValueOf(*t)
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && v.Field(i).Int() == 0 {
			tb.Errorf("%d seeds met no %s", seeds, f.Name)
		}
	}
}

func newSimKnowledge() simKnowledge {
	return simKnowledge{
		asked: map[uint64]*simAsked{}, migrations: map[uint64]*simNode{}, world: replay.New(nil),
		topics: map[kafka.TopicID]bool{}, names: map[string]bool{}, epochs: map[brokerIncarnation]bool{}, blocks: map[int64]bool{},
		hashes: map[kafka.Offset][sha256.Size]byte{}, leaders: map[kafka.LeaderEpoch]kafka.NodeID{},
	}
}

// placed looks at what has come into the log.
func (s *sim) placed(p *testlog.Proposal, o raft.Outcome) {
	if !o.Accepted {
		s.totals.Refused++
		return
	}
	s.totals.Placed++
	for v, err := range batch.All(s.group.Batches(s.world.NextOffset())) {
		if err != nil {
			violated("the log has a bad batch: %v", err)
		}
		s.watchTransactions(v)
		if _, err := s.world.Feed(v); err != nil {
			violated("the log cannot be replayed: %v", err)
		}
		im := s.world.Image()
		for t := range im.Topics() {
			s.topics[t.ID], s.names[t.Name] = true, true
		}
		for b := range im.Brokers() {
			s.epochs[brokerIncarnation{b.ID, b.Epoch}] = true
			s.brokers[b.ID].registered(b.Epoch)
		}
	}
}

// watchTransactions checks that the records of a metadata transaction come from
// one decision, and that a new controller ends what it finds open.
func (s *sim) watchTransactions(v batch.View) {
	it := v.MetadataRecords()
	if v.Control() {
		if s.transaction != 0 && v.Epoch() == s.transaction {
			violated("a control batch at offset %d is inside of a transaction", v.BaseOffset())
		}
		return
	}
	for it.Next() {
		m, err := record.Decode(it.Value())
		if err != nil {
			violated("record at offset %d: %v", it.Offset(), err)
		}
		if s.transaction != 0 && v.Epoch() != s.transaction {
			if _, abort := m.Record.(*record.AbortTransactionRecord); !abort {
				violated("epoch %d goes on at offset %d with %s inside of the transaction of epoch %d", v.Epoch(), it.Offset(), m.Record.RecordName(), s.transaction)
			}
		}
		switch m.Record.(type) {
		case *record.BeginTransactionRecord:
			s.transaction = v.Epoch()
			s.totals.Transactions++
		case *record.EndTransactionRecord:
			s.transaction = 0
		case *record.AbortTransactionRecord:
			s.transaction = 0
			s.totals.Aborted++
		case *record.TopicRecord, *record.PartitionRecord, *record.FeatureLevelRecord, *record.ConfigRecord, *record.ZkMigrationStateRecord:
		default:
			if s.transaction != 0 {
				violated("%s at offset %d is inside of a transaction", m.Record.RecordName(), it.Offset())
			}
		}
	}
}

// proposed checks who proposes what.
func (s *sim) proposed(n *simNode, a *Append) {
	s.leads(n.id, a.Epoch, "proposes in")
	at := a.Base
	for v, err := range batch.All(a.Batches) {
		if err != nil || v.BaseOffset() != at || v.Epoch() != a.Epoch {
			violated("node %d proposes a batch from %d of epoch %d where %d of epoch %d belongs (%v)", n.id, v.BaseOffset(), v.Epoch(), at, a.Epoch, err)
		}
		at = v.EndOffset()
	}
}

func (s *sim) leads(id kafka.NodeID, epoch kafka.LeaderEpoch, what string) {
	if other, ok := s.leaders[epoch]; ok && other != id {
		violated("two leaders in epoch %d: %d %s it, which is %d's", epoch, id, what, other)
	}
	s.leaders[epoch] = id
}

// noteStep learns what the core promised, before anything can spoil it.
func (s *sim) noteStep(n *simNode, ev Event, before role) {
	c := n.core
	switch ev := ev.(type) {
	case Request:
		q := s.asked[ev.ID]
		for _, list := range [][]parkedReply{c.parked.uncommitted, c.parked.propagating} {
			for _, r := range list {
				if r.id == ev.ID {
					q.need, q.visible = c.next, r.brokers
				}
			}
		}
	case Cancelled:
		s.asked[ev.ID].gone = true
	case Fetched:
		if b := kafka.BrokerID(ev.Replica); before == active {
			n.seen[b] = max(n.seen[b], ev.Offset)
		}
	case Committed:
		if _, err := n.follow.Feed(ev.Batches); err != nil {
			violated("node %d: %v", n.id, err)
		}
	case Loaded:
		r, err := s.files.Open(ev.ID)
		if err == nil {
			_, err = n.follow.LoadReader(ev.ID, r)
		}
		if err != nil {
			violated("node %d: %v", n.id, err)
		}
	case Appended:
		if !ev.Accepted {
			s.totals.Unknown++
		}
	}
	if before != active && c.role == active {
		clear(n.seen)
		n.probes = newSimProbes()
		s.totals.Active++
	}
	for i := range c.parked.propagating {
		if q := s.asked[c.parked.propagating[i].id]; q.commitMs == 0 {
			q.commitMs = s.now
		}
	}
}

// check is what must be true after every step.
func (s *sim) check(n *simNode, ev Event, before role, out Effects) {
	c := n.core
	if c.parked.len() > c.cfg.MaxParked {
		violated("node %d has %d parked replies", n.id, c.parked.len())
	}
	if c.bytes > c.limits.pendingBytes+32<<10 {
		violated("node %d has %d bytes pending", n.id, c.bytes)
	}
	if out.WakeAtMs > 0 && out.WakeAtMs <= s.now && c.bytes > c.limits.pendingBytes {
		violated("node %d wants to be woken at once, and can do nothing before a commit", n.id)
	}
	s.checkProbes(n, ev, before, out)
	s.checkState(n, out.State)
	s.checkCommitted(n)
	if c.role == active {
		s.leads(n.id, c.epoch, "is active in")
		s.checkPending(n)
	}
	for _, r := range out.Replies {
		s.checkReply(n, r, before == active && c.role != active)
	}
}

func (s *sim) checkState(n *simNode, state *State) {
	if state == nil {
		return
	}
	if state.Epoch < n.checks.epoch {
		violated("node %d goes back from epoch %d to %d", n.id, n.checks.epoch, state.Epoch)
	}
	n.checks.epoch = state.Epoch
	if state.Leader != kafka.NoNode {
		s.leads(state.Leader, state.Epoch, "is said to lead")
	}
	if state.Active != (n.core.role == active) || state.Active && state.Leader != n.id {
		violated("node %d publishes %+v as %d", n.id, state, n.core.role)
	}
}

// checkCommitted compares committed images at equal offsets.
func (s *sim) checkCommitted(n *simNode) {
	im := n.core.committed()
	if n.core.end() > s.group.End() {
		violated("node %d has committed up to %d, the log ends at %d", n.id, n.core.end(), s.group.End())
	}
	if im == n.checks.image {
		return
	}
	n.checks.image = im
	hash, at := im.Hash(), im.At().Offset
	if known, ok := s.hashes[at]; ok && known != hash {
		violated("node %d has another image at offset %d than others", n.id, at)
	}
	s.hashes[at] = hash
}

// checkPending is the invariant of Core's pending, queue and next.
func (s *sim) checkPending(n *simNode) {
	c := n.core
	if c.pending == n.checks.pending && len(c.queue) == n.checks.queued {
		return
	}
	n.checks.pending, n.checks.queued = c.pending, len(c.queue)
	at, size := c.end(), 0
	fold := *n.follow
	for i, b := range c.queue {
		v, rest, err := batch.Next(b.data)
		if err != nil || len(rest) > 0 || v.BaseOffset() != at || v.EndOffset() != b.end || v.Epoch() != c.epoch {
			violated("node %d: batch %d of its queue is %d-%d of epoch %d, at offset %d of epoch %d (%v)", n.id, i, v.BaseOffset(), v.LastOffset(), v.Epoch(), at, c.epoch, err)
		}
		at = b.end
		size += len(b.data)
		if _, err := fold.Feed(b.data); err != nil {
			violated("node %d: its queue cannot be replayed: %v", n.id, err)
		}
	}
	if at != c.next || size != c.bytes {
		violated("node %d: its queue ends at %d with %d bytes, it thinks %d and %d", n.id, at, size, c.next, c.bytes)
	}
	if !image.Diff(c.visible(), fold.Image()).Empty() {
		violated("node %d: the pending image is not the fold of what is committed and queued", n.id)
	}
}

// checkReply checks one reply; renounced says that the core stopped being active
// in the same step, so that it no longer knows about the brokers.
func (s *sim) checkReply(n *simNode, r Reply, renounced bool) {
	if from, ok := s.migrations[r.ID]; ok {
		delete(s.migrations, r.ID)
		if from != n || r.Response != nil || r.Err == nil && r.End > n.core.end() {
			violated("node %d answers the batch %d of a migration with %+v, committed is %d", n.id, r.ID, r, n.core.end())
		}
		return
	}
	q := s.asked[r.ID]
	switch {
	case q == nil:
		violated("node %d answers request %d, which nobody has sent", n.id, r.ID)
	case q.node != n || q.gone:
		violated("node %d answers request %d, which was not for it or is cancelled", n.id, r.ID)
	case q.replies > 0:
		violated("node %d answers request %d again", n.id, r.ID)
	case (r.Err == nil) == (r.Response == nil):
		violated("node %d answers request %d with %v and %v", n.id, r.ID, r.Response, r.Err)
	}
	q.replies++
	q.open = false
	if r.Err != nil {
		s.checkFailure(n, q, r.Err)
		return
	}
	s.totals.Acknowledged++
	if q.need > n.core.end() {
		violated("node %d answers request %d before offset %d is committed", n.id, r.ID, q.need)
	}
	if q.visible && !renounced {
		s.checkSeen(n, q)
	}
	s.checkAnswer(n, q, r.Response)
}

func (s *sim) checkFailure(n *simNode, q *simAsked, err *errors.Error) {
	switch err.Code {
	case errors.NotController:
		s.totals.Renounced++
	case errors.RequestTimedOut:
		if q.need > 0 {
			s.totals.TimedOut++
		} else {
			s.totals.Busy++
		}
	default:
		violated("node %d refuses request %d: %v", n.id, q.id, err)
	}
}

// checkSeen is read-your-writes: the reply comes when every unfenced broker has
// applied the change, if it answers probes, else has fetched it; or after
// PropagationWaitMs.
func (s *sim) checkSeen(n *simNode, q *simAsked) {
	s.totals.Waited++
	for b := range n.core.committed().Brokers() {
		seen := n.seen[b.ID]
		if n.probes.answering[b.ID] == b.Epoch {
			seen = s.brokers[b.ID].applied + 1
			if s.brokers[b.ID].epoch != b.Epoch {
				continue // that process is gone, as the controller will read in the log
			}
		}
		if (b.Fenced || b.IsMigratingZkBroker) || seen >= q.need {
			continue
		}
		if q.commitMs == 0 || s.now < q.commitMs+simWait {
			violated("node %d answers request %d before broker %d knows offset %d", n.id, q.id, b.ID, q.need-1)
		}
		s.totals.GaveUp++
		return
	}
}

// checkAnswer compares an answer with the log: what it says has happened.
func (s *sim) checkAnswer(n *simNode, q *simAsked, response kmsg.Response) {
	switch resp := response.(type) {
	case *kmsg.CreateTopicsResponse:
		for _, t := range resp.Topics {
			if t.ErrorCode == 0 && !s.topics[t.TopicID] || errors.Code(t.ErrorCode) == errors.TopicAlreadyExists && !s.names[t.Topic] {
				violated("node %d says %d about creating %s, which is not in the log", n.id, t.ErrorCode, t.Topic)
			}
		}
	case *kmsg.DeleteTopicsResponse:
		for _, t := range resp.Topics {
			if t.ErrorCode == 0 && s.world.Image().Topic(t.TopicID) != nil {
				violated("node %d says that topic %s is deleted, and it is not", n.id, kafka.TopicID(t.TopicID))
			}
		}
	case *kmsg.BrokerRegistrationResponse:
		id := kafka.BrokerID(q.body.(*kmsg.BrokerRegistrationRequest).BrokerID)
		if resp.ErrorCode == 0 && !s.epochs[brokerIncarnation{id, kafka.BrokerEpoch(resp.BrokerEpoch)}] {
			violated("node %d registered broker %d with epoch %d, which is not in the log", n.id, id, resp.BrokerEpoch)
		}
	case *kmsg.AllocateProducerIDsResponse:
		if resp.ErrorCode != 0 {
			return
		}
		if s.blocks[resp.ProducerIDStart] || s.world.Image().ProducerIDs().Next < kafka.ProducerID(resp.ProducerIDStart+int64(resp.ProducerIDLen)) {
			violated("node %d gives producer ids from %d on, which were given before or are not in the log", n.id, resp.ProducerIDStart)
		}
		s.blocks[resp.ProducerIDStart] = true
	}
}

// checkHealed is what must be true when everything has been delivered.
func (s *sim) checkHealed() {
	var leader *simNode
	for _, n := range s.nodes {
		if n.core.role == active {
			if leader != nil {
				violated("both %d and %d are active", leader.id, n.id)
			}
			leader = n
		}
		if n.core.end() != s.group.End() {
			violated("node %d has committed up to %d, the log ends at %d", n.id, n.core.end(), s.group.End())
		}
	}
	if id, term := s.group.Leader(); leader == nil || leader.id != id {
		violated("node %d leads raft's term %d, but is not active", id, term)
	}
	if len(leader.core.queue) > 0 || leader.core.parked.len() > 0 {
		violated("node %d still has %d batches and %d replies", leader.id, len(leader.core.queue), leader.core.parked.len())
	}
	for _, q := range s.order {
		if q.open {
			violated("request %d, %s to node %d, has no answer", q.id, kmsg.NameForKey(q.body.Key()), q.node.id)
		}
	}
}

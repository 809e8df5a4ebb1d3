package quorum

import (
	"context"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// A migration from ZooKeeper (KIP-866) is the only one that gives the loop records
// instead of requests. It copies ZooKeeper in a metadata transaction of many
// batches. While that is open the loop decides nothing by itself and for nobody
// else: an abort takes back everything since its begin, and what a broker was told
// must not be taken back. Reads and heartbeats are answered from before it.

// transactionIdleMs is how long an open transaction waits for its next batch before
// the loop aborts it, so that a migration that hangs does not keep the brokers from
// being fenced. Between two batches there is one commit.
const transactionIdleMs = 30_000

// idleReason is what the log says then.
const idleReason = "The migration added nothing in time"

// openTransaction is one that was begun by a MigrationBatch and not ended.
type openTransaction struct {
	before *image.Image // pending, before it
	dueMs  int64        // when it is aborted
}

// visible is the pending image without an open transaction: what may be told.
func (c *Core) visible() *image.Image {
	if c.transaction != nil {
		return c.transaction.before
	}
	return c.pending
}

// stepMigrationBatch appends the records of a migration as they are, in one batch.
func (c *Core) stepMigrationBatch(ev MigrationBatch) {
	refuse := func(err *errors.Error) { c.out.Replies = append(c.out.Replies, Reply{ID: ev.ID, Err: err}) }
	switch {
	case c.role != active || c.epoch != ev.Epoch:
		refuse(errors.New(errors.NotController, "this controller does not lead epoch %d", ev.Epoch))
		return
	case c.bytes > c.limits.pendingBytes || c.parked.len() >= c.cfg.MaxParked:
		refuse(errors.New(errors.RequestTimedOut, "the controllers have too much that is not committed: try again"))
		return
	}
	if err := c.appendMigration(ev.Records); err != nil {
		refuse(err)
		return
	}
	c.parked.add(parkedReply{id: ev.ID, need: c.next})
}

// appendMigration folds and queues one batch of a migration.
func (c *Core) appendMigration(records []record.Message) *errors.Error {
	begins, closes, err := migrationMarkers(records)
	if err == nil {
		err = c.mayMigrate(records, begins, closes)
	}
	if err != nil {
		return err
	}
	values := make([][]byte, len(records))
	for i, m := range records {
		v, err := m.Append(nil)
		if err != nil {
			return errors.New(errors.InvalidRequest, "record %d of the batch: %v", i, err)
		}
		values[i] = v
	}
	// One record may be larger than a batch of many: a topic config of ZooKeeper's
	// 1 MiB, for instance.
	size := batch.DataSize(values)
	if len(values) > c.limits.batchRecords || size > c.limits.batchBytes && len(values) > 1 || size > c.limits.atomicBytes {
		return errors.New(errors.PolicyViolation, "a batch of %d records and %d bytes is more than %d records or %d bytes",
			len(values), size, c.limits.batchRecords, c.limits.batchBytes)
	}
	base, before := c.pending, c.visible()
	if _, aborts := records[0].Record.(*record.AbortTransactionRecord); aborts {
		base = before
	}
	folded, foldErr := c.fold(base, c.next, records)
	if foldErr != nil {
		return errors.New(errors.InvalidRequest, "%v", foldErr)
	}
	c.pending = folded
	c.enqueue(c.split(values, math.MaxInt)...)
	c.stats.DecisionRecords += int64(len(records))
	switch {
	case closes || !begins && c.transaction == nil:
		c.transaction = nil
	default:
		c.transaction = &openTransaction{before: before, dueMs: c.now + transactionIdleMs}
	}
	return nil
}

// migrationMarkers checks where the markers of a batch are: a begin comes first, an
// end last, and an abort alone.
func migrationMarkers(records []record.Message) (begins, closes bool, err *errors.Error) {
	for i, m := range records {
		misplaced := false
		switch m.Record.(type) {
		case *record.BeginTransactionRecord:
			begins, misplaced = true, i > 0
		case *record.EndTransactionRecord:
			closes, misplaced = true, i < len(records)-1
		case *record.AbortTransactionRecord:
			closes, misplaced = true, len(records) > 1
		}
		if misplaced {
			return false, false, errors.New(errors.InvalidRequest, "%s is record %d of %d", m.Record.RecordName(), i, len(records))
		}
	}
	if len(records) == 0 {
		return false, false, errors.New(errors.InvalidRequest, "the batch is empty")
	}
	return begins, closes, nil
}

// mayMigrate holds the rules by which a migration goes on: the copy is one
// transaction of PRE_MIGRATION, whose end says MIGRATION. A rollback is one of
// MIGRATION, which keeps everything else out while ZooKeeper is given back, and whose
// end says NONE; before the copy nothing has to be kept out. Outside of a transaction
// there are only the steps to POST_MIGRATION and NONE. Nobody checks that later: any
// value is replayed.
func (c *Core) mayMigrate(records []record.Message, begins, closes bool) *errors.Error {
	state, open := c.visible().ZkMigrationState(), c.transaction != nil
	ends, name := image.ZkMigration, "MIGRATION" // what a transaction of this state ends with
	if state == image.ZkMigration {
		ends, name = image.ZkNone, "NONE"
	}
	migrates := state == image.ZkPreMigration || state == image.ZkMigration
	single := func(to int8) bool { return len(records) == 1 && setsZkState(records[0], to) }
	switch {
	case begins && open:
		return errors.New(errors.InvalidRequest, "a metadata transaction is open: end or abort it first")
	case begins && !migrates:
		return errors.New(errors.InvalidRequest, "ZooKeeper can be copied or given back in state PRE_MIGRATION or MIGRATION only, not in %d", state)
	case begins || open:
		_, aborts := records[0].Record.(*record.AbortTransactionRecord)
		if closes && !aborts && c.pending.ZkMigrationState() != ends && !slices.ContainsFunc(records, func(m record.Message) bool { return setsZkState(m, ends) }) {
			return errors.New(errors.InvalidRequest, "the batch that ends the transaction does not say %s", name)
		}
		return nil
	case closes:
		return errors.New(errors.InvalidRequest, "no metadata transaction is open")
	case single(image.ZkPostMigration) && state == image.ZkMigration, single(image.ZkNone) && migrates:
		return nil
	}
	return errors.New(errors.InvalidRequest, "no metadata transaction is open, and the batch is not the step from MIGRATION to POST_MIGRATION, or back to NONE (the state is %d)", state)
}

func setsZkState(m record.Message, state int8) bool {
	r, ok := m.Record.(*record.ZkMigrationStateRecord)
	return ok && r.ZkMigrationState == state
}

// abortIdle aborts a transaction that nobody goes on with.
func (c *Core) abortIdle() {
	if c.role != active || c.transaction == nil || c.now < c.transaction.dueMs {
		return
	}
	reason := idleReason
	c.note(true, "the migration from ZooKeeper added nothing to its metadata transaction for %d ms: aborting it", transactionIdleMs)
	if err := c.appendMigration([]record.Message{{Record: &record.AbortTransactionRecord{Reason: &reason}}}); err != nil {
		panic("quorum: abort the open metadata transaction: " + err.Error())
	}
}

// heardWithin notes that a broker lives whose heartbeat wants a change that has to
// wait for the end of an open transaction: the broker asks again.
func (c *Core) heardWithin(ev Request) {
	req, ok := ev.Body.(*kmsg.BrokerHeartbeatRequest)
	if !ok {
		return
	}
	id, epoch := kafka.BrokerID(req.BrokerID), kafka.BrokerEpoch(req.BrokerEpoch)
	c.heard(id, epoch, ev.Connection)
	c.sessions.Touch(id, epoch, c.now, kafka.Offset(req.CurrentMetadataOffset))
}

// Migration is told what a migration from ZooKeeper depends on. The loop calls it,
// so that none of its methods may wait.
type Migration interface {
	// Elected says that this controller is active at an epoch, after a Committed
	// with everything up to there.
	Elected(kafka.LeaderEpoch)
	// Deposed says that it is active no more.
	Deposed()
	// Committed says how far the log has come, on every controller.
	Committed(MigrationLog)
}

// MigrationLog is the committed log as a migration sees it. It is immutable.
type MigrationLog struct {
	Image *image.Image
	// Offset is the last one of the log, which is beyond the image while a metadata
	// transaction is Open.
	Offset kafka.Offset
	Open   bool
	// Unready are the quorum's controllers that have not registered as ready for a
	// migration, this one included.
	Unready []kafka.NodeID
}

// migrationLog is what State says, for a migration.
func (c *Controller) migrationLog(s *State) MigrationLog {
	m := MigrationLog{Image: s.Image, Offset: s.End - 1, Open: s.OpenTransaction}
	for _, id := range c.cfg.Core.Settings.VoterIDs {
		if r := s.Image.Controller(id); r == nil || !r.ZkMigrationReady {
			m.Unready = append(m.Unready, id)
		}
	}
	return m
}

// tellMigration passes a new state on.
func (c *Controller) tellMigration(before, now *State) {
	m := c.cfg.Migration
	if m == nil {
		return
	}
	led := before.Active && (!now.Active || now.Epoch != before.Epoch)
	if led {
		m.Deposed()
	}
	if now.End != before.End || now.Image != before.Image {
		m.Committed(c.migrationLog(now))
	}
	if now.Active && (led || !before.Active) {
		m.Elected(now.Epoch)
	}
}

// Append commits one batch of a migration's records as they are, in order, all or
// none, if this is the active controller of epoch e. The rules of what it may hold
// are those of stepMigrationBatch. It returns the offset of the last record once that
// is committed and, unless a transaction is open, in the image of State. At an error the
// batch was refused and nothing of it follows, unless ctx has ended or the epoch is
// over: then it may still be committed. Safe for concurrent use; records are not kept.
func (c *Controller) Append(ctx context.Context, e kafka.LeaderEpoch, records []record.Message) (kafka.Offset, error) {
	id, reply := c.nextID.Add(1), make(chan Reply, 1)
	ev := MigrationBatch{ID: id, Epoch: e, Records: records}
	select {
	case c.events <- queued{event: ev, reply: reply}:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-c.done:
		return 0, errors.New(errors.NotController, "this controller is shutting down")
	}
	select {
	case answer := <-reply:
		if answer.Err != nil {
			return 0, answer.Err
		}
		return answer.End - 1, nil
	case <-c.done:
		return 0, errors.New(errors.NotController, "this controller is shutting down")
	case <-ctx.Done():
		select {
		case c.events <- queued{event: Cancelled{ID: id}}:
		default: // the reply goes into its buffered channel and is forgotten
		}
		return 0, context.Cause(ctx)
	}
}

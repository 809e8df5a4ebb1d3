package quorum

import (
	"bytes"
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
	"kvorum/quorum/controller"
)

// The pipeline of the active controller: a decision is encoded, folded into the
// pending image and queued; whole batches of the queue are proposed together,
// one proposal at a time; what commits leaves the queue and frees its replies.
// One proposal in flight keeps the order without any bookkeeping, and costs
// nothing under load, since what arrives meanwhile travels in the next one.

const (
	// maxBatchRecords is Kafka's limit of records in one batch of the metadata log.
	maxBatchRecords = 10_000
	// maxBatchBytes keeps a batch within one proposal. Kafka's own limit is 8 MiB.
	maxBatchBytes = maxProposalBytes
	// maxAtomicBytes is Kafka's limit of one batch; atomic decisions larger than
	// that need a metadata transaction.
	maxAtomicBytes = 8 << 20
)

// input is what a decision of this step may look at.
func (c *Core) input(caller controller.Caller) controller.Input {
	return controller.Input{
		Image:        c.pending,
		NowMs:        c.now,
		Rand:         c.rand,
		NextOffset:   c.next,
		KRaftVersion: c.kraft,
		Sessions:     c.sessions,
		Settings:     &c.cfg.Settings,
		Memo:         &c.memo,
		Caller:       caller,
	}
}

// apply folds a decision into the pending image and queues its batches. On an
// error nothing has changed.
func (c *Core) apply(d controller.Decision) error {
	if len(d.Records) == 0 {
		return nil
	}
	if c.transaction != nil {
		panic(fmt.Sprintf("quorum: a decision of %d records within the metadata transaction of a migration", len(d.Records)))
	}
	batches, folded, err := c.encode(d)
	if err != nil {
		return err
	}
	c.pending = folded
	c.enqueue(batches...)
	c.stats.DecisionRecords += int64(len(d.Records))
	return nil
}

// enqueue adds batches that follow the queue.
func (c *Core) enqueue(batches ...pendingBatch) {
	for _, b := range batches {
		c.queue = append(c.queue, b)
		c.bytes += len(b.data)
		c.next = b.end
	}
}

// encode turns a decision into batches from c.next on, and the image after
// them. An atomic decision that does not fit one batch goes into a metadata
// transaction (KIP-868), which is closed by its last batch: no other decision's
// records come between, since the batches are queued together.
func (c *Core) encode(d controller.Decision) ([]pendingBatch, *image.Image, error) {
	values := make([][]byte, 0, len(d.Records)+2)
	size := 0
	for _, m := range d.Records {
		v, err := m.Append(nil)
		if err != nil {
			return nil, nil, err
		}
		values = append(values, v)
		size += len(v)
	}
	transaction := false
	if d.Atomic && (len(values) > c.limits.batchRecords || size > c.limits.batchBytes) {
		mv := c.pending.MetadataVersion()
		transaction = mv >= image.MV36IV1
		if !transaction && (len(values) > c.limits.batchRecords || batch.DataSize(values) > c.limits.atomicBytes) {
			return nil, nil, errors.New(errors.PolicyViolation,
				"the request needs %d records at once; metadata.version %s has no transactions and allows %d", len(values), mv, c.limits.batchRecords)
		}
	}
	first := c.next
	if transaction {
		values = wrapTransaction(values)
		first++ // BeginTransactionRecord takes an offset
	}
	folded, err := c.fold(c.pending, first, d.Records)
	if err != nil {
		return nil, nil, err
	}
	limit := c.limits.batchBytes
	if d.Atomic && !transaction {
		limit = c.limits.atomicBytes
	}
	return c.split(values, limit), folded, nil
}

// fold is an image with records from offset first on. Markers of metadata
// transactions take an offset and change nothing: the pending image is only read
// by this controller's own decisions.
func (c *Core) fold(base *image.Image, first kafka.Offset, records []record.Message) (*image.Image, error) {
	delta := image.NewDelta(base)
	for i, m := range records {
		switch m.Record.(type) {
		case *record.BeginTransactionRecord, *record.EndTransactionRecord, *record.AbortTransactionRecord:
			continue
		}
		if err := delta.ReplayAt(first+kafka.Offset(i), m.Record); err != nil {
			return nil, err
		}
	}
	last := first + kafka.Offset(len(records)) - 1
	return delta.Apply(image.Position{Offset: last, Epoch: c.epoch, TimestampMs: c.now}), nil
}

func wrapTransaction(values [][]byte) [][]byte {
	name := "kvorum large operation"
	begin, errBegin := record.Message{Record: &record.BeginTransactionRecord{Name: &name}}.Append(nil)
	end, errEnd := record.Message{Record: &record.EndTransactionRecord{}}.Append(nil)
	if errBegin != nil || errEnd != nil {
		panic(fmt.Sprintf("quorum: encode a transaction marker: %v, %v", errBegin, errEnd))
	}
	wrapped := append([][]byte{begin}, values...)
	return append(wrapped, end)
}

// split encodes values as batches of at most maxBatchRecords records and about
// limit bytes.
func (c *Core) split(values [][]byte, limit int) []pendingBatch {
	var out []pendingBatch
	base := c.next
	for len(values) > 0 {
		n, size := 0, 0
		for n < len(values) && n < c.limits.batchRecords && (n == 0 || size+len(values[n]) <= limit) {
			size += len(values[n])
			n++
		}
		data := batch.AppendData(nil, base, c.epoch, c.now, values[:n])
		base += kafka.Offset(n)
		out = append(out, pendingBatch{end: base, data: data})
		values = values[n:]
	}
	return out
}

// propose sends as much of the queue as one proposal may hold, unless one is in
// flight.
func (c *Core) propose() {
	if c.role != active || c.inFlight > 0 || len(c.queue) == 0 {
		return
	}
	n, size := 1, len(c.queue[0].data)
	for n < len(c.queue) && size+len(c.queue[n].data) <= c.limits.proposalBytes {
		size += len(c.queue[n].data)
		n++
	}
	proposal := make([]byte, 0, size)
	for _, b := range c.queue[:n] {
		proposal = append(proposal, b.data...)
	}
	c.inFlight = n
	c.out.Append = &Append{Epoch: c.epoch, Base: batch.View(proposal).BaseOffset(), Batches: proposal}
}

// stepAppended learns the fate of the proposal in flight. The batches of an
// accepted one arrive as Committed, before or after.
func (c *Core) stepAppended(ev Appended) {
	if c.role != active {
		return
	}
	if !ev.Accepted {
		c.renounce("an append was refused or its fate is unknown")
		return
	}
}

// stepCommitted folds committed batches. Those of our own queue leave it.
func (c *Core) stepCommitted(ev Committed) error {
	steps, err := c.replay.Feed(ev.Batches)
	if err != nil {
		return err
	}
	for _, step := range steps {
		c.out.Changes = append(c.out.Changes, step.Changes)
	}
	c.committedBytes += int64(len(ev.Batches))
	c.changed = true
	if c.role == active && c.leader != c.cfg.Self {
		c.renounce(fmt.Sprintf("controller %d claimed epoch %d", c.leader, c.epoch))
	}
	c.activateIfCaughtUp()
	if c.role == active {
		c.dequeue(ev.Batches)
	}
	c.brokers.changed(c.committed())
	return nil
}

// dequeue drops what has committed from the queue. A batch counts as ours only
// if it is the very batch that was queued: an earlier proposal of this node can
// still commit in the same epoch, and a reply must never be given for it. With
// nothing pending the pending image is the committed one: that lets the two
// share their memory again.
func (c *Core) dequeue(committed []byte) {
	for v := range batch.All(committed) { // Feed has read them without an error
		switch {
		case len(c.queue) > 0 && v.EndOffset() <= batch.View(c.queue[0].data).BaseOffset():
			// from before this node became active
		case len(c.queue) > 0 && bytes.Equal(v, c.queue[0].data):
			c.bytes -= len(v)
			c.queue = c.queue[1:]
			c.inFlight = max(0, c.inFlight-1)
		case v.EndOffset() > c.next || len(c.queue) > 0:
			c.renounce(fmt.Sprintf("the batch at offset %d is not the one that was proposed", v.BaseOffset()))
			return
		}
	}
	if len(c.queue) > 0 {
		return
	}
	c.queue = nil
	if c.next != c.end() {
		panic(fmt.Sprintf("quorum: nothing is pending, but the next offset is %d and the committed log ends at %d", c.next, c.end()))
	}
	if c.transaction == nil { // else the committed image stands still
		c.pending = c.committed()
	}
}

// stepLoaded replaces the state by a snapshot's.
func (c *Core) stepLoaded(ev Loaded) error {
	c.renounce("the state is loaded from a snapshot")
	step, err := c.replay.LoadReader(ev.ID, ev.Snapshot)
	if err != nil {
		return err
	}
	c.out.Changes = append(c.out.Changes, step.Changes)
	c.changed = true
	if ev.ID.Epoch > c.epoch {
		// Who led that epoch is not in a snapshot; a LeaderChange that follows tells.
		c.epoch, c.leader = ev.ID.Epoch, kafka.NoNode
	}
	c.brokers.changed(c.committed())
	return nil
}

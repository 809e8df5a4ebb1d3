package run

import (
	"context"
	"fmt"
	"time"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
	"kvorum/migration/driver"
)

const (
	// maxBatchRecords and maxBatchBytes bound one batch of the copy. Apache's are of 200
	// records at least. The quorum takes 10,000 records and 1 MiB; batches of a quarter
	// let it do other things in between.
	maxBatchRecords = 2000
	maxBatchBytes   = 256 << 10
)

// transactionName is what BeginTransaction says, as Apache's controllers have it.
const transactionName = "ZK Migration"

// copy reads ZooKeeper and commits the records in a metadata transaction, whose end
// also says that the migration is begun. Nothing is read from it before that. An
// error leaves it open, to be aborted.
func (t *term) copy(ctx context.Context) error {
	began := t.runner.config.Clock.Now()
	var messages []record.Message
	err := t.with(ctx, func(ctx context.Context) (err error) {
		_, messages, err = t.convert(ctx)
		return err
	})
	if err != nil {
		return err
	}
	name := transactionName
	if err := t.append(ctx, &record.BeginTransactionRecord{Name: &name}); err != nil {
		return err
	}
	for left := messages; len(left) > 0; {
		n, err := batchLength(left)
		if err != nil {
			return err
		}
		if _, err := t.runner.config.Append(ctx, t.epoch, left[:n]); err != nil {
			return fmt.Errorf("copy records %d to %d of %d: %w", len(messages)-len(left), len(messages)-len(left)+n-1, len(messages), err)
		}
		left = left[n:]
	}
	// What was read is the truth only if nobody has taken ZooKeeper from us meanwhile.
	if err := t.with(ctx, func(ctx context.Context) error { return t.client.Refence(ctx, t.fence) }); err != nil {
		return err
	}
	if err := t.append(ctx, &record.ZkMigrationStateRecord{ZkMigrationState: int8(driver.Migration)}, &record.EndTransactionRecord{}); err != nil {
		return err
	}
	t.runner.config.Log.Info("ZooKeeper was copied to the metadata log", "records", len(messages), "took", t.runner.config.Clock.Now().Sub(began).Round(time.Millisecond))
	return nil
}

// batchLength is how many records fit into one batch, at least one.
func batchLength(messages []record.Message) (int, error) {
	var encoded []byte
	bytes := 0
	for i, m := range messages {
		var err error
		if encoded, err = m.Append(encoded[:0]); err != nil {
			return 0, fmt.Errorf("copy: %w", err)
		}
		if bytes += len(encoded); i >= maxBatchRecords || i > 0 && bytes > maxBatchBytes {
			return i, nil
		}
	}
	return len(messages), nil
}

// abort ends the open transaction without what is in it.
func (t *term) abort(ctx context.Context) error {
	reason := "the copy of ZooKeeper was not finished"
	return t.append(ctx, &record.AbortTransactionRecord{Reason: &reason})
}

// append commits records of version 0 in one batch, and waits until they are in
// what the driver is told.
func (t *term) append(ctx context.Context, records ...record.Record) error {
	var batch []record.Message
	for _, r := range records {
		batch = append(batch, record.Message{Record: r})
	}
	last, err := t.runner.config.Append(ctx, t.epoch, batch)
	if err != nil {
		return fmt.Errorf("append %s to the metadata log: %w", records[0].RecordName(), err)
	}
	return t.runner.await(ctx, last)
}

// await waits until the log up to an offset has been given to Committed.
func (r *Runner) await(ctx context.Context, offset kafka.Offset) error {
	for {
		newest, changed := r.committed()
		if newest.Offset >= offset {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

package run

import (
	"context"
	"errors"
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
	"kvorum/migration/driver"
	"kvorum/migration/znode"
)

// rollbackName is what BeginTransaction says when a migration is rolled back.
const rollbackName = "ZK rollback"

// Start lets a migration begin whose brokers are all there, and returns when ZooKeeper
// is copied and both are written. It is refused as long as brokers or controllers are
// awaited. One that begins by itself, or has begun, is waited for. When ctx ends it goes
// on.
func (r *Runner) Start(ctx context.Context) error {
	s := r.Status()
	switch {
	case !s.Leads:
		return errors.New("start the migration: this controller is not the active one: ask that one")
	case s.State == driver.WaitForQuorum && len(s.Controllers) > 0:
		return fmt.Errorf("start the migration: the controllers %v have not registered as ready: start them with zookeeper.metadata.migration.enable=true first", s.Controllers)
	case s.State == driver.WaitForBrokers && len(s.Brokers) > 0:
		return fmt.Errorf("start the migration: the brokers %v have not registered: restart them with zookeeper.metadata.migration.enable=true first", s.Brokers)
	case s.State == driver.RollingBack || s.State == driver.RolledBack || s.State == driver.KRaft:
		return fmt.Errorf("start the migration: it is in state %v", s.State)
	}
	r.put(func() { r.start = true })
	if err := r.until(ctx, s.Epoch, 0, func(s Status) bool { return s.State == driver.DualWrite }); err != nil {
		return fmt.Errorf("start the migration: %w", err)
	}
	return nil
}

// Finalize ends the migration: it returns when POST_MIGRATION is committed. From then
// on nothing is written to ZooKeeper, /controller and /migration stay as they are, and
// nothing goes back while the controllers run. It is refused unless this controller leads, everything is in
// ZooKeeper, and no broker is in ZooKeeper mode. After an error that is not a refusal
// it may have happened: ask Status.
func (r *Runner) Finalize(ctx context.Context) error {
	s := r.Status()
	if s.State == driver.KRaft {
		return nil
	}
	switch {
	case !s.Leads:
		return errors.New("finalize the migration: this controller is not the active one: ask that one")
	case s.State != driver.DualWrite:
		return fmt.Errorf("finalize the migration: it is in state %v and not in %v: wait for that, or see its status for what it waits for", s.State, driver.DualWrite)
	case len(s.ZooKeeperMode) > 0:
		return fmt.Errorf("finalize the migration: the brokers %v are still in ZooKeeper mode and would be told nothing any more: restart them in KRaft mode first", s.ZooKeeperMode)
	}
	at := s.Offset // what comes after it may not get there: there is no end to it
	if err := r.until(ctx, s.Epoch, 0, func(s Status) bool { return s.State == driver.DualWrite && s.Written >= at }); err != nil {
		return fmt.Errorf("finalize the migration: wait for ZooKeeper to hold everything: %w", err)
	}
	if _, err := r.config.Append(ctx, s.Epoch, []record.Message{{Record: &record.ZkMigrationStateRecord{ZkMigrationState: int8(driver.PostMigration)}}}); err != nil {
		return fmt.Errorf("finalize the migration: %w", err)
	}
	return r.until(ctx, s.Epoch, 0, func(s Status) bool { return s.State == driver.KRaft })
}

// RollBack gives ZooKeeper back to its brokers and returns when that is done. The
// metadata log is stopped meanwhile and says afterwards that this cluster does not
// leave ZooKeeper: the controllers are to be formatted anew before the next attempt.
// It is refused unless this controller leads, the migration is not finalized, and no
// broker is in KRaft mode. When ctx ends it goes on.
//
// A migration that has stopped after the copy is rolled back, too. Another KRaft
// controller that has claimed ZooKeeper since is replaced: whoever calls knows that it is
// not to go on. If the brokers' own controller has ZooKeeper already, what it holds is
// theirs, and only /migration goes.
func (r *Runner) RollBack(ctx context.Context) error {
	s := r.Status()
	switch {
	case s.State == driver.RolledBack:
		return nil
	case !s.Leads:
		return errors.New("roll the migration back: this controller is not the active one: ask that one")
	case s.State == driver.KRaft:
		return errors.New("roll the migration back: it is finalized, and ZooKeeper has nothing of what changed since: kvorum migrate restore goes back from here, with everything stopped")
	case s.State == driver.Stopped && s.LogState != driver.Migration:
		return fmt.Errorf("roll the migration back: it has stopped: %s", s.Reason)
	}
	if err := inKRaftMode(s.KRaftMode); err != nil {
		return err
	}
	asked := 0
	r.put(func() { r.back, r.backs = true, r.backs+1; asked = r.backs })
	return r.until(ctx, s.Epoch, asked, func(s Status) bool { return s.State == driver.RolledBack })
}

func inKRaftMode(brokers []kafka.BrokerID) error {
	if len(brokers) == 0 {
		return nil
	}
	return fmt.Errorf("roll the migration back: the brokers %v are in KRaft mode and know no ZooKeeper: restart them in ZooKeeper mode with zookeeper.metadata.migration.enable=true first", brokers)
}

// until waits for a state of one leadership. asked is the number of RollBacks of which
// the loop must have heard before Stopped is an answer.
func (r *Runner) until(ctx context.Context, e kafka.LeaderEpoch, asked int, reached func(Status) bool) error {
	for {
		r.mu.Lock()
		moved := r.moved
		r.mu.Unlock()
		switch s := r.Status(); {
		case reached(s):
			return nil
		case !s.Leads || s.Epoch != e:
			return errors.New("another controller became the active one meanwhile: ask it for the status, and again")
		case s.State == driver.Stopped && s.backs >= asked:
			return fmt.Errorf("the migration has stopped: %s", s.Reason)
		}
		select {
		case <-moved:
		case <-ctx.Done():
			s := r.Status()
			return fmt.Errorf("it is still on its way (%v, last error %q): %w", s.State, s.Err, context.Cause(ctx))
		case <-r.done:
			return errors.New("this controller stops")
		}
	}
}

// giveBack rolls back, from wherever the migration is. It may be repeated after an
// error.
//
//  1. The metadata log is stopped by a transaction, so that nothing is acknowledged
//     that ZooKeeper will not have.
//  2. ZooKeeper gets what it lacks.
//  3. /controller and /migration go, in one transaction.
//  4. The log says None. A controller that dies before that leaves a log that says
//     MIGRATION beside a ZooKeeper that is not ours, and its successor stops there.
//
// Before the copy is committed the first two are nothing: the log takes no changes
// then, and ZooKeeper was not written.
//
// over is Action.Over.
func (t *term) giveBack(ctx context.Context, over bool) error {
	copied := t.runner.newestImage().ZkMigrationState() == int8(driver.Migration)
	if err := t.freeze(ctx, copied); err != nil {
		return err
	}
	if err := t.with(ctx, func(ctx context.Context) error { return t.release(ctx, copied, over) }); err != nil {
		return err
	}
	state := &record.ZkMigrationStateRecord{ZkMigrationState: int8(driver.None)}
	if !t.frozen {
		return t.append(ctx, state)
	}
	return t.append(ctx, state, &record.EndTransactionRecord{})
}

// freeze opens the transaction of a rollback. A copy's is aborted.
func (t *term) freeze(ctx context.Context, copied bool) error {
	newest, _ := t.runner.committed()
	if t.frozen = t.frozen && newest.Open; t.frozen { // the quorum aborts what takes too long
		return nil
	}
	if newest.Open {
		if err := t.abort(ctx); err != nil {
			return err
		}
	}
	if !copied {
		return nil
	}
	if err := inKRaftMode(t.runner.Status().KRaftMode); err != nil {
		return err
	}
	name := rollbackName
	if err := t.append(ctx, &record.BeginTransactionRecord{Name: &name}); err != nil {
		return err
	}
	t.frozen = true
	return nil
}

// release writes what ZooKeeper lacks and gives it back, unless it is its brokers'
// already.
func (t *term) release(ctx context.Context, copied, over bool) error {
	if t.fence == nil {
		theirs, err := t.leave(ctx, copied)
		if theirs || err != nil {
			return err
		}
		if err := t.take(ctx, kafka.NoEpoch, over); err != nil {
			return err
		}
	}
	if released, err := t.client.Released(ctx); released || err != nil {
		return err
	}
	if copied {
		if err := t.write(ctx, new(driver.Done)); err != nil {
			return err
		}
		// The controllers abort a transaction that stands still for too long: this says
		// that it is still open, and begins that time anew.
		if err := t.append(ctx, &record.NoOpRecord{}); err != nil {
			return err
		}
	}
	return t.client.Release(ctx, t.fence, t.epoch)
}

// leave reports whether /controller is no KRaft controller's, and then removes what is
// left of the migration: brokers may have changed what they will since.
func (t *term) leave(ctx context.Context, copied bool) (theirs bool, err error) {
	read, floor := t.client.Look, kafka.NoEpoch
	if copied { // our epochs are in the states of partitions
		read = func(ctx context.Context) (*znode.Tree, error) { return t.client.Read(ctx, nil) }
	}
	tree, err := read(ctx)
	if err != nil {
		return false, err
	}
	s := znode.Decode(tree)
	if s.Controller != nil && s.Controller.Value.KRaftEpoch >= 0 {
		return false, nil
	}
	if copied {
		floor = highestEpoch(s)
	}
	return true, t.client.Leave(ctx, floor)
}

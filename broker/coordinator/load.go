package coordinator

import (
	"kvorum/broker/group"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// load is how far a core has come before it is active.
type load struct {
	proof     kafka.Offset // end of the record that shows who leads; 0 before
	began     bool
	beganMs   int64
	from, end kafka.Offset // what is still to be read
	hw        kafka.Offset // when it began
	againMs   int64        // of a core that rests
	data      []byte
	scratch   []byte
}

// loadBytes is how much of the log is read at a time (offsets.load.buffer.size).
const loadBytes = 1 << 20

// begin goes on with what comes before a core is active. A log that cannot be read
// is tried again.
func (c *Core) begin() {
	if c.phase == resting {
		if c.NowMs() < c.againMs {
			return
		}
		c.phase = proving
	}
	if c.phase == proving {
		switch shown, err := c.prove(); {
		case err != nil:
			c.failed(err)
			return
		case !shown:
			return
		}
		c.phase = loading
		return // loading may have to wait for its turn
	}
	if err := c.loadSome(); err != nil {
		c.failed(err)
	}
}

func (c *Core) failed(err error) {
	c.Metrics.LoadFailures.Add(1)
	c.Logger.Error("the groups of this partition cannot be loaded; clients are told to wait, and it is tried again", "error", err, "pause", reloadAfter)
	c.enter(resting, errors.CoordinatorLoadInProgress)
	c.againMs = c.NowMs() + reloadAfter.Milliseconds()
}

// loadSome folds a piece of the log into the state, and is active after the last
// one. What lies above the high watermark of the begin is seen when it is committed.
func (c *Core) loadSome() error {
	l := &c.load
	if !l.began {
		hw, err := c.Log.HighWatermark()
		if err != nil {
			return err
		}
		*l = load{began: true, beganMs: c.NowMs(), from: c.Log.Start(), end: c.Log.End(), hw: hw}
	}
	if l.from < l.end {
		var err error
		if l.data, err = c.Log.Read(l.data[:0], l.from, loadBytes); err != nil {
			return err
		}
		if err := c.fold(l.data); err != nil {
			return err
		}
		if len(l.data) > 0 && l.from < l.end {
			return nil // the last offsets may be gone by compaction
		}
	}
	c.state.Advance(l.end)
	c.loaded(l.hw)
	c.expiring, c.expireAtMs = false, c.NowMs()+c.RetentionCheck.Milliseconds()
	c.apply(c.state.Step(c.env(), group.Loaded{}), c.state.End())
	c.Metrics.Loads.Add(1)
	c.Logger.Info("loaded the groups of this partition", "end", int64(l.end), "took", millis(c.NowMs()-l.beganMs))
	c.phase, c.load = active, load{}
	return nil
}

// fold loads batches; what lies below from was loaded before.
func (c *Core) fold(data []byte) error {
	l := &c.load
	for v, err := range batch.All(data) {
		if err != nil {
			return err
		}
		if v.EndOffset() <= l.from {
			continue
		}
		if err := v.CheckCRC(); err != nil {
			return err
		}
		if c.committed == nil && v.EndOffset() > l.hw {
			c.committed = c.state.Clone()
		}
		if l.scratch, err = c.state.LoadBatch(v, l.scratch); err != nil {
			return err
		}
		l.from = v.EndOffset()
	}
	return nil
}

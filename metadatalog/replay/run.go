package replay

import (
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
)

// run is one batch being applied to a copy of the state.
type run struct {
	state
	batch batch.View
	delta *image.Delta
	steps []Published
}

func (w *run) begin() { w.delta = image.NewDelta(w.current) }

// end makes the delta's records part of the current image, up to an offset.
func (w *run) end(last kafka.Offset) {
	next := w.delta.Apply(image.Position{Offset: last, Epoch: w.batch.Epoch(), TimestampMs: w.batch.MaxTimestamp()})
	changes := w.delta.Changes(next)
	if w.pending == nil {
		w.pending = changes
	} else {
		// If the batch fails, the old value still ends where it did. The keys that
		// this adds to its sets are those of values that did not change there.
		merged := *w.pending
		merged.Extend(changes)
		w.pending = &merged
	}
	w.current, w.delta = next, nil
}

// apply replays the records of one batch; at an error the run is dropped.
func (w *run) apply(records []record.Record) error {
	w.begin()
	base := w.batch.BaseOffset()
	for i, rec := range records {
		offset := base + kafka.Offset(i)
		var err error
		switch rec.(type) {
		case *record.BeginTransactionRecord:
			err = w.beginTransaction(offset)
		case *record.EndTransactionRecord:
			err = w.endTransaction()
		case *record.AbortTransactionRecord:
			err = w.abortTransaction()
		default:
			if err := w.delta.ReplayAt(offset, rec); err != nil {
				return err // names record and offset
			}
		}
		if err != nil {
			return fmt.Errorf("%s at offset %d: %w", rec.RecordName(), offset, err)
		}
	}
	w.end(w.batch.LastOffset())
	return nil
}

// beginTransaction publishes what came before the transaction
// (MetadataBatchLoader.replay), so that an abort has something to return to.
func (w *run) beginTransaction(offset kafka.Offset) error {
	if w.inTransaction {
		return fmt.Errorf("the transaction that began at offset %d is still open", w.began)
	}
	if offset > w.batch.BaseOffset() {
		w.end(offset - 1)
		w.begin()
	}
	w.steps = w.flush(w.steps)
	w.inTransaction, w.began, w.before = true, offset, w.current
	return nil
}

func (w *run) endTransaction() error {
	if !w.inTransaction {
		return fmt.Errorf("no transaction is open")
	}
	w.inTransaction, w.before = false, nil
	return nil
}

// abortTransaction goes back to the image before the transaction. The position
// moves on: the end of the batch gives it.
func (w *run) abortTransaction() error {
	if !w.inTransaction {
		return fmt.Errorf("no transaction is open")
	}
	w.current, w.pending = w.before, nil
	w.inTransaction, w.before = false, nil
	w.begin()
	return nil
}

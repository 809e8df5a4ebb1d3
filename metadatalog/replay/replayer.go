// Package replay turns committed batches of the metadata log into images, and
// images into what publishers act on.
//
// It stands between the log and everything that follows the cluster's state:
// bytes from a metadatalog store or a snapshot go in, and (changes, image) come
// out, for a controller as for a broker. Replayer is the pure core; Loader is
// the goroutine around it that follows a log.
package replay

import (
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/metadatalog"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
	"kvorum/snapshot"
)

// Kind says where an image came from.
type Kind int8

// The kinds.
const (
	FromLog      Kind = iota // records of the log were added
	FromSnapshot             // everything was replaced, or is new to the publisher
)

// Manifest describes what led to an image.
type Manifest struct {
	Kind Kind
	// Batches and Bytes are those of the log that were read for it, transactions
	// that were aborted included.
	Batches int
	Bytes   int64
}

// Published is one step that publishers see. All of it is immutable.
type Published struct {
	// Changes lead to Image from what was published before.
	Changes  *image.Changes
	Image    *image.Image
	Manifest Manifest
}

// Observer is told of each control record of the log and of snapshots, in
// order, when its batch has been applied: the leader of an epoch, kraft.version,
// the voters, a snapshot's header. offset is its place in the log, or in the
// snapshot's own count.
type Observer func(offset kafka.Offset, epoch kafka.LeaderEpoch, c record.Control)

// Replayer is the state of a replay: the last image that was published, and
// what follows it that may not be published yet. It has one user at a time and
// reads no clock.
//
// A batch is applied whole or not at all. Records of a metadata transaction
// (KIP-868) are published at its end, together, or never if it is aborted.
type Replayer struct {
	observe Observer
	state
}

// state is copied to try a batch.
type state struct {
	next      kafka.Offset // where the log goes on
	published *image.Image
	current   *image.Image
	pending   *image.Changes // from published to current; nil if they are one
	manifest  Manifest       // of pending

	inTransaction bool
	began         kafka.Offset // the open transaction's first offset
	before        *image.Image // current, before it
}

// New returns a Replayer that begins with an empty image at offset 0. observe
// may be nil.
func New(observe Observer) *Replayer {
	if observe == nil {
		observe = func(kafka.Offset, kafka.LeaderEpoch, record.Control) {}
	}
	empty := image.Empty()
	return &Replayer{observe: observe, state: state{published: empty, current: empty}}
}

// Image is the last image that was published.
func (r *Replayer) Image() *image.Image { return r.published }

// NextOffset is the offset of the batch that Feed expects.
func (r *Replayer) NextOffset() kafka.Offset { return r.next }

// InTransaction reports whether a metadata transaction is open, and where it
// began. While one is, the image stands still, and no snapshot may be taken of
// what is beyond it.
func (r *Replayer) InTransaction() (began kafka.Offset, open bool) {
	return r.began, r.inTransaction
}

// Feed applies whole committed batches that continue at NextOffset, and returns
// the steps to publish: mostly one, none while a transaction is open, more when
// one begins. A batch that lies before NextOffset is skipped.
//
// At an error the batches before the bad one have been applied and are in the
// steps, NextOffset is that batch's, and the same batch gives the same error
// again. Feed keeps nothing of batches.
func (r *Replayer) Feed(batches []byte) ([]Published, error) {
	var steps []Published
	for v, err := range batch.All(batches) {
		if err == nil {
			steps, err = r.feedOne(v, steps)
		}
		if err != nil {
			return r.flush(steps), fmt.Errorf("replay the metadata log at offset %d: %w", r.next, err)
		}
	}
	return r.flush(steps), nil
}

// feedOne applies one batch to a copy of the state and then takes the copy.
func (r *Replayer) feedOne(v batch.View, steps []Published) ([]Published, error) {
	if v.EndOffset() <= r.next {
		return steps, nil
	}
	if v.BaseOffset() != r.next {
		return steps, fmt.Errorf("the next batch is from offset %d to %d", v.BaseOffset(), v.LastOffset())
	}
	if err := v.CheckCRC(); err != nil {
		return steps, err
	}
	if v.Control() {
		return steps, r.feedControl(v)
	}
	records, err := decode(v)
	if err != nil {
		return steps, err
	}
	w := run{state: r.state, batch: v}
	w.manifest.Batches++
	w.manifest.Bytes += int64(v.Size())
	if err := w.apply(records); err != nil {
		return steps, err
	}
	w.next = v.EndOffset()
	r.state = w.state
	return append(steps, w.steps...), nil
}

// feedControl moves the position past a control batch and tells the observer.
func (r *Replayer) feedControl(v batch.View) error {
	controls, err := metadatalog.DecodeControls(v)
	if err != nil {
		return err
	}
	w := run{state: r.state, batch: v}
	w.manifest.Batches++
	w.manifest.Bytes += int64(v.Size())
	w.begin()
	w.end(v.LastOffset())
	w.next = v.EndOffset()
	r.state = w.state
	for i, c := range controls {
		r.observe(v.BaseOffset()+kafka.Offset(i), v.Epoch(), c)
	}
	return nil
}

// flush publishes what is pending, unless a transaction is open.
func (s *state) flush(steps []Published) []Published {
	if s.pending == nil || s.inTransaction {
		return steps
	}
	steps = append(steps, Published{Changes: s.pending, Image: s.current, Manifest: s.manifest})
	s.published, s.pending, s.manifest = s.current, nil, Manifest{}
	return steps
}

// LoadReader replaces the state by that of an open snapshot file, which it reads
// to the end and does not close; id is the snapshot's name. The step's changes are
// in comparison with the last published image; what a transaction had not
// published is dropped. The observer is told of kraft.version and the voters. At
// an error nothing has changed.
func (r *Replayer) LoadReader(id kafka.EpochOffset, file *snapshot.Reader) (Published, error) {
	im, err := snapshot.LoadImage(id, file)
	if err != nil {
		return Published{}, err
	}
	step := r.replaceBy(im, Manifest{})
	h := file.Header()
	if h.KRaftVersion != nil {
		r.observe(1, id.Epoch, h.KRaftVersion)
	}
	if h.Voters != nil {
		r.observe(2, id.Epoch, h.Voters)
	}
	return step, nil
}

// replaceBy makes the image of a snapshot the whole state.
func (r *Replayer) replaceBy(im *image.Image, m Manifest) Published {
	m.Kind = FromSnapshot
	step := Published{Changes: image.Diff(r.published, im), Image: im, Manifest: m}
	r.state = state{next: im.At().Offset + 1, published: im, current: im}
	return step
}

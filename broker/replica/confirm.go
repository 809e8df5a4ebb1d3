package replica

import (
	stderrors "errors"

	"kvorum/internal/kafka"
)

// A broker that starts while no controller lives goes by the last image that it
// has, which may be old: partitions may have moved here or away, or be others by the
// same name. It leads and follows with the logs that it has. But it makes no log
// where there is none, for its records would be missing; and it neither deletes one
// nor sets one aside.

// errUnconfirmed is why a partition without a log is offline.
var errUnconfirmed = stderrors.New("there is no log of the partition, and no controller has confirmed that there is to be an empty one")

// Distrust says that the images that come are not confirmed by a live quorum. It is
// called before the first Publish.
func (ps *Partitions) Distrust() { ps.unconfirmed.Store(true) }

// Unconfirmed reports whether that is so still.
func (ps *Partitions) Unconfirmed() bool { return ps.unconfirmed.Load() }

// Confirm says that a live quorum has confirmed the last image that was published,
// or the first one that will be: what was left undone with the directories is done.
// It is not called at the same time as Publish.
func (ps *Partitions) Confirm() {
	if !ps.unconfirmed.Swap(false) {
		return
	}
	im := ps.image.Load()
	if im.At().Offset == kafka.NoOffset {
		return // Publish does it
	}
	ps.judged = true
	ps.setStraysAside(im)
	for _, p := range ps.Hosted() {
		p.warming.Lock()
		if p.cold.Load() == nil && p.Log() == nil {
			ps.revive(p)
		}
		p.warming.Unlock()
	}
}

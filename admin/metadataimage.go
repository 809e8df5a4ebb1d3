package admin

import (
	"errors"
	"fmt"
	"slices"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/metadatalog/replay"
	"kvorum/snapshot"
)

// State is metadata folded to one offset.
type State struct {
	Image *image.Image
	// KRaftVersion and Voters are those of the last control records; Voters is nil
	// where the log has none (kraft.version 0).
	KRaftVersion int16
	Voters       *record.KRaftVoters
	// OpenTransaction is the first offset of a metadata transaction that has not
	// ended, none of which is in Image; kafka.NoOffset if there is none.
	OpenTransaction kafka.Offset
	// Damaged are checkpoints that were passed over for an older one.
	Damaged []error
}

// EndOfLog stands for the end of the metadata, whatever that is.
const EndOfLog = kafka.Offset(1<<63 - 1)

// StateAt folds the metadata up to the batch that holds offset at, inclusive;
// EndOfLog takes everything. It begins at the newest whole checkpoint that ends
// at or before at+1, or at offset 0. A checkpoint by itself has one state, that
// of its end.
func (m *Metadata) StateAt(at kafka.Offset) (*State, error) {
	s := &State{OpenTransaction: kafka.NoOffset}
	r := replay.New(s.observe)
	if err := m.loadCheckpoint(s, r, at); err != nil {
		return nil, err
	}
	if m.alone {
		s.Image = r.Image()
		return s, nil
	}
	for v, err := range m.Batches(r.NextOffset(), max(at, at+1)) { // EndOfLog+1 overflows
		if err == nil && v.BaseOffset() > r.NextOffset() {
			err = fmt.Errorf("%s begins at offset %d, and there is no whole checkpoint of what was before: name the directory with both", m.Path, v.BaseOffset())
		}
		if err == nil {
			_, err = r.Feed(v)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Path, err)
		}
	}
	if began, open := r.InTransaction(); open {
		s.OpenTransaction = began
	}
	s.Image = r.Image()
	if at != EndOfLog && s.Image.At().Offset < 0 {
		return nil, fmt.Errorf("%s has nothing up to offset %d", m.Path, at)
	}
	return s, nil
}

func (s *State) observe(_ kafka.Offset, _ kafka.LeaderEpoch, c record.Control) {
	switch c := c.(type) {
	case *record.KRaftVersion:
		s.KRaftVersion = c.KRaftVersion
	case *record.KRaftVoters:
		s.Voters = c
	}
}

// loadCheckpoint loads the newest whole checkpoint that may be begun with.
func (m *Metadata) loadCheckpoint(s *State, r *replay.Replayer, at kafka.Offset) error {
	for _, c := range slices.Backward(m.checkpoints) {
		if !m.alone && c.id.Offset-1 > at {
			continue
		}
		err := loadCheckpointFile(c, r)
		if err == nil {
			return nil
		}
		if m.alone || !errors.Is(err, snapshot.ErrDamaged) {
			return err
		}
		s.Damaged = append(s.Damaged, err)
	}
	return nil
}

// loadCheckpointFile loads one file, to its footer. A file without the name of a
// checkpoint has no place in a log: it is loaded as if it ended at 0.
func loadCheckpointFile(c checkpoint, r *replay.Replayer) error {
	file, err := snapshot.OpenFile(vfs.Default, c.path)
	if err != nil {
		return err
	}
	defer file.Close() // it was only read
	if _, err := r.LoadReader(c.id, file); err != nil {
		return fmt.Errorf("%s: %w", c.path, err)
	}
	return nil
}

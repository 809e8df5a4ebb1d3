package snapshot

import (
	"errors"
	"fmt"

	"kvorum/metadatalog"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
)

// ErrDamaged is what a file gives that is no whole valid snapshot.
var ErrDamaged = errors.New("snapshot is damaged")

// Header is what the first batch of a snapshot says.
type Header struct {
	// LastContainedLogTimestampMs is the timestamp of the last batch of the log
	// that the snapshot contains; retention by age goes by it.
	LastContainedLogTimestampMs int64
	// KRaftVersion is nil in a quorum of static voters (kraft.version 0).
	KRaftVersion *record.KRaftVersion
	// Voters are the voters at the snapshot's end, nil if none are known. They
	// need a KRaftVersion of at least 1 (RecordsSnapshotWriter).
	Voters *record.KRaftVoters
}

// controls encodes the header as the records of the first batch.
func (h Header) controls() ([]batch.ControlRecord, error) {
	if h.Voters != nil && (h.KRaftVersion == nil || h.KRaftVersion.KRaftVersion < 1) {
		return nil, errors.New("write snapshot header: a voter set needs kraft.version 1")
	}
	list := []record.Control{&record.SnapshotHeader{LastContainedLogTimestamp: h.LastContainedLogTimestampMs}}
	if h.KRaftVersion != nil && h.KRaftVersion.KRaftVersion > 0 {
		list = append(list, h.KRaftVersion)
	}
	if h.Voters != nil {
		list = append(list, h.Voters)
	}
	return metadatalog.EncodeControls(list...)
}

// decodeControls reads the records of a control batch; what cannot be read makes
// the snapshot a damaged one.
func decodeControls(v batch.View) ([]record.Control, error) {
	list, err := metadatalog.DecodeControls(v)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return list, nil
}

// parseHeader reads the first batch.
func parseHeader(v batch.View) (h Header, err error) {
	if !v.Control() {
		return h, fmt.Errorf("%w: the first batch is no control batch", ErrDamaged)
	}
	list, err := decodeControls(v)
	if err != nil {
		return h, err
	}
	for i, c := range list {
		if _, first := c.(*record.SnapshotHeader); first != (i == 0) {
			return h, fmt.Errorf("%w: the first batch has %s as record %d", ErrDamaged, c.RecordName(), i)
		}
		switch c := c.(type) {
		case *record.SnapshotHeader:
			h.LastContainedLogTimestampMs = c.LastContainedLogTimestamp
		case *record.KRaftVersion:
			h.KRaftVersion = c
		case *record.KRaftVoters:
			h.Voters = c
		default:
			return h, fmt.Errorf("%w: %s in the first batch", ErrDamaged, c.RecordName())
		}
	}
	return h, nil
}

// checkFooter reads the last batch.
func checkFooter(v batch.View) error {
	list, err := decodeControls(v)
	if err != nil {
		return err
	}
	if _, ok := list[0].(*record.SnapshotFooter); len(list) != 1 || !ok {
		return fmt.Errorf("%w: %s at offset %d where only a footer may be", ErrDamaged, list[0].RecordName(), v.BaseOffset())
	}
	return nil
}

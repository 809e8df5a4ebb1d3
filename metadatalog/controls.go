package metadatalog

import (
	"fmt"

	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
)

// EncodeControls encodes control records for a control batch. An error means
// that a record holds what Kafka's format cannot.
func EncodeControls(controls ...record.Control) ([]batch.ControlRecord, error) {
	out := make([]batch.ControlRecord, len(controls))
	for i, c := range controls {
		value, err := record.AppendControl(nil, c)
		if err != nil {
			return nil, err
		}
		out[i] = batch.ControlRecord{Key: record.AppendControlKey(nil, c.ControlType()), Value: value}
	}
	return out, nil
}

// DecodeControls reads the records of a control batch. Errors name the offset.
func DecodeControls(v batch.View) ([]record.Control, error) {
	var controls []record.Control
	it := v.MetadataRecords()
	for it.Next() {
		c, err := record.DecodeControl(it.Key(), it.Value())
		if err != nil {
			return nil, fmt.Errorf("record at offset %d: %w", it.Offset(), err)
		}
		controls = append(controls, c)
	}
	return controls, it.Err()
}

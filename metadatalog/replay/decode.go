package replay

import (
	"fmt"

	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
)

// decode reads the data records of a batch. Errors name the offset.
func decode(v batch.View) ([]record.Record, error) {
	// The count is the header's word; a record takes at least 8 bytes.
	records := make([]record.Record, 0, min(int(v.Count()), v.Size()/8))
	it := v.MetadataRecords()
	for it.Next() {
		m, err := record.Decode(it.Value())
		if err != nil {
			return nil, fmt.Errorf("record at offset %d: %w", it.Offset(), err)
		}
		records = append(records, m.Record)
	}
	return records, it.Err()
}

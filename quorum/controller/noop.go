package controller

import (
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

// NoOp writes the record that keeps the log moving while nothing happens
// (metadata.max.idle.interval.ms): brokers take their high watermark, and
// tools the lag of a node, from it. Below metadata.version 3.3-IV1 the record
// does not exist and nothing is written.
func NoOp(in Input) Decision {
	if in.Image.MetadataVersion().Before(image.MV33IV1) {
		return Decision{}
	}
	return Decision{Records: []record.Message{message(&record.NoOpRecord{})}}
}

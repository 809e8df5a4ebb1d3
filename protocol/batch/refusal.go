package batch

import (
	stderrors "errors"

	"kvorum/protocol/errors"
)

// Refusal says why a batch of a client is not taken: a wire error, and where
// single records are at fault those records. It is what ProduceResponse has for
// a partition from version 8 on (RecordValidationException in Apache Kafka).
type Refusal struct {
	Wire    *errors.Error
	Records []RecordError
}

// RecordError is one record at fault: its place in the batch from 0, and why.
type RecordError struct {
	Index   int32
	Message string
}

// maxRecordErrors bounds what one batch can make of the response: a bad record
// of 7 bytes would otherwise be answered with a hundred. Clients take the records
// that are not named as failed with their batch.
const maxRecordErrors = 1000

// Error is the text of the wire error.
func (r *Refusal) Error() string { return r.Wire.Error() }

// Unwrap gives the wire error, so that errors.CodeOf and errors.From see it.
func (r *Refusal) Unwrap() error { return r.Wire }

func refuse(code errors.Code, format string, args ...any) *Refusal {
	return &Refusal{Wire: errors.New(code, format, args...)}
}

func refuseSize(size, limit int) *Refusal {
	return refuse(errors.MessageTooLarge, "the record batch has %d bytes, max.message.bytes of the topic is %d", size, limit)
}

// refuseInflate: what inflates too far is too large, which clients answer by
// splitting the batch; what does not inflate is corrupt.
func refuseInflate(err error) *Refusal {
	if stderrors.Is(err, ErrTooLarge) {
		return refuse(errors.MessageTooLarge, "%v", err)
	}
	return refuse(errors.CorruptMessage, "%v", err)
}

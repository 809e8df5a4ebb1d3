package coordinator

import (
	"context"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// Partition is a partition of __consumer_offsets that this broker leads, in one
// leader epoch. broker/replica has it; a core is the only one that appends.
type Partition interface {
	// Start and End are the log's offsets, End exclusive.
	Start() kafka.Offset
	End() kafka.Offset
	// HighWatermark is the offset below which all is committed. It fails once this
	// broker no longer leads in the epoch: the log may have been cut since below what
	// was appended in it, and another leader's records committed in its place.
	HighWatermark() (kafka.Offset, error)
	// MaxBatch is how long a batch may be, in bytes (max.message.bytes).
	MaxBatch() int
	// Append appends one batch, as acks=all does: it is refused while the ISR is
	// too small, and with NOT_LEADER_OR_FOLLOWER or FENCED_LEADER_EPOCH once this
	// broker no longer leads in the epoch. It returns the offset of the first record. When it fails nothing
	// was appended, or this broker leads no longer (KAFKA_STORAGE_ERROR: the
	// log is offline). The batch is the caller's again afterwards.
	// transactionVersion is that of the request that a marker comes from, 0 for
	// everything else.
	Append(records []byte, nowMs int64, transactionVersion int16) (first kafka.Offset, err error)
	// Read appends whole batches to dst, from the one that holds from on: as many
	// as maxBytes take, but at least one. None at the end of the log.
	Read(dst []byte, from kafka.Offset, maxBytes int) ([]byte, error)
}

// Log is a Partition whose high watermark can be waited for.
type Log interface {
	Partition
	// WaitCommitted waits until the high watermark has reached an offset. It fails
	// once this broker no longer leads in the epoch.
	WaitCommitted(ctx context.Context, upTo kafka.Offset) error
}

// lost reports whether an error of the log says that somebody else leads now, so
// that the state is of no use any more.
func lost(err error) bool {
	switch errors.CodeOf(err) {
	case errors.NotLeaderOrFollower, errors.FencedLeaderEpoch, errors.UnknownLeaderEpoch, errors.KafkaStorageError,
		errors.UnknownTopicOrPartition, errors.UnknownTopicID:
		return true
	}
	return false
}

// appendError is what a client is told when the append for its request failed
// (GroupCoordinatorService.handleOperationException).
func appendError(err error) errors.Code {
	switch code := errors.CodeOf(err); {
	case lost(err):
		return errors.NotCoordinator
	case code == errors.MessageTooLarge, code == errors.RecordListTooLarge, code == errors.InvalidFetchSize:
		return errors.UnknownServerError
	case code == errors.InvalidProducerEpoch, code == errors.OutOfOrderSequenceNumber, code == errors.InvalidTxnState,
		code == errors.ProducerFenced, code == errors.InvalidProducerIDMapping:
		return code // of a transactional commit
	default:
		return errors.CoordinatorNotAvailable
	}
}

package storage

import (
	"kvorum/broker/storage/producer"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// checkLeader checks what a client or coordinator sent, before the log's lock is
// taken (UnifiedLog.analyzeAndValidateRecords, LogValidator).
func checkLeader(records []byte, c *LogConfig, o AppendOptions) error {
	if len(records) == 0 {
		return errors.New(errors.InvalidRecord, "there are no records")
	}
	for rest := records; len(rest) > 0; {
		v, after, err := batch.Next(rest)
		if err != nil {
			return refusal(err)
		}
		rest = after
		if int64(v.Size()) > c.MaxMessageBytes {
			return errors.New(errors.MessageTooLarge, "the batch of %d bytes is larger than max.message.bytes, which is %d", v.Size(), c.MaxMessageBytes)
		}
		if err := v.CheckCRC(); err != nil {
			return refusal(err)
		}
		if o.Origin == producer.Client && v.Control() {
			return errors.New(errors.InvalidRecord, "clients may not write control batches")
		}
	}
	return nil
}

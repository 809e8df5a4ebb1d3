package storage

import (
	"kvorum/broker/storage/producer"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// settings is a configuration with what follows from it.
type settings struct {
	LogConfig
	rules batch.Rules
}

func newSettings(c LogConfig) *settings {
	codec, keep, err := batch.ParseCompressionType(c.CompressionType)
	if err != nil {
		panic("storage: the configuration registry let through " + err.Error())
	}
	compression := codec.Default()
	if c.CompressionLevel != nil {
		compression.Level = *c.CompressionLevel
	}
	return &settings{LogConfig: c, rules: batch.Rules{
		Compression: compression, KeepCodec: keep,
		MaxSize:   int(c.MaxMessageBytes),
		Compacted: c.Compact, LogAppendTime: c.LogAppendTime,
		MaxBeforeMs: c.TimestampBeforeMs, MaxAfterMs: c.TimestampAfterMs,
	}}
}

// checked is an append that may be written.
type checked struct {
	records         []byte
	logAppendTimeMs int64
}

// check looks at what is to be appended, before the log's lock is taken. What a
// client sent is validated to its records and may have to be compressed anew;
// what this broker's coordinators built needs whole batches of a size that the
// log takes.
func (c *settings) check(records []byte, o AppendOptions) (checked, error) {
	if o.Origin == producer.Client {
		p, err := c.rules.Validate(records, o.NowMs)
		return checked{records: p.Batch, logAppendTimeMs: p.LogAppendTimeMs}, err
	}
	if len(records) == 0 {
		return checked{}, errors.New(errors.InvalidRecord, "there are no records to append")
	}
	for rest := records; len(rest) > 0; {
		v, after, err := batch.Next(rest)
		if err != nil {
			return checked{}, refusal(err)
		}
		if int64(v.Size()) > c.MaxMessageBytes {
			return checked{}, errors.New(errors.MessageTooLarge, "the batch of %d bytes is larger than max.message.bytes, which is %d", v.Size(), c.MaxMessageBytes)
		}
		rest = after
	}
	return checked{records: records, logAppendTimeMs: -1}, nil
}

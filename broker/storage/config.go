package storage

import "kvorum/config"

// LogConfig is what a log takes from its topic's configuration; sizes are in
// bytes and times in ms. It is a value (org.apache.kafka LogConfig).
type LogConfig struct {
	SegmentBytes       int64
	SegmentMs          int64
	SegmentJitterMs    int64
	IndexBytes         int64 // segment.index.bytes
	IndexIntervalBytes int64
	MaxMessageBytes    int64
	FlushMessages      int64
	FlushMs            int64

	RetentionBytes    int64 // -1: no limit
	RetentionMs       int64 // -1: no limit
	FileDeleteDelayMs int64

	Compact, Delete        bool // cleanup.policy
	DeleteRetentionMs      int64
	MinCompactionLagMs     int64
	MaxCompactionLagMs     int64
	MinCleanableDirtyRatio float64

	// CompressionType is "producer" to keep what was sent, or the codec of what
	// is stored. The level is that codec's, as its own key says; nil for a codec
	// that has none.
	CompressionType  string
	CompressionLevel *int

	LogAppendTime     bool // message.timestamp.type
	TimestampBeforeMs int64
	TimestampAfterMs  int64
}

// NewLogConfig reads the effective configuration of a topic.
func NewLogConfig(layers config.Layers, topic map[string]string) LogConfig {
	value := func(name string) config.Value { v, _ := layers.Topic(topic, name); return v }
	number := func(name string) int64 { return value(name).Int }
	c := LogConfig{
		SegmentBytes:       number("segment.bytes"),
		SegmentMs:          number("segment.ms"),
		SegmentJitterMs:    number("segment.jitter.ms"),
		IndexBytes:         number("segment.index.bytes"),
		IndexIntervalBytes: number("index.interval.bytes"),
		MaxMessageBytes:    number("max.message.bytes"),
		FlushMessages:      number("flush.messages"),
		FlushMs:            number("flush.ms"),

		RetentionBytes:    number("retention.bytes"),
		RetentionMs:       number("retention.ms"),
		FileDeleteDelayMs: number("file.delete.delay.ms"),

		DeleteRetentionMs:      number("delete.retention.ms"),
		MinCompactionLagMs:     number("min.compaction.lag.ms"),
		MaxCompactionLagMs:     number("max.compaction.lag.ms"),
		MinCleanableDirtyRatio: value("min.cleanable.dirty.ratio").Real,

		CompressionType:   value("compression.type").Text,
		LogAppendTime:     value("message.timestamp.type").Text == "LogAppendTime",
		TimestampBeforeMs: number("message.timestamp.before.max.ms"),
		TimestampAfterMs:  number("message.timestamp.after.max.ms"),
	}
	for _, policy := range value("cleanup.policy").List {
		c.Compact = c.Compact || policy == "compact"
		c.Delete = c.Delete || policy == "delete"
	}
	switch c.CompressionType {
	case "gzip", "lz4", "zstd":
		level := int(number("compression." + c.CompressionType + ".level"))
		c.CompressionLevel = &level
	}
	// Tests of clients make small segments by the key that has no lower bound.
	if _, ok := topic["internal.segment.bytes"]; ok {
		c.SegmentBytes = number("internal.segment.bytes")
	}
	return c
}

package batch

import (
	"fmt"
	"math"
)

// Codec is the compression of a batch's records, bits 0 to 2 of its attributes
// (CompressionType in Apache Kafka).
type Codec int8

// The codecs. 5 to 7 are undefined.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// codecNames are the names of CompressionType.forName, as clients configure them
// and tools print them.
var codecNames = [...]string{"none", "gzip", "snappy", "lz4", "zstd"}

// String returns the name that clients and tools use; None is "none".
func (c Codec) String() string {
	if !c.Valid() {
		return fmt.Sprintf("codec(%d)", int8(c))
	}
	return codecNames[c]
}

// Valid reports whether the codec is defined.
func (c Codec) Valid() bool { return c >= None && int(c) < len(codecNames) }

// Codec is the codec of v's records.
func (v View) Codec() Codec { return Codec(v.Compression()) }

// DefaultLevel stands for the level that Apache Kafka takes where none is
// configured: -1 for gzip, 9 for lz4 (which means its fast compressor, not the
// ninth level) and 3 for zstd.
const DefaultLevel = math.MinInt32

// Compression is how to compress: a codec and its level. The zero value is no
// compression. Levels are those of compression.gzip.level (-1, 1 to 9),
// compression.lz4.level (1 to 17) and compression.zstd.level (-131072 to 22);
// others are taken as the nearest one. None and Snappy have no level.
type Compression struct {
	Codec Codec
	Level int
}

// Default returns the compression of a codec at DefaultLevel.
func (c Codec) Default() Compression { return Compression{Codec: c, Level: DefaultLevel} }

// ParseCompressionType reads a value of the topic key compression.type
// (BrokerCompressionType): a codec's name, "uncompressed", or "producer", for
// which keep is true: batches stay as their producer compressed them.
func ParseCompressionType(name string) (c Codec, keep bool, err error) {
	switch name {
	case "producer":
		return None, true, nil
	case "uncompressed":
		return None, false, nil
	}
	for i, n := range codecNames {
		if n == name && i > 0 {
			return Codec(i), false, nil
		}
	}
	return None, false, fmt.Errorf("unknown compression.type %q: uncompressed, gzip, snappy, lz4, zstd or producer", name)
}

package batch

import (
	"encoding/binary"
	"hash/crc32"
	"runtime"
	"sync"

	"kvorum/protocol/errors"
)

// Rules is what a topic's configuration asks of the batches that clients send.
// Validate does not change it, so one value serves a partition for as long as
// its configuration stays.
type Rules struct {
	// Compression is compression.type with the level of its codec. Where
	// KeepCodec is set (compression.type=producer) it is not looked at.
	Compression Compression
	KeepCodec   bool
	// MaxSize is max.message.bytes: of a whole batch, as it is stored.
	MaxSize int
	// Compacted is set where cleanup.policy has compact: every record needs a key.
	Compacted bool
	// LogAppendTime is message.timestamp.type=LogAppendTime.
	LogAppendTime bool
	// MaxBeforeMs and MaxAfterMs are message.timestamp.before.max.ms and
	// message.timestamp.after.max.ms. They hold for CreateTime only.
	MaxBeforeMs, MaxAfterMs int64
	// InflateLimit bounds the records of one batch once inflated, in bytes; 0 is
	// DefaultInflateLimit.
	InflateLimit int
}

// DefaultInflateLimit is 64 times what max.message.bytes is by default: no honest
// producer compresses records that far beyond the size it was asked to keep, and
// a batch that is larger is answered with MESSAGE_TOO_LARGE, upon which clients
// split it. Apache has no limit, as it inflates as a stream.
const DefaultInflateLimit = 64 << 20

// Produced is a batch that Validate has found good.
type Produced struct {
	// Batch is what to append. It is the very bytes that were validated, unless
	// Rebuilt is set: then it was compressed anew and is the caller's.
	Batch   View
	Rebuilt bool
	// MaxTimestampMs is the largest timestamp of the records, or the append time;
	// -1 where no record has one. MaxTimestampDelta is the offset delta of the
	// first record that has it.
	MaxTimestampMs    int64
	MaxTimestampDelta int32
	// LogAppendTimeMs is what a produce response says: nowMs for LogAppendTime,
	// else -1.
	LogAppendTimeMs int64
}

// Validate decides whether records, the record field of one partition in a
// Produce request, may be appended, by the rules of Apache's ProduceRequest
// .validateRecords, UnifiedLog.analyzeAndValidateRecords and LogValidator for
// appends of clients: exactly one whole batch of format v2 with base offset 0,
// within the size limit, its checksum right, as many records as it declares with
// offset deltas 0 to n-1 (Apache checks the deltas of compressed batches only),
// no control records, a sequence where there is a producer id, keys and
// timestamps as the rules want them. nowMs is the broker's clock.
//
// The caller lends records for the call and owns them again afterwards. Validate
// changes bytes in place only in a batch that it accepts, and of that only the
// attributes, the max timestamp and the checksum: where the topic's time is the
// log's, or where the declared max timestamp is not that of the records. Base
// offset and leader epoch are the caller's to stamp (Restamp), also of a rebuilt
// batch.
//
// The error is a *Refusal. Accepting allocates nothing unless the batch must be
// compressed otherwise. At most as many batches as there are processors are
// inflated at once; others wait for them, never for anything else.
func (r *Rules) Validate(records []byte, nowMs int64) (Produced, error) {
	v, refusal := r.envelope(records)
	if refusal != nil {
		return Produced{}, refusal
	}
	codec := v.Codec()
	w := recordCheck{rules: r, view: v, nowMs: nowMs}
	if codec == None && (r.KeepCodec || r.Compression.Codec == None) {
		if refusal := w.check(v[HeaderSize:]); refusal != nil {
			return Produced{}, refusal
		}
		return w.stamp(v, false), nil
	}
	s := borrowScratch()
	defer s.giveBack()
	limit := r.InflateLimit
	if limit == 0 {
		limit = DefaultInflateLimit
	}
	inflated := []byte(v[HeaderSize:])
	if codec != None {
		var err error
		if s.buf, err = inflate(codec, s.buf[:0], v[HeaderSize:], limit); err != nil {
			return Produced{}, refuseInflate(err)
		}
		inflated = s.buf
	}
	if refusal := w.check(inflated); refusal != nil {
		return Produced{}, refusal
	}
	if r.KeepCodec || r.Compression.Codec == codec {
		return w.stamp(v, false), nil
	}
	return r.rebuild(&w, inflated)
}

// rebuild compresses the records of a good batch as the topic wants it.
func (r *Rules) rebuild(w *recordCheck, inflated []byte) (Produced, error) {
	size := HeaderSize + len(inflated)
	if r.Compression.Codec != None {
		size = HeaderSize + len(inflated)/2
	}
	b := append(make([]byte, 0, size), w.view[:HeaderSize]...)
	b[offAttributes+1] = b[offAttributes+1]&^attrCompression | byte(r.Compression.Codec)
	b = seal(r.Compression.AppendCompressed(b, inflated), 0)
	if len(b) > r.MaxSize {
		return Produced{}, refuseSize(len(b), r.MaxSize)
	}
	return w.stamp(View(b), true), nil
}

// stamp writes what the log decides about the timestamps into a good batch.
func (w *recordCheck) stamp(v View, rebuilt bool) Produced {
	p := Produced{Batch: v, Rebuilt: rebuilt, MaxTimestampMs: w.newest, MaxTimestampDelta: w.newestDelta, LogAppendTimeMs: -1}
	attributes := v.Attributes() &^ attrLogAppendTime
	if w.rules.LogAppendTime {
		attributes |= attrLogAppendTime
		p.MaxTimestampMs, p.MaxTimestampDelta, p.LogAppendTimeMs = w.nowMs, 0, w.nowMs
	}
	if v.MaxTimestamp() == p.MaxTimestampMs && v.Attributes() == attributes {
		return p
	}
	binary.BigEndian.PutUint16(v[offAttributes:], uint16(attributes))
	binary.BigEndian.PutUint64(v[offMaxTimestamp:], uint64(p.MaxTimestampMs))
	binary.BigEndian.PutUint32(v[offCRC:], crc32.Checksum(v[offAttributes:], castagnoli))
	return p
}

// SingleBatch returns the one batch that a partition of a Produce request of
// this version must have; its checksum and records are not looked at. The error
// is a *Refusal (ProduceRequest.validateRecords).
func SingleBatch(records []byte, version int16) (View, error) {
	v, refusal := single(records)
	if refusal != nil {
		return nil, refusal
	}
	if v.Codec() == Zstd && version < 7 {
		return nil, refuse(errors.UnsupportedCompressionType, "zstd needs version 7 of Produce, this is version %d", version)
	}
	return v, nil
}

func single(records []byte) (View, *Refusal) {
	if len(records) < LogOverhead {
		return nil, refuse(errors.InvalidRecord, "no record batch: every partition of a Produce request needs one")
	}
	size := int64(int32(binary.BigEndian.Uint32(records[offLength:]))) + LogOverhead
	switch {
	case len(records) > offMagic && int8(records[offMagic]) != magicV2:
		return nil, refuse(errors.InvalidRecord, "records of format %d: only record batches of format 2 are taken", int8(records[offMagic]))
	case size < HeaderSize:
		return nil, refuse(errors.CorruptMessage, "a record batch that declares %d bytes is below the smallest one", size)
	case size > int64(len(records)):
		return nil, refuse(errors.InvalidRecord, "a record batch declares %d bytes, %d are there", size, len(records))
	case size < int64(len(records)):
		return nil, refuse(errors.InvalidRecord, "%d bytes after the record batch: every partition may have one only", int64(len(records))-size)
	}
	return View(records), nil
}

// envelope checks everything of a batch but its records.
func (r *Rules) envelope(records []byte) (View, *Refusal) {
	v, refusal := single(records)
	if refusal != nil {
		return nil, refusal
	}
	switch {
	case v.BaseOffset() != 0:
		return nil, refuse(errors.InvalidRecord, "base offset %d instead of 0", v.BaseOffset())
	case v.Size() > r.MaxSize:
		return nil, refuseSize(v.Size(), r.MaxSize)
	}
	if sum := crc32.Checksum(v[offAttributes:], castagnoli); sum != v.CRC() {
		return nil, refuse(errors.CorruptMessage, "checksum of the batch is %08x, it declares %08x", sum, v.CRC())
	}
	switch count := v.Count(); {
	case v.lastOffsetDelta() < 0 || count <= 0 || int64(count) != int64(v.lastOffsetDelta())+1:
		return nil, refuse(errors.InvalidRecord, "%d records with a last offset delta of %d", count, v.lastOffsetDelta())
	case v.Control():
		return nil, refuse(errors.InvalidRecord, "clients may not write control records")
	case v.ProducerID() >= 0 && v.BaseSequence() < 0:
		return nil, refuse(errors.InvalidRecord, "sequence %d with producer id %d", v.BaseSequence(), v.ProducerID())
	case !v.Codec().Valid():
		return nil, refuse(errors.UnsupportedCompressionType, "undefined %s", v.Codec())
	}
	return v, nil
}

// scratch is where batches are inflated to be looked at.
type scratch struct{ buf []byte }

// maxScratch is the largest buffer that is kept; beyond it are rare batches.
const maxScratch = 8 << 20

// inflating bounds the buffers that hold inflated batches at once: a hostile
// batch of a few KiB may take the whole limit. It is the processor that the work
// waits for anyway.
var (
	inflating = make(chan struct{}, runtime.GOMAXPROCS(0))
	scratches = sync.Pool{New: func() any { return new(scratch) }}
)

func borrowScratch() *scratch {
	inflating <- struct{}{}
	return scratches.Get().(*scratch)
}

func (s *scratch) giveBack() {
	if cap(s.buf) > maxScratch {
		s.buf = nil
	}
	scratches.Put(s)
	<-inflating
}

package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"kvorum/internal/kafka"
)

// maxString is the longest string that Kafka's generated writers accept.
const maxString = 0x7fff

// TaggedField is a tagged field that this build's schema does not know. It is
// kept as it came and written again, so that a record survives a round trip
// through an older kvorum.
type TaggedField struct {
	Tag  uint32
	Data []byte
}

// errShort is wrapped into a DecodeError by Decode and DecodeControl.
var errShort = errors.New("the value ends in the middle of a field")

// reader walks one record value. The first error sticks, later reads return
// zero values, so that generated code needs no error checks per field.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
		r.b = nil
	}
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail(errShort)
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) uvarint() uint32 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		p := r.take(1)
		if p == nil {
			return 0
		}
		v |= uint64(p[0]&0x7f) << shift
		if p[0] < 0x80 {
			if v > math.MaxUint32 {
				break
			}
			return uint32(v)
		}
	}
	r.fail(errors.New("a variable-length number is longer than five bytes"))
	return 0
}

func (r *reader) bool() bool { return r.int8() != 0 }

func (r *reader) int8() int8 {
	if p := r.take(1); p != nil {
		return int8(p[0])
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if p := r.take(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (r *reader) int16() int16 { return int16(r.uint16()) }

func (r *reader) int32() int32 {
	if p := r.take(4); p != nil {
		return int32(binary.BigEndian.Uint32(p))
	}
	return 0
}

func (r *reader) int64() int64 {
	if p := r.take(8); p != nil {
		return int64(binary.BigEndian.Uint64(p))
	}
	return 0
}

func (r *reader) float64() float64 { return math.Float64frombits(uint64(r.int64())) }

func (r *reader) uuid() (u kafka.UUID) {
	copy(u[:], r.take(len(u)))
	return u
}

// length reads a compact length: the number of elements or bytes, or -1 for
// null. Each element takes at least minSize bytes of what is left, so a length
// that cannot be true is refused before anything is allocated for it.
func (r *reader) length(minSize int) int {
	n := int64(r.uvarint()) - 1
	if r.err != nil {
		return -1
	}
	if n*int64(minSize) > int64(len(r.b)) {
		r.fail(errShort)
		return -1
	}
	return int(n)
}

func (r *reader) nullableString() *string {
	n := r.length(1)
	if n < 0 {
		return nil
	}
	if n > maxString {
		r.fail(fmt.Errorf("a string of %d bytes is longer than %d", n, maxString))
		return nil
	}
	s := string(r.take(n))
	return &s
}

func (r *reader) string() string {
	s := r.nullableString()
	if s == nil {
		r.fail(errors.New("a string that may not be null is null"))
		return ""
	}
	return *s
}

func (r *reader) bytes() []byte {
	n := r.length(1)
	if n < 0 {
		r.fail(errors.New("a byte field that may not be null is null"))
		return nil
	}
	return append([]byte{}, r.take(n)...)
}

// array reads the elements of an array. A null array is nil where null is
// allowed; an empty one is nil where it is not, so that equal records are equal
// values.
func array[T any](r *reader, nullable bool, minSize int, element func(*reader) T) []T {
	n := r.length(minSize)
	if n < 0 {
		if !nullable {
			r.fail(errors.New("an array that may not be null is null"))
		}
		return nil
	}
	if n == 0 && !nullable {
		return nil
	}
	out := make([]T, n)
	for i := range out {
		out[i] = element(r)
	}
	return out
}

// tags reads the tagged-field section. known decodes the tags that the schema
// has at this version and reports whether it took the tag; the others are kept.
func (r *reader) tags(known func(tag uint32, f *reader) bool) (unknown []TaggedField) {
	previous := int64(-1)
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		tag, size := r.uvarint(), r.uvarint()
		if int64(tag) <= previous {
			r.fail(fmt.Errorf("tagged field %d follows tagged field %d", tag, previous))
			return nil
		}
		previous = int64(tag)
		f := reader{b: r.take(int(size))}
		if r.err != nil {
			return nil
		}
		if !known(tag, &f) {
			unknown = append(unknown, TaggedField{tag, append([]byte{}, f.b...)})
			continue
		}
		if f.err == nil && len(f.b) > 0 {
			f.err = fmt.Errorf("%d bytes are left over", len(f.b))
		}
		if f.err != nil {
			r.fail(fmt.Errorf("tagged field %d: %w", tag, f.err))
		}
	}
	return unknown
}

func appendUvarint(dst []byte, v uint32) []byte { return binary.AppendUvarint(dst, uint64(v)) }

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func appendInt8(dst []byte, v int8) []byte     { return append(dst, byte(v)) }
func appendUint16(dst []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(dst, v) }
func appendInt16(dst []byte, v int16) []byte   { return binary.BigEndian.AppendUint16(dst, uint16(v)) }
func appendInt32(dst []byte, v int32) []byte   { return binary.BigEndian.AppendUint32(dst, uint32(v)) }
func appendInt64(dst []byte, v int64) []byte   { return binary.BigEndian.AppendUint64(dst, uint64(v)) }
func appendFloat64(dst []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(v))
}
func appendUUID(dst []byte, v kafka.UUID) []byte { return append(dst, v[:]...) }

func appendString(dst []byte, v string) []byte {
	dst = appendUvarint(dst, uint32(len(v))+1)
	return append(dst, v...)
}

func appendNullableString(dst []byte, v *string) []byte {
	if v == nil {
		return append(dst, 0)
	}
	return appendString(dst, *v)
}

func appendBytes(dst []byte, v []byte) []byte {
	dst = appendUvarint(dst, uint32(len(v))+1)
	return append(dst, v...)
}

// appendArray writes a compact array; nil is null where nullable.
func appendArray[T any](dst []byte, nullable bool, v []T, element func([]byte, T) []byte) []byte {
	if v == nil && nullable {
		return append(dst, 0)
	}
	dst = appendUvarint(dst, uint32(len(v))+1)
	for i := range v {
		dst = element(dst, v[i])
	}
	return dst
}

// tagWriter writes the tagged-field section of one struct, known and unknown
// tags in ascending order.
type tagWriter struct {
	dst     []byte
	unknown []TaggedField
}

// value writes one known tag whose value append produces. The size in front of
// it is not known before it is written, so the value is moved to make room.
func (w *tagWriter) value(tag uint32, appendValue func([]byte) []byte) {
	w.flush(tag)
	w.dst = appendUvarint(w.dst, tag)
	start := len(w.dst)
	w.dst = appendValue(w.dst)
	size := len(w.dst) - start
	var head [binary.MaxVarintLen32]byte
	n := binary.PutUvarint(head[:], uint64(size))
	w.dst = append(w.dst, head[:n]...)
	copy(w.dst[start+n:], w.dst[start:start+size])
	copy(w.dst[start:], head[:n])
}

// flush writes the unknown tags below a known one.
func (w *tagWriter) flush(below uint32) {
	for len(w.unknown) > 0 && w.unknown[0].Tag < below {
		f := w.unknown[0]
		w.unknown = w.unknown[1:]
		w.dst = appendUvarint(w.dst, f.Tag)
		w.dst = appendUvarint(w.dst, uint32(len(f.Data)))
		w.dst = append(w.dst, f.Data...)
	}
}

func (w *tagWriter) finish() []byte {
	w.flush(math.MaxUint32)
	return w.dst
}

// checkStrings refuses strings that Kafka's writers refuse.
func checkString(field string, v string) error {
	if len(v) > maxString {
		return fmt.Errorf("%s has %d bytes, more than the %d that a record can hold", field, len(v), maxString)
	}
	return nil
}

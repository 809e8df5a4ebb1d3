// Package record holds every record of Kafka's metadata log as a typed value,
// with a codec that writes the bytes that Apache Kafka writes (3.9 to 4.3).
//
// It is the alphabet of the house: decisions produce records, Raft agrees on
// them, the image is folded from them, snapshots list them. It is a leaf and
// pure. The types and their codec are generated from records.def.
package record

import (
	"errors"
	"fmt"
)

//go:generate go run ./gen

// APIKey identifies a type of metadata record (the "apiKey" of its schema).
type APIKey int16

// ControlType identifies a type of control record
// (org.apache.kafka.common.record.ControlRecordType).
type ControlType int16

// frameVersion is the version of the frame around every metadata record
// (MetadataRecordSerde); 0 was the 2.8 preview's and is refused.
const frameVersion = 1

// maxFrameNumber bounds the key and version of a frame; Kafka reads both as
// unsigned varints and refuses what does not fit an int16.
const maxFrameNumber = 0x7fff

// Record is one metadata record: a pointer to one of the generated types.
type Record interface {
	// APIKey is the type of the record.
	APIKey() APIKey
	// RecordName is the record's name in Kafka's schemas, such as "TopicRecord".
	RecordName() string
	// HighestVersion is the newest version that this build can read and write.
	HighestVersion() int16

	appendBody(dst []byte, version int16) ([]byte, error)
	decodeBody(r *reader, version int16)
}

// Control is one control record: a pointer to one of the generated types.
type Control interface {
	// ControlType is the type in the key of a control record.
	ControlType() ControlType
	// RecordName is the record's name in Kafka's schemas.
	RecordName() string

	appendBody(dst []byte, version int16) ([]byte, error)
	decodeBody(r *reader, version int16)
}

// Message is a record together with the version that it is written at (Kafka's
// ApiMessageAndVersion). The version follows from the metadata.version of the
// cluster, not from the binary.
type Message struct {
	Record  Record
	Version int16
}

// DecodeError says which record could not be read. Key and Version are -1
// until they were read.
type DecodeError struct {
	Key     APIKey
	Version int16
	Err     error
}

func (e *DecodeError) Error() string {
	if name := keyName(e.Key); name != "" {
		return fmt.Sprintf("%s (key %d) version %d: %v", name, e.Key, e.Version, e.Err)
	}
	return fmt.Sprintf("metadata record with key %d version %d: %v", e.Key, e.Version, e.Err)
}

// Unwrap returns the cause.
func (e *DecodeError) Unwrap() error { return e.Err }

var (
	// ErrUnknownKey is in the chain of a DecodeError for a record type that this
	// build does not know; the log was written by a newer Kafka or kvorum.
	ErrUnknownKey = errors.New("unknown record type")
	// ErrUnknownVersion is in the chain for a known type at an unknown version.
	ErrUnknownVersion = errors.New("unsupported record version")
	// ErrTrailingBytes is in the chain when bytes follow the record.
	ErrTrailingBytes = errors.New("bytes follow the record")
)

// Append appends m's value frame (frame version, key, version, body) to dst. It
// fails if the version does not exist or cannot carry a field that is set; dst
// is then returned at its old length.
func (m Message) Append(dst []byte) ([]byte, error) {
	if m.Version < 0 || m.Version > m.Record.HighestVersion() {
		return dst, fmt.Errorf("write %s version %d: %w (0 to %d are known)",
			m.Record.RecordName(), m.Version, ErrUnknownVersion, m.Record.HighestVersion())
	}
	start := len(dst)
	out := appendUvarint(dst, frameVersion)
	out = appendUvarint(out, uint32(m.Record.APIKey()))
	out = appendUvarint(out, uint32(m.Version))
	out, err := m.Record.appendBody(out, m.Version)
	if err != nil {
		return dst[:start], fmt.Errorf("write %s version %d: %w", m.Record.RecordName(), m.Version, err)
	}
	return out, nil
}

// Decode reads the value of one data record of the metadata log. The result
// does not alias value. Errors are *DecodeError; the caller knows the offset
// and adds it.
func Decode(value []byte) (Message, error) {
	r := &reader{b: value}
	fail := func(key APIKey, version int16, err error) (Message, error) {
		return Message{}, &DecodeError{Key: key, Version: version, Err: err}
	}
	frame := r.uvarint()
	if r.err == nil && frame != frameVersion {
		return fail(-1, -1, fmt.Errorf("frame version is %d instead of %d", frame, frameVersion))
	}
	key, version := r.uvarint(), r.uvarint()
	if r.err != nil {
		return fail(-1, -1, r.err)
	}
	if key > maxFrameNumber || version > maxFrameNumber {
		return fail(-1, -1, fmt.Errorf("key %d and version %d must not exceed %d", key, version, maxFrameNumber))
	}
	rec := newRecord(APIKey(key))
	if rec == nil {
		return fail(APIKey(key), int16(version), ErrUnknownKey)
	}
	if int16(version) > rec.HighestVersion() {
		return fail(APIKey(key), int16(version), fmt.Errorf("%w (0 to %d are known)", ErrUnknownVersion, rec.HighestVersion()))
	}
	rec.decodeBody(r, int16(version))
	if r.err != nil {
		return fail(APIKey(key), int16(version), r.err)
	}
	if len(r.b) > 0 {
		return fail(APIKey(key), int16(version), fmt.Errorf("%d %w", len(r.b), ErrTrailingBytes))
	}
	return Message{Record: rec, Version: int16(version)}, nil
}

// controlKeyVersion is the version in the key of a control record.
const controlKeyVersion = 0

// AppendControlKey appends the key of a control record of type t.
func AppendControlKey(dst []byte, t ControlType) []byte {
	return appendInt16(appendInt16(dst, controlKeyVersion), int16(t))
}

// AppendControl appends the value of a control record. Kafka always writes and
// reads schema version 0 (ControlRecordUtils), whatever the Version field says.
func AppendControl(dst []byte, c Control) ([]byte, error) {
	out, err := c.appendBody(dst, 0)
	if err != nil {
		return dst, fmt.Errorf("write control record %s: %w", c.RecordName(), err)
	}
	return out, nil
}

// DecodeControl reads key and value of one control record of the metadata log.
func DecodeControl(key, value []byte) (Control, error) {
	k := &reader{b: key}
	keyVersion, t := k.int16(), ControlType(k.int16())
	if k.err != nil {
		return nil, fmt.Errorf("control record key of %d bytes: %w", len(key), k.err)
	}
	if keyVersion < 0 {
		return nil, fmt.Errorf("control record key version %d is negative", keyVersion)
	}
	c := newControl(t)
	if c == nil {
		return nil, fmt.Errorf("control record type %d: %w", t, ErrUnknownKey)
	}
	r := &reader{b: value}
	c.decodeBody(r, 0)
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d %w", len(r.b), ErrTrailingBytes)
	}
	if r.err != nil {
		return nil, fmt.Errorf("control record %s: %w", c.RecordName(), r.err)
	}
	return c, nil
}

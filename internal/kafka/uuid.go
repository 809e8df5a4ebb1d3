package kafka

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
)

// UUID is Kafka's 128-bit id. Its text form is 22 characters of unpadded
// URL-safe base64 (org.apache.kafka.common.Uuid), never the dashed form.
type UUID [16]byte

// TopicID identifies a topic for its whole life; a topic that is deleted and
// created again has another one.
type TopicID = UUID

// DirectoryID identifies one log directory of a broker, or the metadata
// directory of a controller (KIP-858, KIP-853).
type DirectoryID = UUID

// reservedBelow bounds the ids that Kafka keeps for itself: most significant
// half 0 and least significant half below 100 (Uuid.RESERVED).
const reservedBelow = 100

// MetadataTopic is the name under which the metadata log is fetched; its only
// partition is 0 (Topic.CLUSTER_METADATA_TOPIC_NAME).
const MetadataTopic = "__cluster_metadata"

var (
	// ZeroUUID is the absent id; as a directory it reads MIGRATING
	// (DirectoryId.MIGRATING): the replica's directory is not known yet.
	ZeroUUID UUID
	// MetadataTopicID is the topic id of MetadataTopic.
	MetadataTopicID = reservedUUID(1)
	// DirectoryMigrating, DirectoryUnassigned and DirectoryLost are the reserved
	// directory ids (DirectoryId).
	DirectoryMigrating  = ZeroUUID
	DirectoryUnassigned = reservedUUID(1)
	DirectoryLost       = reservedUUID(2)
)

func reservedUUID(low uint64) (u UUID) {
	binary.BigEndian.PutUint64(u[8:], low)
	return u
}

// String returns the 22-character text form.
func (u UUID) String() string { return base64.RawURLEncoding.EncodeToString(u[:]) }

// MarshalText makes JSON output use the 22-character form.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads the form that MarshalText writes.
func (u *UUID) UnmarshalText(text []byte) error {
	parsed, err := ParseUUID(string(text))
	if err != nil {
		return err
	}
	*u = parsed
	return nil
}

// IsZero reports whether u is the absent id.
func (u UUID) IsZero() bool { return u == ZeroUUID }

// Reserved reports whether u is one of the hundred ids that Kafka never
// allocates (a broker that registers a directory with one is refused).
func (u UUID) Reserved() bool {
	return binary.BigEndian.Uint64(u[:8]) == 0 && binary.BigEndian.Uint64(u[8:]) < reservedBelow
}

// Compare orders ids by their bytes.
func (u UUID) Compare(v UUID) int {
	for i := range u {
		if u[i] != v[i] {
			return int(u[i]) - int(v[i])
		}
	}
	return 0
}

// ParseUUID reads the 22-character text form; padding is tolerated as Kafka
// tolerates it.
func ParseUUID(s string) (UUID, error) {
	for len(s) > 0 && s[len(s)-1] == '=' {
		s = s[:len(s)-1]
	}
	var u UUID
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return u, fmt.Errorf("id %q is not URL-safe base64: %w", s, err)
	}
	if len(b) != len(u) {
		return u, fmt.Errorf("id %q has %d bytes instead of 16", s, len(b))
	}
	copy(u[:], b)
	return u, nil
}

// RandomUUID draws an id that is not reserved and whose text form does not
// begin with '-', so that it can be typed as an argument (Uuid.randomUuid).
// random is the source of the 16 bytes.
func RandomUUID(random io.Reader) (UUID, error) {
	for {
		var u UUID
		if _, err := io.ReadFull(random, u[:]); err != nil {
			return u, fmt.Errorf("draw a random id: %w", err)
		}
		u[6] = u[6]&0x0f | 0x40 // version 4
		u[8] = u[8]&0x3f | 0x80 // IETF variant
		if !u.Reserved() && u.String()[0] != '-' {
			return u, nil
		}
	}
}

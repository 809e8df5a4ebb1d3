package group

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/tidwall/btree"

	"kvorum/internal/kafka"
	"kvorum/internal/planted"
)

// State is what one partition of __consumer_offsets says, and what its groups
// are doing. The zero State is that of an empty partition. It is owned by one
// goroutine; a Clone is a State of its own.
type State struct {
	// end is the offset that the next record gets. A step gives its records
	// their offsets from here before they are appended, as Apache's
	// CoordinatorRuntime does: nobody else appends to the partition.
	end    kafka.Offset
	groups btree.Map[string, *group]
	// offsets holds what is committed by record key.
	offsets btree.Map[string, *Committed]
	// pending holds the offsets of open transactions by producer id (8 bytes)
	// and record key, open the same keys the other way round.
	pending btree.Map[string, *Committed]
	open    btree.Map[string, struct{}]
	// foreign holds the keys of the group protocols that are not served here,
	// so that their groups are known and left alone: length and id of the group,
	// then the whole key.
	foreign btree.Map[string, struct{}]
}

// Clone returns a copy in constant time: the trees are shared until one side
// changes them.
func (s *State) Clone() *State {
	return &State{
		end: s.end, groups: *s.groups.Copy(), offsets: *s.offsets.Copy(),
		pending: *s.pending.Copy(), open: *s.open.Copy(), foreign: *s.foreign.Copy(),
	}
}

// End is the offset after the last record that was folded in: where the records
// of the next Step go.
func (s *State) End() kafka.Offset { return s.end }

// Advance moves End to where the log really ends after a load; the tail of a
// log can be offsets that compaction has emptied.
func (s *State) Advance(end kafka.Offset) { s.end = max(s.end, end) }

// Load folds one record of the log in. producer is the id of the batch where the
// batch is transactional, else -1. Records come in the order of their offsets.
// An error says that the record is damaged or newer than what is known; the
// State is as before then.
func (s *State) Load(at kafka.Offset, producer kafka.ProducerID, key, value []byte) error {
	if len(key) < 2 {
		return fmt.Errorf("the record at offset %d has a key of %d bytes", at, len(key))
	}
	var err error
	switch kind := binary.BigEndian.Uint16(key); kind {
	case keyLegacyOffset, keyOffset:
		err = s.loadOffset(at, producer, key, value)
	case keyGroup:
		err = s.loadGroup(key, value)
	default:
		err = s.loadForeign(key, value)
	}
	if err != nil {
		return fmt.Errorf("the record at offset %d: %w", at, err)
	}
	s.Advance(at + 1)
	return nil
}

func (s *State) loadOffset(at kafka.Offset, producer kafka.ProducerID, key, value []byte) error {
	k := string(key)
	if key[1] == keyLegacyOffset {
		k = "\x00\x01" + k[2:]
	}
	ref, err := readOffsetKey(k)
	if err != nil {
		return err
	}
	if value == nil {
		if planted.Is(planted.ForgetTombstones) {
			return nil
		}
		s.forgetOffset(k)
		return nil
	}
	c, err := parseCommitted(value, at)
	if err != nil {
		return err
	}
	s.keepOffset(ref, k, producer, c)
	return nil
}

// keepOffset stores a commit: of a transaction aside, until its end is known.
// Whoever commits without being a member makes a group of offsets only.
func (s *State) keepOffset(ref offsetRef, key string, producer kafka.ProducerID, c *Committed) {
	if _, ok := s.groups.Get(ref.group); !ok {
		s.groups.Set(ref.group, newGroup(ref.group, -1))
	}
	if producer < 0 {
		s.offsets.Set(key, c)
		return
	}
	p := producerKey(producer)
	s.pending.Set(p+key, c)
	s.open.Set(key+p, struct{}{})
}

// forgetOffset is the fold of an offset's tombstone: what is pending for the
// partition goes too.
func (s *State) forgetOffset(key string) {
	s.offsets.Delete(key)
	for _, k := range withPrefix(&s.open, key) {
		s.open.Delete(k)
		s.pending.Delete(k[len(key):] + key)
	}
}

func (s *State) loadGroup(key, value []byte) error {
	id, _, err := readString(key[2:])
	if err != nil {
		return err
	}
	if value == nil {
		s.groups.Delete(id)
		return nil
	}
	g, err := parseGroup(id, value)
	if err != nil {
		return fmt.Errorf("group %q: %w", id, err)
	}
	if planted.Is(planted.ForgetGenerations) {
		g.generation = 0
	}
	s.groups.Set(id, g)
	return nil
}

// loadForeign remembers that a group of another kind has this key. The key of
// every kind begins with the group's id; one that does not is passed by.
func (s *State) loadForeign(key, value []byte) error {
	id, _, err := readString(key[2:])
	if err != nil {
		return nil // a kind that is not known yet is none of ours
	}
	k := foreignPrefix(id) + string(key)
	if value == nil {
		s.foreign.Delete(k)
	} else {
		s.foreign.Set(k, struct{}{})
	}
	return nil
}

// LoadEnd folds the end of a producer's transaction in: its offsets become
// committed, or are gone. An offset that was committed after them stays
// (OffsetMetadataManager.replayEndTransactionMarker).
func (s *State) LoadEnd(at kafka.Offset, producer kafka.ProducerID, commit bool) {
	p := producerKey(producer)
	for _, k := range withPrefix(&s.pending, p) {
		c, _ := s.pending.Delete(k)
		key := k[len(p):]
		s.open.Delete(key + p)
		if !commit {
			continue
		}
		if old, ok := s.offsets.Get(key); !ok || c.At > old.At {
			s.offsets.Set(key, c)
		}
	}
	s.Advance(at + 1)
}

// isPending reports whether an open transaction holds an offset of the key.
func (s *State) isPending(key string) bool {
	found := false
	s.open.Ascend(key, func(k string, _ struct{}) bool {
		found = strings.HasPrefix(k, key)
		return false
	})
	return found
}

// isForeign reports whether the group is of a kind that is not served here.
func (s *State) isForeign(id string) bool {
	prefix, found := foreignPrefix(id), false
	s.foreign.Ascend(prefix, func(k string, _ struct{}) bool {
		found = strings.HasPrefix(k, prefix)
		return false
	})
	return found
}

// eachOffset walks the committed offsets of a group by topic and partition.
func (s *State) eachOffset(group string, f func(key string, c *Committed) bool) {
	prefix := offsetPrefix(group)
	s.offsets.Ascend(prefix, func(k string, c *Committed) bool {
		return strings.HasPrefix(k, prefix) && f(k, c)
	})
}

// withPrefix collects the keys that begin with prefix.
func withPrefix[V any](m *btree.Map[string, V], prefix string) []string {
	var keys []string
	m.Ascend(prefix, func(k string, _ V) bool {
		if !strings.HasPrefix(k, prefix) {
			return false
		}
		keys = append(keys, k)
		return true
	})
	return keys
}

// producerKeySize is the length of a producerKey.
const producerKeySize = 8

func producerKey(p kafka.ProducerID) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(p)))
}

func foreignPrefix(id string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(id)))) + id
}

// readOffsetKey checks and reads an offset's key; bytes after it are refused,
// because the key is the identity.
func readOffsetKey(key string) (offsetRef, error) {
	group, rest, err := readString([]byte(key[2:]))
	if err != nil {
		return offsetRef{}, err
	}
	topic, rest, err := readString(rest)
	if err != nil {
		return offsetRef{}, err
	}
	if len(rest) != 4 {
		return offsetRef{}, fmt.Errorf("an offset key has %d bytes where its partition should be", len(rest))
	}
	return offsetRef{group, topic, kafka.PartitionID(binary.BigEndian.Uint32(rest))}, nil
}

// readString reads an i16 length and so many bytes.
func readString(b []byte) (string, []byte, error) {
	if len(b) < 2 {
		return "", nil, fmt.Errorf("a key ends where the length of a string should be")
	}
	n := int(int16(binary.BigEndian.Uint16(b)))
	if n < 0 || len(b)-2 < n {
		return "", nil, fmt.Errorf("a key of %d bytes holds a string of %d", len(b), n)
	}
	return string(b[2 : 2+n]), b[2+n:], nil
}

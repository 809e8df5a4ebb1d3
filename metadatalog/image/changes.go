package image

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"kvorum/internal/kafka"
)

// Changes is what happened between two images. Publishers see the log and
// snapshots through it alike: after records of the log it is made of what they
// touched (Delta.Changes), after the load of a snapshot of what is different
// (Diff).
//
// All iterations are ordered by key and may be repeated; they are safe for
// several readers.
type Changes struct {
	// Old and New are the images before and after.
	Old, New *Image

	all         bool // compare everything: what was touched is unknown
	brokers     map[kafka.BrokerID]struct{}
	controllers map[kafka.NodeID]struct{}
	topics      map[kafka.TopicID]struct{}
	configs     map[Resource]struct{}
	quotas      map[QuotaEntity]struct{}
	acls        map[kafka.UUID]struct{}
	scram       map[scramKey]struct{}
	tokens      map[string]struct{}
}

// Change is one value before and after: Old is nil for a new one, New for one
// that is gone.
type Change[V any] struct {
	Old, New *V
}

// Either is the new value, or the old one of what is gone: what a change is of.
func (c Change[V]) Either() *V {
	if c.New != nil {
		return c.New
	}
	return c.Old
}

// TopicChange is a topic before and after. A topic that was deleted and made
// again under its name is two changes, with different ids.
type TopicChange struct {
	Change[Topic]
}

// PartitionChange is a partition before and after.
type PartitionChange struct {
	ID kafka.PartitionID
	Change[Partition]
}

// FeatureChange is a feature's finalized level before and after, 0 for none.
type FeatureChange struct {
	Name     string
	Old, New int16
}

// Changes returns what the delta changed, between its base and next, the image
// that Apply returned.
func (d *Delta) Changes(next *Image) *Changes {
	return &Changes{
		Old:         d.base,
		New:         next,
		brokers:     d.brokers.touched,
		controllers: d.controllers.touched,
		topics:      d.topics.touched,
		configs:     d.configs.touched,
		quotas:      d.quotas.touched,
		acls:        d.acls.touched,
		scram:       d.scram.touched,
		tokens:      d.tokens.touched,
	}
}

// Extend makes c reach to the end of later, which must begin where c ends. It
// costs what later touched. Changes that were given to readers must not be
// extended.
func (c *Changes) Extend(later *Changes) {
	if c.New != later.Old {
		panic(fmt.Sprintf("image: changes up to offset %d are extended by those after offset %d", c.New.at.Offset, later.Old.at.Offset))
	}
	c.New = later.New
	c.all = c.all || later.all
	union(&c.brokers, later.brokers)
	union(&c.controllers, later.controllers)
	union(&c.topics, later.topics)
	union(&c.configs, later.configs)
	union(&c.quotas, later.quotas)
	union(&c.acls, later.acls)
	union(&c.scram, later.scram)
	union(&c.tokens, later.tokens)
}

func union[K comparable](into *map[K]struct{}, more map[K]struct{}) {
	if *into == nil {
		*into = maps.Clone(more)
		return
	}
	maps.Copy(*into, more)
}

// Diff returns the differences between two images that may have nothing to do
// with each other. Going through them takes time in the size of the images.
func Diff(old, next *Image) *Changes { return &Changes{Old: old, New: next, all: true} }

// Brokers are the registrations that were made, changed or removed.
func (c *Changes) Brokers() iter.Seq[Change[Broker]] {
	return changed(c, c.Old.brokers, c.New.brokers, c.brokers, sameBroker)
}

// Controllers are the controller registrations that were made or changed.
func (c *Changes) Controllers() iter.Seq[Change[Controller]] {
	return changed(c, c.Old.controllers, c.New.controllers, c.controllers, sameController)
}

// Topics are the topics that were made or deleted, or have changed partitions.
func (c *Changes) Topics() iter.Seq[TopicChange] {
	return func(yield func(TopicChange) bool) {
		for t := range changed(c, c.Old.topics, c.New.topics, c.topics, sameTopic) {
			if !yield(TopicChange{t}) {
				return
			}
		}
	}
}

// Configs are the resources whose configuration was written. After records of
// the log that includes one that was set to what it was: Apache's brokers
// reload key stores on that.
func (c *Changes) Configs() iter.Seq[Change[ResourceConfig]] {
	return changed(c, c.Old.configs, c.New.configs, c.configs, sameConfig)
}

// ClientQuotas are the entities whose quotas changed.
func (c *Changes) ClientQuotas() iter.Seq[Change[ClientQuota]] {
	return changed(c, c.Old.quotas, c.New.quotas, c.quotas, sameQuota)
}

// ACLs are the access control entries that were made or removed.
func (c *Changes) ACLs() iter.Seq[Change[ACL]] {
	return changed(c, c.Old.acls, c.New.acls, c.acls, sameValue[ACL])
}

// ScramCredentials are the credentials that were set or removed.
func (c *Changes) ScramCredentials() iter.Seq[Change[ScramCredential]] {
	return changed(c, c.Old.scram, c.New.scram, c.scram, sameScram)
}

// DelegationTokens are the tokens that were made, renewed or removed.
func (c *Changes) DelegationTokens() iter.Seq[Change[DelegationToken]] {
	return changed(c, c.Old.tokens, c.New.tokens, c.tokens, sameToken)
}

// Features are the features whose level changed, by name.
func (c *Changes) Features() iter.Seq[FeatureChange] {
	return func(yield func(FeatureChange) bool) {
		names := c.Old.Features()
		maps.Copy(names, c.New.features)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			f := FeatureChange{name, c.Old.features[name], c.New.features[name]}
			if f.Old != f.New && !yield(f) {
				return
			}
		}
	}
}

// ProducerIDs reports whether a block of producer ids was given out.
func (c *Changes) ProducerIDs() bool { return c.Old.producer.Next != c.New.producer.Next }

// ZkMigrationState reports whether the state of the ZooKeeper migration changed.
func (c *Changes) ZkMigrationState() bool { return c.Old.zkState != c.New.zkState }

// Empty reports whether nothing changed but the position.
func (c *Changes) Empty() bool {
	return none(c.Brokers()) && none(c.Controllers()) && none(c.Topics()) && none(c.Configs()) &&
		none(c.ClientQuotas()) && none(c.ACLs()) && none(c.ScramCredentials()) && none(c.DelegationTokens()) &&
		none(c.Features()) && !c.ProducerIDs() && !c.ZkMigrationState()
}

func none[T any](seq iter.Seq[T]) bool {
	for range seq {
		return false
	}
	return true
}

// Partitions are the partitions of the topic that were made, changed or
// deleted with it, by number. It takes time in what changed.
func (t TopicChange) Partitions() iter.Seq[PartitionChange] {
	return partitionChanges(t.Old, t.New)
}

// changed iterates over the changes of one table.
func changed[K comparable, V any](c *Changes, old, next table[K, V], touched map[K]struct{}, same func(a, b *V) bool) iter.Seq[Change[V]] {
	switch {
	case old.tree == next.tree:
		return func(func(Change[V]) bool) {}
	case c.all:
		return difference(old, next, same)
	}
	return func(yield func(Change[V]) bool) {
		for _, key := range sorted(next, touched) {
			if a, b := old.get(key), next.get(key); a != b && !yield(Change[V]{a, b}) {
				return
			}
		}
	}
}

// difference walks two tables side by side.
func difference[K, V any](old, next table[K, V], same func(a, b *V) bool) iter.Seq[Change[V]] {
	return func(yield func(Change[V]) bool) {
		a, b := old.tree.Iter(), next.tree.Iter()
		inA, inB := a.First(), b.First()
		for inA || inB {
			ch := Change[V]{}
			takeA := inA && (!inB || !next.tree.Less(b.Item(), a.Item()))
			takeB := inB && (!inA || !next.tree.Less(a.Item(), b.Item()))
			if takeA {
				ch.Old = a.Item().value
				inA = a.Next()
			}
			if takeB {
				ch.New = b.Item().value
				inB = b.Next()
			}
			if takeA && takeB && (ch.Old == ch.New || same(ch.Old, ch.New)) {
				continue
			}
			if !yield(ch) {
				return
			}
		}
	}
}

// partitionChanges walks the chunks of two topics, either of which may be nil,
// and skips those that they share.
func partitionChanges(old, next *Topic) iter.Seq[PartitionChange] {
	return func(yield func(PartitionChange) bool) {
		a, b := chunksOf(old), chunksOf(next)
		for len(a) > 0 || len(b) > 0 {
			var before, after *chunk
			if len(b) == 0 || len(a) > 0 && a[0].first <= b[0].first {
				before = a[0]
			}
			if len(a) == 0 || len(b) > 0 && b[0].first <= a[0].first {
				after = b[0]
			}
			if before != nil {
				a = a[1:]
			}
			if after != nil {
				b = b[1:]
			}
			if before != after && !chunkChanges(before, after, yield) {
				return
			}
		}
	}
}

func chunksOf(t *Topic) []*chunk {
	if t == nil {
		return nil
	}
	return t.chunks
}

// chunkChanges compares two chunks for the same numbers; one may be nil.
func chunkChanges(before, after *chunk, yield func(PartitionChange) bool) bool {
	var a, b []*Partition
	var first kafka.PartitionID
	if before != nil {
		a, first = before.partitions, before.first
	}
	if after != nil {
		b, first = after.partitions, after.first
	}
	for i := range max(len(a), len(b)) {
		ch := PartitionChange{ID: first + kafka.PartitionID(i)}
		if i < len(a) {
			ch.Old = a[i]
		}
		if i < len(b) {
			ch.New = b[i]
		}
		if ch.Old == ch.New || ch.Old != nil && ch.New != nil && samePartition(ch.Old, ch.New) {
			continue
		}
		if !yield(ch) {
			return false
		}
	}
	return true
}

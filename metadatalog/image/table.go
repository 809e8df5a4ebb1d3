package image

import (
	"iter"
	"maps"
	"slices"

	"github.com/tidwall/btree"
)

// tableDegree is the degree of the B-trees. A change copies the nodes on one
// path, so that small nodes make changes cheap: at 4 (at most 7 items a node) a
// path in a table of 100,000 entries is 2 KiB, half of what it is at the usual
// 32, and look-ups and memory are hardly worse.
const tableDegree = 4

// entry is what a table's tree holds. The key stands beside the pointer so that
// a search does not follow it and a look-up does not allocate.
type entry[K, V any] struct {
	key   K
	value *V
}

// table is an ordered map from keys to immutable values. A table of an Image is
// never written to; a Delta writes to its own copy (edit) and gives it away
// (freeze). Both are O(1); the nodes are shared until one is written.
type table[K, V any] struct {
	tree *btree.BTreeG[entry[K, V]]
}

func newTable[K, V any](compare func(a, b K) int) table[K, V] {
	less := func(a, b entry[K, V]) bool { return compare(a.key, b.key) < 0 }
	return table[K, V]{btree.NewBTreeGOptions(less, btree.Options{Degree: tableDegree, NoLocks: true})}
}

// get returns a value, nil if the key has none.
func (t table[K, V]) get(key K) *V {
	e, _ := t.tree.Get(entry[K, V]{key: key})
	return e.value
}

func (t table[K, V]) len() int { return t.tree.Len() }

// all iterates over the values by ascending key.
func (t table[K, V]) all() iter.Seq[*V] {
	return func(yield func(*V) bool) {
		t.tree.Scan(func(e entry[K, V]) bool { return yield(e.value) })
	}
}

// from iterates over the values by ascending key, beginning with the first that
// is not below key.
func (t table[K, V]) from(key K) iter.Seq[*V] {
	return func(yield func(*V) bool) {
		t.tree.Ascend(entry[K, V]{key: key}, func(e entry[K, V]) bool { return yield(e.value) })
	}
}

// edit returns a table that may be written to. It only reads t, so that any
// number of deltas may start from one image at the same time; btree's own Copy
// would write to the original. The new tree has the number by which btree tells
// its own nodes from shared ones in common with t, which is right because freeze
// left no node with that number.
func (t table[K, V]) edit() table[K, V] {
	tree := *t.tree
	return table[K, V]{&tree}
}

// freeze returns the table as a value for an Image: its tree owns no node, so
// that any edit of it copies what it writes to. t must not be used again.
func (t table[K, V]) freeze() table[K, V] { return table[K, V]{t.tree.Copy()} }

func (t table[K, V]) set(key K, value *V) { t.tree.Set(entry[K, V]{key, value}) }

func (t table[K, V]) delete(key K) { t.tree.Delete(entry[K, V]{key: key}) }

// part is one table of a Delta: the base's until the first change, then its own.
type part[K comparable, V any] struct {
	now     table[K, V]
	touched map[K]struct{} // nil until the first change
}

func (p *part[K, V]) touch(key K) {
	if p.touched == nil {
		p.touched = make(map[K]struct{}, 1)
		p.now = p.now.edit()
	}
	p.touched[key] = struct{}{}
}

func (p *part[K, V]) get(key K) *V { return p.now.get(key) }

func (p *part[K, V]) set(key K, value *V) {
	p.touch(key)
	p.now.set(key, value)
}

func (p *part[K, V]) delete(key K) {
	p.touch(key)
	p.now.delete(key)
}

// seal makes the table ready for an Image. An unchanged one is the base's.
func (p *part[K, V]) seal() table[K, V] {
	if p.touched != nil {
		p.now = p.now.freeze()
	}
	return p.now
}

// sorted returns keys in the table's order.
func sorted[K comparable, V any](t table[K, V], keys map[K]struct{}) []K {
	return slices.SortedFunc(maps.Keys(keys), func(a, b K) int {
		switch {
		case t.tree.Less(entry[K, V]{key: a}, entry[K, V]{key: b}):
			return -1
		case t.tree.Less(entry[K, V]{key: b}, entry[K, V]{key: a}):
			return 1
		}
		return 0
	})
}

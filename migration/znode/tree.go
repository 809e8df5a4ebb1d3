package znode

import "slices"

// Node is one znode as it was read.
type Node struct {
	Data []byte
	// Version is how often the data was set (the stat's dataVersion).
	Version int32
	// Ephemeral says that the node goes with its owner's session.
	Ephemeral bool
	// CreatedMs is when it was created, by ZooKeeper's clock, in milliseconds since 1970; 0
	// if that is not known.
	CreatedMs int64
}

// Tree is the nodes of a cluster by path, as migration/zk reads them. Not every
// node of a ZooKeeper is in it; what Decode looks at is (Wanted).
type Tree struct {
	nodes    map[string]Node
	children map[string][]string // node names, in the order of Add
}

// NewTree returns a tree without nodes.
func NewTree() *Tree {
	return &Tree{nodes: map[string]Node{}, children: map[string][]string{}}
}

// Add puts a node into the tree, or replaces it. It keeps the node's data.
func (t *Tree) Add(path string, n Node) {
	if _, ok := t.nodes[path]; !ok && path != "/" {
		t.children[Parent(path)] = append(t.children[Parent(path)], Base(path))
	}
	t.nodes[path] = n
}

// Remove takes a node without children out of the tree.
func (t *Tree) Remove(path string) {
	if _, ok := t.nodes[path]; !ok {
		return
	}
	delete(t.nodes, path)
	parent := Parent(path)
	t.children[parent] = slices.DeleteFunc(t.children[parent], func(name string) bool { return name == Base(path) })
}

// Get returns a node.
func (t *Tree) Get(path string) (Node, bool) {
	n, ok := t.nodes[path]
	return n, ok
}

// Children are the names of the nodes directly below path, in ascending order, so
// that equal trees are read alike.
func (t *Tree) Children(path string) []string { return slices.Sorted(slices.Values(t.children[path])) }

// Len is the number of nodes.
func (t *Tree) Len() int { return len(t.nodes) }

// Paths are the paths of all nodes, in ascending order.
func (t *Tree) Paths() []string { return sortedKeys(t.nodes) }

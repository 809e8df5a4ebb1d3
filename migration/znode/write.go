package znode

// Op is what a Write does.
type Op int8

// The operations.
const (
	Create Op = iota + 1
	Set
	Delete
	// CreateSequential creates a node whose name begins with Path and ends with a
	// number that ZooKeeper chooses: a notification.
	CreateSequential
)

// String names the operation in stories and messages.
func (o Op) String() string {
	return [...]string{Create: "create", Set: "set", Delete: "delete", CreateSequential: "create sequential"}[o]
}

// Write is one change of one node, made for a known state of it.
type Write struct {
	Op   Op
	Path string
	Data []byte // of Create and Set
	// Version is the version that the node must have for Set and Delete: a node that
	// was changed behind our back is noticed.
	Version int32
}

// Apply makes a write in the tree as ZooKeeper would, and reports whether it could.
// A sequential node is not kept: nothing is read from it.
func (t *Tree) Apply(w Write) bool {
	n, exists := t.nodes[w.Path]
	switch w.Op {
	case Create:
		if _, ok := t.nodes[Parent(w.Path)]; exists || !ok && Parent(w.Path) != "/" {
			return false
		}
		t.Add(w.Path, Node{Data: w.Data})
	case Set:
		if !exists || n.Version != w.Version {
			return false
		}
		n.Data = w.Data
		n.Version++
		t.Add(w.Path, n)
	case Delete:
		if !exists || n.Version != w.Version || len(t.children[w.Path]) > 0 {
			return false
		}
		t.Remove(w.Path)
	}
	return true
}

package admin

import (
	"fmt"
	"io"
	"iter"
	"strings"
	"unicode"

	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

// Node is one name in the tree of an image: a directory, or a leaf with a value.
// Children are made when they are asked for, so that a tree of a million
// partitions takes no memory of its own.
type Node struct {
	Name     string
	Value    string // of a leaf: JSON or plain text on one line
	children iter.Seq[Node]
}

// Directory reports whether the node may have children.
func (n Node) Directory() bool { return n.children != nil }

// Children iterates over what is below a directory, in a fixed order.
func (n Node) Children() iter.Seq[Node] {
	if n.children == nil {
		return func(func(Node) bool) {}
	}
	return n.children
}

// Find returns the node at a path such as /topics/orders/0. A topic's name has no
// slash in it, other names have theirs written as %2F.
func (n Node) Find(path string) (Node, error) {
	at, walked := n, ""
	for _, name := range strings.Split(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue
		}
		next, ok := at.child(name)
		if !ok {
			return Node{}, fmt.Errorf("%s has no %s: `kvorum metadata tree` lists what there is", orRoot(walked), name)
		}
		at, walked = next, walked+"/"+name
	}
	return at, nil
}

func (n Node) child(name string) (Node, bool) {
	for c := range n.Children() {
		if c.Name == name {
			return c, true
		}
	}
	return Node{}, false
}

func orRoot(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// WriteTree writes the names at and below n with their values, indented, to the
// depth given; 0 is no limit.
func (n Node) WriteTree(w io.Writer, depth int) error { return n.writeTree(w, "", depth) }

func (n Node) writeTree(w io.Writer, indent string, depth int) error {
	text := n.Name
	switch {
	case n.Directory() && n.Name != "/":
		text += "/"
	case !n.Directory():
		text += " = " + n.Value
	}
	if _, err := fmt.Fprintln(w, indent+text); err != nil {
		return err
	}
	if depth == 1 {
		return nil
	}
	for c := range n.Children() {
		if err := c.writeTree(w, indent+"  ", depth-1); err != nil {
			return err
		}
	}
	return nil
}

// Leaves calls f for every leaf at or below n, with its path below the path of n.
func (n Node) Leaves(path string, f func(path, value string) error) error {
	if !n.Directory() {
		return f(path, n.Value)
	}
	for c := range n.Children() {
		if err := c.Leaves(strings.TrimSuffix(path, "/")+"/"+c.Name, f); err != nil {
			return err
		}
	}
	return nil
}

func leaf(name string, value any) Node {
	text, ok := value.(string)
	if !ok || strings.ContainsFunc(text, unicode.IsControl) {
		text = plainJSON(value) // on one line
	}
	return Node{Name: escaped(name), Value: text}
}

func directory(name string, children iter.Seq[Node]) Node {
	return Node{Name: escaped(name), children: children}
}

func escaped(name string) string { return strings.ReplaceAll(name, "/", "%2F") }

func nodes(list ...Node) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for _, n := range list {
			if !yield(n) {
				return
			}
		}
	}
}

// each makes one node of each value of a sequence.
func each[T any](values iter.Seq[T], node func(T) Node) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for v := range values {
			if !yield(node(v)) {
				return
			}
		}
	}
}

// Tree is the state as a tree, in the manner of Apache's metadata-shell.
func (s *State) Tree() Node {
	im := s.Image
	return Node{Name: "/", children: nodes(
		directory("brokers", each(im.Brokers(), func(b *image.Broker) Node { return leaf(fmt.Sprint(b.ID), brokerJSON(b)) })),
		directory("controllers", each(im.Controllers(), func(c *image.Controller) Node { return leaf(fmt.Sprint(c.ID), controllerJSON(c)) })),
		directory("quorum", nodes(s.quorum()...)),
		directory("features", features(im)),
		directory("topics", each(im.TopicsByName(""), topicNode)),
		directory("configs", configTypes(im)),
		directory("quotas", each(im.ClientQuotas(), quotaNode)),
		directory("acls", each(im.ACLs(), func(a *image.ACL) Node { return leaf(a.ID.String(), aclJSON(a)) })),
		directory("scram", each(im.ScramCredentials(), scramNode)),
		directory("delegation-tokens", each(im.DelegationTokens(), tokenNode)),
		directory("producer-ids", nodes(producerIDs(im)...)),
		directory("position", nodes(position(im)...)),
	)}
}

func (s *State) quorum() []Node {
	out := []Node{leaf("kraft.version", s.KRaftVersion)}
	if s.Voters == nil {
		return out
	}
	voters := s.Voters.Voters
	return append(out, directory("voters", func(yield func(Node) bool) {
		for _, v := range voters {
			if !yield(leaf(fmt.Sprint(v.VoterID), voterJSON(v))) {
				return
			}
		}
	}))
}

func voterJSON(v record.QuorumVoter) any {
	type endpoint struct {
		Name string `json:"name"`
		Host string `json:"host"`
		Port uint16 `json:"port"`
	}
	endpoints := []endpoint{}
	for _, e := range v.Endpoints {
		endpoints = append(endpoints, endpoint{e.Name, e.Host, e.Port})
	}
	return struct {
		Directory string     `json:"directoryId"`
		Endpoints []endpoint `json:"endpoints"`
	}{v.VoterDirectoryID.String(), endpoints}
}

func position(im *image.Image) []Node {
	at := im.At()
	return []Node{leaf("offset", at.Offset), leaf("epoch", at.Epoch), leaf("timestamp", at.TimestampMs)}
}

func producerIDs(im *image.Image) []Node {
	p := im.ProducerIDs()
	return []Node{leaf("nextProducerId", p.Next), leaf("lastBlockBrokerId", p.BrokerID), leaf("lastBlockBrokerEpoch", p.BrokerEpoch)}
}

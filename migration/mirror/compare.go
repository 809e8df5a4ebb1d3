package mirror

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/migration/convert"
	"kvorum/migration/znode"
)

// Kind says how a node differs.
type Kind string

// The kinds of differences.
const (
	Missing   Kind = "missing"   // ZooKeeper does not have it
	Extra     Kind = "extra"     // ZooKeeper alone has it
	Different Kind = "different" // they say different things
	// Behind is a partition's state whose version is below the partition epoch: after a
	// rollback brokers would refuse it as old.
	Behind Kind = "behind"
)

// Difference is one node in which ZooKeeper and the metadata log do not agree. The
// texts have no secrets.
type Difference struct {
	Path      string `json:"path"`
	Kind      Kind   `json:"kind"`
	ZooKeeper string `json:"zookeeper,omitempty"`
	Image     string `json:"image,omitempty"`
}

// Comparison is ZooKeeper beside the image of one offset.
type Comparison struct {
	Offset kafka.Offset      `json:"offset"` // the last one that the image contains
	Epoch  kafka.LeaderEpoch `json:"epoch"`
	// Items is the number of nodes that were compared.
	Items int `json:"items"`
	// ZooKeeperHash and ImageHash are SHA-256 of what each side says, path by path: equal
	// exactly if no item is missing, extra or different.
	ZooKeeperHash string       `json:"zookeeper_sha256"`
	ImageHash     string       `json:"image_sha256"`
	Differences   []Difference `json:"differences"` // by path
	// OnlyInLog is what the image holds and ZooKeeper has no place for.
	OnlyInLog []string `json:"only_in_log"`
}

// Equal reports whether nothing differs.
func (c *Comparison) Equal() bool { return len(c.Differences) == 0 }

// Compare compares what ZooKeeper holds with an image, item by item. secret is the
// brokers' password.encoder.secret. A node that cannot be read differs.
func Compare(tree *znode.Tree, im *image.Image, secret string) Comparison {
	wanted := convert.All(im, convert.WriteOptions{Secret: secret, Random: random})
	c := comparer{tree: tree, secret: secret, ours: map[string]string{}, theirs: map[string]string{}, found: map[string]Difference{}}
	for _, n := range wanted.Nodes {
		if !n.Gone {
			c.node(n)
		}
	}
	for _, n := range convert.Extra(tree, im, wanted.Nodes) {
		c.extra(n.Path)
	}
	out := Comparison{Offset: im.At().Offset, Epoch: im.At().Epoch, Items: len(c.ours), ZooKeeperHash: hash(c.theirs), ImageHash: hash(c.ours), Differences: []Difference{}, OnlyInLog: []string{}}
	for path := range c.theirs {
		if _, both := c.ours[path]; !both {
			out.Items++
		}
	}
	for _, path := range slices.Sorted(maps.Keys(c.found)) {
		out.Differences = append(out.Differences, c.found[path])
	}
	for _, p := range wanted.Problems {
		out.OnlyInLog = append(out.OnlyInLog, p.Error())
	}
	return out
}

// comparer collects what both sides say.
type comparer struct {
	tree         *znode.Tree
	secret       string
	ours, theirs map[string]string // path to meaning
	found        map[string]Difference
}

// node compares a node that the image asks for.
func (c *comparer) node(n convert.Node) {
	ours, shown := c.meaning(n.Path, n.Data)
	have, exists := c.tree.Get(n.Path)
	theirs, theirsShown := c.meaning(n.Path, have.Data)
	if ours != "" {
		c.ours[n.Path] = ours
	}
	if theirs != "" {
		c.theirs[n.Path] = theirs
	}
	d := Difference{Path: n.Path, Image: shown, ZooKeeper: theirsShown}
	switch {
	case ours == theirs && have.Version >= n.Version:
		return
	case ours == theirs && exists:
		d.Kind = Behind
		d.ZooKeeper, d.Image = fmt.Sprint("version ", have.Version), fmt.Sprint("partition epoch ", n.Version)
	case theirs == "":
		d.Kind = Missing
	case ours == "":
		d.Kind = Extra
	default:
		if d.Kind = Different; d.Image == d.ZooKeeper {
			d.ZooKeeper += ", with another secret"
		}
	}
	c.found[n.Path] = d
}

// extra notes a node that the image does not ask for, if it says anything.
func (c *comparer) extra(path string) {
	n, _ := c.tree.Get(path)
	if theirs, shown := c.meaning(path, n.Data); theirs != "" {
		c.theirs[path] = theirs
		c.found[path] = Difference{Path: path, Kind: Extra, ZooKeeper: shown}
	}
}

// meaning is what data says, and the same to be shown.
func (c *comparer) meaning(path string, data []byte) (text, shown string) {
	text, err := convert.Meaning(path, data, c.secret, false)
	if err != nil {
		text = "cannot be read: " + err.Error()
		return text, text
	}
	shown, _ = convert.Meaning(path, data, c.secret, true) // as before: no error
	return text, shown
}

// hash is a digest of what a side says.
func hash(items map[string]string) string {
	h := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(items)) {
		io.WriteString(h, path+"\x00"+items[path]+"\x00")
	}
	return hex.EncodeToString(h.Sum(nil))
}

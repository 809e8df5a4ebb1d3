package convert

import (
	"strings"

	"kvorum/metadatalog/image"
	"kvorum/migration/znode"
)

// Writes are the changes that turn the nodes that there are into those that are
// wanted, in an order in which ZooKeeper takes them: parents are made before their
// children. What already means the same is not written. tree is not changed. Of
// nodes with one path the first counts; All and Changed make them alike.
func Writes(tree *znode.Tree, nodes []Node) []znode.Write {
	d := &differ{tree: tree, made: map[string]bool{}}
	seen := map[string]bool{}
	for _, n := range nodes {
		if !seen[n.Path] {
			seen[n.Path] = true
			d.node(n)
		}
	}
	return d.out
}

// differ collects writes.
type differ struct {
	tree *znode.Tree
	made map[string]bool // the paths that out creates
	out  []znode.Write
}

func (d *differ) node(n Node) {
	have, exists := d.tree.Get(n.Path)
	switch {
	case n.Gone && exists:
		d.out = append(d.out, znode.Write{Op: znode.Delete, Path: n.Path, Version: have.Version})
	case n.Gone:
	case !exists && !n.always && n.same != nil && n.same(nil) && n.Version == 0:
		// An entity without values that has no node needs none.
	case !exists:
		d.create(n.Path, n.Data)
		d.reach(n, 0)
	case n.same == nil:
	case !n.same(have.Data):
		d.out = append(d.out, znode.Write{Op: znode.Set, Path: n.Path, Data: n.Data, Version: have.Version})
		d.reach(n, have.Version+1)
	default:
		d.reach(n, have.Version)
	}
}

// create makes a node, and first every parent that is missing.
func (d *differ) create(path string, data []byte) {
	if parent := znode.Parent(path); parent != "/" && !d.made[parent] {
		if _, ok := d.tree.Get(parent); !ok {
			d.create(parent, nil)
		}
	}
	d.made[path] = true
	d.out = append(d.out, znode.Write{Op: znode.Create, Path: path, Data: data})
}

// reach sets a node again until its version is what it must be at least: the
// version counts the writes, and a partition's epoch may have moved by more than
// one since the last of them.
func (d *differ) reach(n Node, version int32) {
	for ; version < n.Version; version++ {
		d.out = append(d.out, znode.Write{Op: znode.Set, Path: n.Path, Data: n.Data, Version: version})
	}
}

// Extra are the nodes of a tree that an image does not know: topics and their
// configurations, quotas and users, broker configs, ACLs, tokens, and the topic
// deletions that the copy has already carried out. Only a controller whose image
// is the truth may remove them.
func Extra(tree *znode.Tree, im *image.Image, wanted []Node) []Node {
	known := map[string]bool{}
	for _, n := range wanted {
		known[n.Path] = !n.Gone
	}
	e := &extra{tree: tree, known: known}
	for _, name := range tree.Children(znode.TopicsPath) {
		if im.TopicByName(name) == nil {
			e.topic(name)
			continue
		}
		for _, id := range tree.Children(znode.PartitionsPath(name)) {
			if path := znode.PartitionsPath(name) + "/" + id; !known[path] {
				e.below(path)
				e.gone(path)
			}
		}
	}
	for _, root := range []string{znode.TopicConfigsPath, znode.TokensPath, znode.DeleteTopicsPath} {
		e.below(root)
	}
	for _, name := range tree.Children(znode.BrokerConfigsPath) {
		// One without values says nothing, and ZooKeeper mode leaves such nodes.
		path := znode.BrokerConfigsPath + "/" + name
		if n, _ := tree.Get(path); !emptyConfig(n.Data) {
			e.gone(path)
		}
	}
	for _, root := range []string{znode.UserConfigsPath, znode.ClientConfigsPath, znode.IPConfigsPath} {
		e.empty(root)
	}
	for _, name := range tree.Children(znode.UserConfigsPath) {
		e.empty(znode.UserClientsPath(name))
	}
	for _, root := range []string{znode.LiteralACLsPath, znode.PrefixedACLsPath} {
		for _, kind := range tree.Children(root) {
			e.below(root + "/" + kind)
		}
	}
	return e.out
}

// extra collects what is too much.
type extra struct {
	tree  *znode.Tree
	known map[string]bool
	out   []Node
}

func (e *extra) gone(path string) {
	if !e.known[path] {
		e.known[path] = true // once
		e.out = append(e.out, Node{Path: path, Gone: true})
	}
}

func (e *extra) below(root string) {
	for _, name := range e.tree.Children(root) {
		e.gone(root + "/" + name)
	}
}

// empty asks for entities without values: they may have children, so the node
// stays.
func (e *extra) empty(root string) {
	for _, name := range e.tree.Children(root) {
		if path := root + "/" + name; !e.known[path] {
			e.out = append(e.out, Node{Path: path, Data: znode.EncodeConfig(nil), same: sameConfig(nil)})
		}
	}
}

// topic is a whole topic, children first.
func (e *extra) topic(name string) {
	for _, id := range e.tree.Children(znode.PartitionsPath(name)) {
		path := znode.PartitionsPath(name) + "/" + id
		e.below(path)
		e.gone(path)
	}
	if _, ok := e.tree.Get(znode.PartitionsPath(name)); ok {
		e.gone(znode.PartitionsPath(name))
	}
	e.gone(znode.TopicConfigPath(name))
	e.gone(znode.TopicPath(name))
}

// WithNotices puts behind each write the notification by which brokers in ZooKeeper
// mode learn of it, so that both can be in one transaction: after a crash in between,
// nobody would tell them. Topics and partitions have none: brokers are told of them
// by requests. Unlike Apache's controllers, ours also tell of tokens. heard reports
// whether a parent of notifications is there.
func WithNotices(writes []znode.Write, heard func(path string) bool) []znode.Write {
	out := make([]znode.Write, 0, len(writes))
	for _, w := range writes {
		out = append(out, w)
		if n, ok := notice(w); ok && heard(znode.Parent(n.Path)) {
			out = append(out, n)
		}
	}
	return out
}

// notice is the notification of one write.
func notice(w znode.Write) (znode.Write, bool) {
	entity, config := strings.CutPrefix(w.Path, "/config/")
	switch {
	case w.Data == nil && w.Op == znode.Create:
		return znode.Write{}, false // a parent
	case config && w.Op == znode.Delete && strings.HasPrefix(entity, "topics/"):
		return znode.Write{}, false // the topic goes with it
	case config && w.Op == znode.Create && strings.HasPrefix(entity, "topics/") && emptyConfig(w.Data):
		return znode.Write{}, false // a new topic without configuration
	case config:
		return znode.Write{Op: znode.CreateSequential, Path: znode.ConfigChangePrefix, Data: znode.EncodeConfigChange(entity)}, true
	case strings.HasPrefix(w.Path, znode.TokensPath+"/"):
		return znode.Write{Op: znode.CreateSequential, Path: znode.TokenChangePrefix, Data: []byte(znode.Base(w.Path))}, true
	}
	return aclNotice(w.Path)
}

func emptyConfig(data []byte) bool { return sameConfig(nil)(data) }

// aclNotice is the notification of written rules.
func aclNotice(path string) (znode.Write, bool) {
	a := znode.ACLs{Pattern: znode.PatternPrefixed}
	rest, ok := strings.CutPrefix(path, znode.PrefixedACLsPath+"/")
	if !ok {
		a.Pattern = znode.PatternLiteral
		rest, ok = strings.CutPrefix(path, znode.LiteralACLsPath+"/")
	}
	kind, name, split := strings.Cut(rest, "/")
	t, err := znode.ParseResourceType(kind)
	if !ok || !split || err != nil {
		return znode.Write{}, false
	}
	a.Type, a.Name = t, name
	prefix, data := a.Change()
	return znode.Write{Op: znode.CreateSequential, Path: prefix, Data: data}, true
}

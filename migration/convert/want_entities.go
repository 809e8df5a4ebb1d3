package convert

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"kvorum/metadatalog/image"
	"kvorum/migration/znode"
)

// entity is the node of a user, a client, a client of a user or an address, with
// its quotas and, for a user, its SCRAM credentials. An entity without any keeps an
// empty node, because it may be the parent of others; Kafka leaves it there too.
func (w *wanter) entity(e image.QuotaEntity) {
	path := entityPath(e)
	if w.done[path] {
		return
	}
	if w.done == nil {
		w.done = map[string]bool{}
	}
	w.done[path] = true
	values := map[string]string{}
	if q := w.im.ClientQuota(e); q != nil {
		for key, value := range q.Values() {
			values[key] = quotaText(key, value)
		}
	}
	if e.User.Set && !e.User.Default && !e.ClientID.Set {
		for mechanism, name := range scramNames {
			if c := w.im.ScramCredential(e.User.Name, mechanism); c != nil {
				values[name] = znode.Scram{Salt: c.Salt, StoredKey: c.StoredKey, ServerKey: c.ServerKey, Iterations: c.Iterations}.Encode()
			}
		}
	}
	w.want(Node{Path: path, Data: znode.EncodeConfig(values), same: func(data []byte) bool {
		have, err := znode.DecodeConfig(data)
		if err != nil || len(have) != len(values) {
			return false
		}
		for key, text := range have {
			if want, ok := values[key]; !ok || !sameQuota(want, text) {
				return false
			}
		}
		return true
	}})
}

// sameQuota compares two texts, as numbers if both are: 10 is 10.0.
func sameQuota(a, b string) bool {
	if a == b {
		return true
	}
	x, err1 := parseQuota(a)
	y, err2 := parseQuota(b)
	return err1 == nil && err2 == nil && x == y
}

// entityPath is the node of an entity.
func entityPath(e image.QuotaEntity) string {
	name := func(n image.QuotaName) string {
		if n.Default {
			return znode.DefaultEntity
		}
		return znode.Sanitize(n.Name)
	}
	switch {
	case e.IP.Set:
		return znode.IPConfigsPath + "/" + name(e.IP)
	case e.User.Set && e.ClientID.Set:
		return znode.UserClientsPath(name(e.User)) + "/" + name(e.ClientID)
	case e.User.Set:
		return znode.UserConfigsPath + "/" + name(e.User)
	}
	return znode.ClientConfigsPath + "/" + name(e.ClientID)
}

// fractional are the quotas that Kafka keeps as doubles; the others are whole
// numbers (QuotaConfig).
var fractional = map[string]bool{"request_percentage": true, "controller_mutation_rate": true}

// quotaText writes a quota as Kafka does: whole numbers as such, doubles as
// java.lang.Double.toString, which always has a fraction.
func quotaText(key string, v float64) string {
	if !fractional[key] && v == math.Trunc(v) && math.Abs(v) < 1<<63 {
		return strconv.FormatInt(int64(v), 10)
	}
	if abs := math.Abs(v); v != 0 && (abs < 1e-3 || abs >= 1e7) {
		text := strconv.FormatFloat(v, 'E', -1, 64)
		mantissa, exponent, _ := strings.Cut(text, "E")
		if !strings.Contains(mantissa, ".") {
			mantissa += ".0"
		}
		n, err := strconv.Atoi(exponent)
		if err != nil {
			panic("convert: " + text) // FormatFloat writes a number there
		}
		return mantissa + "E" + strconv.Itoa(n)
	}
	text := strconv.FormatFloat(v, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// resource is what ACLs are about: one node has all rules of one.
type resource struct {
	pattern znode.PatternType
	kind    znode.ResourceType
	name    string
}

func resourceOf(a *image.ACL) resource {
	return resource{znode.PatternType(a.PatternType), znode.ResourceType(a.ResourceType), a.ResourceName}
}

// acls are the nodes of resources. The rules are looked for in one pass.
func (w *wanter) acls(resources map[resource]bool) {
	if len(resources) == 0 {
		return
	}
	rules := map[resource][]znode.ACLEntry{}
	for a := range w.im.ACLs() {
		if r := resourceOf(a); resources[r] {
			rules[r] = append(rules[r], znode.ACLEntry{Principal: a.Principal, Host: a.Host, Operation: a.Operation, Permission: a.PermissionType})
		}
	}
	order := make([]resource, 0, len(resources))
	for r := range resources {
		order = append(order, r)
	}
	slices.SortFunc(order, func(a, b resource) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.pattern, b.pattern), cmp.Compare(a.name, b.name))
	})
	for _, r := range order {
		w.rules(r, rules[r])
	}
}

// rules is the node of one resource.
func (w *wanter) rules(r resource, entries []znode.ACLEntry) {
	sortEntries(entries)
	node := znode.ACLs{Pattern: r.pattern, Type: r.kind, Name: r.name, Entries: slices.Compact(entries)}
	if len(entries) == 0 {
		w.gone(node.Path())
		return
	}
	w.want(Node{Path: node.Path(), Data: node.Encode(), same: func(data []byte) bool {
		have, err := znode.DecodeACLs(data)
		return err == nil && len(have) == len(node.Entries) && !slices.ContainsFunc(have, func(e znode.ACLEntry) bool { return !slices.Contains(node.Entries, e) })
	}})
}

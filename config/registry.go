package config

import (
	"slices"
	"strings"
)

// nodeTables are the keys of server.properties, by subject.
var nodeTables = [][]Key{
	identityKeys, kvorumKeys, networkKeys, metadataKeys, logKeys, securityKeys,
	replicaKeys, coordinatorKeys, quotaKeys, remoteKeys, zookeeperKeys,
}

// The indexes by name. They are built once and only read afterwards.
var (
	nodeIndex          = index(nodeTables...)
	topicIndex         = index(topicKeys)
	groupIndex         = index(groupKeys)
	clientMetricsIndex = index(clientMetricsKeys)
)

func index(tables ...[]Key) map[string]*Key {
	m := make(map[string]*Key)
	for _, table := range tables {
		for i := range table {
			k := &table[i]
			if m[k.Name] != nil {
				panic("config: two rows for " + k.Name)
			}
			m[k.Name] = k
		}
	}
	return m
}

// Lookup finds the key called name among those of one scope. For ScopeCluster
// and ScopeBroker a listener.name.<listener>. prefix is looked through.
func Lookup(scope Scope, name string) (*Key, bool) {
	var k *Key
	switch scope {
	case ScopeTopic:
		k = topicIndex[name]
	case ScopeGroup:
		k = groupIndex[name]
	case ScopeClientMetrics:
		k = clientMetricsIndex[name]
	case ScopeNode:
		k = nodeIndex[name]
	default:
		k = nodeIndex[baseName(name)]
	}
	return k, k != nil && k.Scopes&scope != 0
}

// Keys lists the keys of a scope: those of topics, groups and client metrics
// in Apache's order, the others by subject. The slice is the caller's, the
// keys are not to be changed.
func Keys(scope Scope) []*Key {
	tables := nodeTables
	switch scope {
	case ScopeTopic:
		tables = [][]Key{topicKeys}
	case ScopeGroup:
		tables = [][]Key{groupKeys}
	case ScopeClientMetrics:
		tables = [][]Key{clientMetricsKeys}
	}
	var keys []*Key
	for _, table := range tables {
		for i := range table {
			if table[i].Scopes&scope != 0 {
				keys = append(keys, &table[i])
			}
		}
	}
	return keys
}

// IsList reports whether APPEND and SUBTRACT make sense for a key. A name that
// is not known is not a list.
func IsList(scope Scope, name string) bool {
	k, ok := Lookup(scope, name)
	if !ok && scope&(ScopeCluster|ScopeBroker) != 0 { // Apache asks AbstractKafkaConfig for any broker key
		k = nodeIndex[baseName(name)]
	}
	return k != nil && k.Type == List
}

const listenerPrefix = "listener.name."

// baseName takes listener.name.<listener>. off a name; a listener's name has
// no dot (DynamicBrokerConfig.LISTENER_CONFIG_REGEX).
func baseName(name string) string {
	rest, ok := strings.CutPrefix(name, listenerPrefix)
	if !ok {
		return name
	}
	if _, base, ok := strings.Cut(rest, "."); ok {
		return base
	}
	return name
}

// nearest finds the known name that takes the fewest edits to reach; ok is
// false when all are too far off to be what was meant.
func nearest(name string, names []string) (best string, ok bool) {
	const longest = 256 // a longer name is no slip of the finger
	if len(name) > longest {
		return "", false
	}
	distance := 2 + len(name)/4
	for _, candidate := range names {
		if d := editDistance(name, candidate, distance); d < distance {
			best, distance, ok = candidate, d, true
		}
	}
	return best, ok
}

// editDistance is Levenshtein's, or at least limit once it cannot be less.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
		if slices.Min(row) >= limit {
			return limit
		}
	}
	return row[len(b)]
}

package config

import (
	"maps"
	"slices"
)

// Source says where a value comes from; the numbers are those of
// DescribeConfigs (DescribeConfigsResponse.ConfigSource).
type Source int8

// The sources.
const (
	FromTopic         Source = 1
	FromBroker        Source = 2
	FromCluster       Source = 3
	FromStatic        Source = 4
	FromDefault       Source = 5
	FromClientMetrics Source = 7
	FromGroup         Source = 8
)

// Layers are the node keys below a topic's or group's own: the dynamic configs
// of this node, those of all brokers, and server.properties. Nil maps are
// empty. Layers only read the maps.
type Layers struct {
	Broker, Cluster, Static map[string]string
}

// Synonym is one place where a value was looked for and found. Value is nil
// where it may not be shown.
type Synonym struct {
	Name   string
	Value  *string
	Source Source
}

// Entry is one row of DescribeConfigs.
type Entry struct {
	Name      string
	Value     *string // nil: no value, or sensitive
	Source    Source
	Sensitive bool
	ReadOnly  bool
	Type      Type
	Synonyms  []Synonym // in the order of precedence, the one in effect first
	Doc       string
}

// text is the value of a node key that is set, by precedence.
func (l Layers) text(name string) (string, Source, bool) {
	for _, layer := range []struct {
		values map[string]string
		source Source
	}{{l.Broker, FromBroker}, {l.Cluster, FromCluster}, {l.Static, FromStatic}} {
		if v, ok := layer.values[name]; ok {
			return v, layer.source, true
		}
	}
	return "", FromDefault, false
}

// fallback is the value of a topic or group key that is not set itself.
func (l Layers) fallback(k *Key) (string, Source) {
	for _, f := range k.Fallback {
		text, source, ok := l.text(f.Name)
		if !ok {
			continue
		}
		v, err := nodeIndex[f.Name].Parse(text)
		if err != nil {
			continue // refused where it was set; the next one holds
		}
		if f.Unit == 0 {
			return v.String(), source
		}
		v.Int *= f.Unit // Int keys: no overflow of 64 bits
		if v.Int < 0 {
			v.Int = -1 // unlimited in any unit
		}
		return v.String(), source
	}
	return k.Default.Text, FromDefault
}

// value is a node key's parsed value, its default where it is not set or
// cannot be read.
func (l Layers) value(k *Key) Value {
	if text, _, ok := l.text(k.Name); ok {
		if v, err := k.Parse(text); err == nil {
			return v
		}
	}
	v, err := parseValue(k.Name, k.Type, k.Default.Text)
	if err != nil {
		panic("config: default of " + k.Name + ": " + err.Error())
	}
	return v
}

// Number returns the effective value of a broker key that is a number. A name that
// is not a node key is a programming error and panics.
func (l Layers) Number(name string) int64 { return l.value(nodeIndex[name]).Int }

func (l Layers) number(k *Key) int64   { return l.value(k).Int }
func (l Layers) flag(name string) bool { return l.value(nodeIndex[name]).Bool }

// Topic returns the effective value of a topic key, given the topic's own
// configs, and where it comes from. A name that is not a topic key is a
// programming error and panics.
func (l Layers) Topic(configs map[string]string, name string) (Value, Source) {
	return l.resolve(topicIndex, FromTopic, configs, name)
}

// Group is Topic for the keys of a group.
func (l Layers) Group(configs map[string]string, name string) (Value, Source) {
	return l.resolve(groupIndex, FromGroup, configs, name)
}

func (l Layers) resolve(keys map[string]*Key, own Source, configs map[string]string, name string) (Value, Source) {
	k := keys[name]
	if k == nil {
		panic("config: no key " + name)
	}
	if text, ok := configs[name]; ok {
		if v, err := k.Parse(text); err == nil {
			return v, own
		}
	}
	text, source := l.fallback(k)
	v, err := parseValue(name, k.Type, text)
	if err != nil {
		panic("config: fallback of " + name + ": " + err.Error())
	}
	return v, source
}

// DescribeTopic lists every key of a topic with these configs.
func (l Layers) DescribeTopic(configs map[string]string) []Entry {
	return l.describe(topicKeys, FromTopic, configs)
}

// DescribeGroup lists every key of a group with these configs.
func (l Layers) DescribeGroup(configs map[string]string) []Entry {
	return l.describe(groupKeys, FromGroup, configs)
}

// DescribeClientMetrics lists every key of a subscription with these configs.
func DescribeClientMetrics(configs map[string]string) []Entry {
	return Layers{}.describe(clientMetricsKeys, FromClientMetrics, configs)
}

// describe is ConfigHelper.createTopicConfigEntry and its like.
func (l Layers) describe(keys []Key, own Source, configs map[string]string) []Entry {
	entries := make([]Entry, 0, len(keys))
	for i := range keys {
		k := &keys[i]
		if k.Internal {
			continue
		}
		e := Entry{Name: k.Name, Type: k.Type, Sensitive: k.Sensitive(), Doc: k.Doc}
		text, set := configs[k.Name]
		if set {
			e.Synonyms = append(e.Synonyms, Synonym{k.Name, shown(text, e.Sensitive), own})
		} else {
			text, _ = l.fallback(k)
		}
		if len(k.Fallback) > 0 {
			e.Synonyms = append(e.Synonyms, l.synonyms(k.Fallback[0].Name, e.Sensitive)...)
		} else if own == FromGroup {
			e.Synonyms = append(e.Synonyms, Synonym{k.Name, shown(k.Default.Text, e.Sensitive), FromDefault})
		}
		e.Value, e.Source = shown(text, e.Sensitive), FromDefault
		if len(e.Synonyms) > 0 {
			e.Source = e.Synonyms[0].Source
		}
		entries = append(entries, e)
	}
	return entries
}

// DescribeBroker lists every key of the node whose layers these are: all that
// the registry knows and all that is set.
func (l Layers) DescribeBroker() []Entry {
	var entries []Entry
	for _, k := range Keys(ScopeNode) {
		if !k.Internal {
			entries = append(entries, l.brokerEntry(k.Name))
		}
	}
	for _, name := range l.names() {
		if k := nodeIndex[name]; k == nil || k.Scopes&ScopeNode == 0 {
			entries = append(entries, l.brokerEntry(name))
		}
	}
	return entries
}

// DescribeCluster lists the configs that are set for all brokers.
func DescribeCluster(configs map[string]string) []Entry {
	l := Layers{Cluster: configs}
	entries := make([]Entry, 0, len(configs))
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		e := l.brokerEntry(name)
		e.Synonyms = slices.DeleteFunc(e.Synonyms, func(s Synonym) bool { return s.Source != FromCluster })
		entries = append(entries, e)
	}
	return entries
}

// brokerEntry is ConfigHelper.createBrokerConfigEntry. The value of a key that
// nobody knows may be a secret and is not shown.
func (l Layers) brokerEntry(name string) Entry {
	k := nodeIndex[baseName(name)]
	e := Entry{Name: name, Source: FromDefault, Sensitive: true, ReadOnly: true}
	if k != nil {
		e.Type, e.Sensitive, e.Doc = k.Type, k.Sensitive(), k.Doc
		e.ReadOnly = k.Name != name || k.Scopes&(ScopeCluster|ScopeBroker) == 0
	}
	e.Synonyms = l.synonyms(name, e.Sensitive)
	text, _, set := l.text(name)
	if !set && k != nil && k.Default.Set() {
		text, set = k.Default.Text, true
	}
	if set {
		e.Value = shown(text, e.Sensitive)
	}
	if len(e.Synonyms) > 0 {
		e.Source = e.Synonyms[0].Source
	}
	return e
}

func (l Layers) names() []string {
	set := make(map[string]struct{})
	for _, layer := range []map[string]string{l.Broker, l.Cluster, l.Static} {
		for name := range layer {
			set[name] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// synonymSets are the keys that say one thing in several units, in the order
// of precedence.
var synonymSets = [][]string{
	{"log.roll.ms", "log.roll.hours"},
	{"log.roll.jitter.ms", "log.roll.jitter.hours"},
	{"log.flush.interval.ms", "log.flush.scheduler.interval.ms"},
	{"log.retention.ms", "log.retention.minutes", "log.retention.hours"},
}

// synonymNames is DynamicBrokerConfig.brokerConfigSynonyms.
func synonymNames(name string) []string {
	if base := baseName(name); base != name {
		return []string{name, base}
	}
	for _, set := range synonymSets {
		// The scheduler's interval stands in for the flush interval, not the
		// other way round.
		if slices.Contains(set, name) && name != "log.flush.scheduler.interval.ms" {
			return set
		}
	}
	return []string{name}
}

// synonyms lists where a node key and its synonyms are set, from the strongest
// to the default. As in Apache, what comes before the key's own first
// appearance is left out, and all of it where the key itself never appears.
func (l Layers) synonyms(name string, sensitive bool) []Synonym {
	var all []Synonym
	names := synonymNames(name)
	for _, layer := range []struct {
		values map[string]string
		source Source
	}{{l.Broker, FromBroker}, {l.Cluster, FromCluster}, {l.Static, FromStatic}} {
		for _, n := range names {
			if v, ok := layer.values[n]; ok {
				all = append(all, Synonym{n, shown(v, sensitive), layer.source})
			}
		}
	}
	for _, n := range names {
		if k := nodeIndex[n]; k != nil && k.Default.Set() {
			all = append(all, Synonym{n, shown(k.Default.Text, sensitive), FromDefault})
		}
	}
	own := slices.IndexFunc(all, func(s Synonym) bool { return s.Name == name })
	if own < 0 {
		return nil
	}
	return all[own:]
}

func shown(text string, sensitive bool) *string {
	if sensitive {
		return nil
	}
	return &text
}

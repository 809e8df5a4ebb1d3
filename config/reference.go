package config

import (
	"fmt"
	"strings"
)

//go:generate go test -run TestReferenceIsCurrent -update .

// sections of the reference, in its order.
var sections = []struct {
	title, intro string
	keys         []Key
}{
	{"This node and its quorum", "", identityKeys},
	{"kvorum's own keys", "What Kafka has no key for.", kvorumKeys},
	{"Listeners, connections and limits", "", networkKeys},
	{"Metadata log and controller", "", metadataKeys},
	{"Data directories and the defaults of topics", "", logKeys},
	{"Security", "TLS, SASL and delegation tokens are not in this release: their keys are refused unless they have the default value.", securityKeys},
	{"Replication", "", replicaKeys},
	{"Groups and transactions", "", coordinatorKeys},
	{"Quotas, metrics, plug-ins", "", quotaKeys},
	{"Remote storage", "", remoteKeys},
	{"Leaving ZooKeeper", "How a controller of a cluster that leaves ZooKeeper finds it; see migration.md. A broker refuses all of them.", zookeeperKeys},
	{"Keys of topics", "Set when a topic is created or with `kafka-configs --entity-type topics`. A key that is not set has the value of the node key in the last column.", topicKeys},
	{"Keys of groups", "Set with `kafka-configs --entity-type groups`.", groupKeys},
	{"Keys of client metrics subscriptions", "Set with `kafka-configs --entity-type client-metrics`.", clientMetricsKeys},
}

const referenceHead = `# Configuration

<!-- Written from the registry in config/ by "go generate ./config"; change the rows there. -->

` + "`kvorum server --config server.properties`" + ` takes Kafka's keys. An unknown key is an error that names the nearest known one, a key
that is set twice is an error, and so is a key that asks for something this release does not do ("refused unless default").

The column *here* says what a key of server.properties does: *in effect*; *brokers only*: a controller reads and checks it, with nothing to apply it to;
*accepted*: it sizes something that kvorum does not have, or tunes a protocol that this release does not serve and does not announce; *refused on brokers unless
default*: a broker does not start with it, a controller takes it as Apache's does.
*Dynamic* keys can also be changed at run time with ` + "`kafka-configs --entity-type brokers`" + `: *cluster* for all brokers or one, *broker* for one only.
A running broker follows them; a change of a key that only a start reads (no entry) is refused, as by Apache's broker. A value for one broker wins over one for all
brokers, that over the file, and that over the default.
`

// Reference is the text of docs/configuration.md.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, s := range sections {
		fmt.Fprintf(&b, "\n## %s\n", s.title)
		if s.intro != "" {
			fmt.Fprintf(&b, "\n%s\n", s.intro)
		}
		b.WriteByte('\n')
		node := s.keys[0].Scopes&ScopeNode != 0
		if node {
			b.WriteString("| key | type | default | valid | here | dynamic | what it is |\n|---|---|---|---|---|---|---|\n")
		} else {
			b.WriteString("| key | type | default | valid | what it is | falls back to |\n|---|---|---|---|---|---|\n")
		}
		for i := range s.keys {
			if !s.keys[i].Internal || &s.keys[0] == &zookeeperKeys[0] {
				writeRow(&b, &s.keys[i], node)
			}
		}
	}
	return b.String()
}

func writeRow(b *strings.Builder, k *Key, node bool) {
	valid := ""
	if k.Valid != nil {
		valid = k.Valid.String()
	}
	cells := []string{"`" + k.Name + "`", strings.ToLower(k.Type.String()), defaultCell(k.Default), valid}
	if node {
		dynamic := ""
		switch {
		case k.Scopes&ScopeCluster != 0:
			dynamic = "cluster"
		case k.Scopes&ScopeBroker != 0:
			dynamic = "broker"
		}
		doc := k.Doc
		if k.Instead != "" {
			doc += " Use " + k.Instead + "."
		}
		cells = append(cells, k.Effect.String(), dynamic, doc)
	} else {
		var names []string
		for _, f := range k.Fallback {
			names = append(names, "`"+f.Name+"`")
		}
		cells = append(cells, k.Doc, strings.Join(names, ", "))
	}
	for i, cell := range cells {
		cells[i] = strings.ReplaceAll(cell, "|", `\|`)
	}
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

func defaultCell(d Default) string {
	switch {
	case d.Required():
		return "*required*"
	case !d.Set():
		return "*none*"
	case d.Text == "":
		return "*empty*"
	default:
		return "`" + d.Text + "`"
	}
}

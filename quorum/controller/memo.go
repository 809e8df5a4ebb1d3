package controller

import (
	"maps"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/config"
)

// Memo keeps the newest result of a computation that many decisions repeat: the
// configs of a topic that sets none, which every answer to CreateTopics lists.
// It changes no answer. The zero value is empty; one loop with one Settings owns
// it.
type Memo struct {
	broker, cluster map[string]string // what defaults was computed from
	defaults        []kmsg.CreateTopicsResponseTopicConfig
}

// topicDefaults is createdConfigs of no values. The result is shared by answers
// and must not be changed. A nil memo computes it anew.
func (m *Memo) topicDefaults(l config.Layers) []kmsg.CreateTopicsResponseTopicConfig {
	if m == nil {
		return createdConfigs(l, nil)
	}
	if m.defaults == nil || !maps.Equal(m.broker, l.Broker) || !maps.Equal(m.cluster, l.Cluster) {
		m.broker, m.cluster = maps.Clone(l.Broker), maps.Clone(l.Cluster)
		m.defaults = createdConfigs(l, nil)
	}
	return m.defaults
}

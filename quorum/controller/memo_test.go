package controller

import (
	"reflect"
	"testing"

	"kvorum/config"
)

// TestMemo asks a memo under changing layers: it answers as without it, and does
// not compute again what has not changed.
func TestMemo(t *testing.T) {
	var m Memo
	for _, l := range []config.Layers{
		{},
		{Cluster: map[string]string{"log.retention.ms": "1000"}},
		{Cluster: map[string]string{"log.retention.ms": "2000"}},
		{Broker: map[string]string{"log.retention.ms": "3000"}, Cluster: map[string]string{"log.retention.ms": "2000"}},
		{},
	} {
		got := m.topicDefaults(l)
		if want := createdConfigs(l, nil); !reflect.DeepEqual(got, want) {
			t.Errorf("layers %v: the memo has %v, not %v", l, got, want)
		}
		if again := m.topicDefaults(l); &again[0] != &got[0] {
			t.Errorf("layers %v: computed again", l)
		}
	}
}

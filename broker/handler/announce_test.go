package handler

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol"
)

// What is announced is what is bound, and what is not bound has a reason.
func TestAnnouncedIsBound(t *testing.T) {
	w := newWorld(t)
	for _, key := range w.bound.Unbound() {
		if Unserved[kmsg.Key(key)] == "" {
			t.Errorf("%s is not bound, and Unserved gives no reason", key)
		}
	}
	unbound := map[protocol.Key]bool{}
	for _, key := range w.bound.Unbound() {
		unbound[key] = true
	}
	for key := range Unserved {
		if !unbound[protocol.Key(key)] {
			t.Errorf("%s is in Unserved, and bound", protocol.Key(key))
		}
	}
	req := kmsg.NewPtrApiVersionsRequest()
	announced := w.bound.APIVersions(req, w.features()).ApiKeys
	for _, a := range announced {
		key := protocol.Key(a.ApiKey)
		if Unserved[kmsg.Key(key)] != "" {
			t.Errorf("%s is announced and not served", key)
		}
		if key == protocol.KeyAPIVersions {
			continue
		}
		for version := a.MinVersion; version <= a.MaxVersion; version++ {
			if _, err := w.bound.Lookup(key, version); err != nil && (key != 0 || version >= 3) { // Produce says 0 for old librdkafka
				t.Errorf("%s v%d: %v", key, version, err)
			}
		}
	}
	if len(announced) < 50 {
		t.Errorf("only %d APIs are announced", len(announced))
	}
}

func (w *world) features() protocol.Features {
	return protocol.Features{Epoch: int64(w.image.Load().At().Offset)}
}

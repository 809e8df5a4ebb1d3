package controller

import (
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// TestCombinedNodeRegistersAgain: the broker of a node that was killed does not
// wait for the session of its earlier run, which ended with the process; any other
// broker does.
func TestCombinedNodeRegistersAgain(t *testing.T) {
	for _, c := range []struct {
		name     string
		combined bool
		own      kafka.NodeID
		want     errors.Code
	}{
		{"own broker", true, 1, errors.None},
		{"another node's broker", true, 2, errors.DuplicateBrokerRegistration},
		{"a controller alone", false, 1, errors.DuplicateBrokerRegistration},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, image.MaxMetadataVersion, DefaultFeatures(image.MaxMetadataVersion))
			w.start(1)
			w.in.Settings.Combined, w.in.Settings.NodeID = c.combined, c.own
			again := w.registration(5, 2)
			again.BrokerID, again.LogDirs = 1, [][16]byte{dir(1, 0)}
			_, resp := RegisterBroker(w.in, again)
			if code := errors.Code(resp.ErrorCode); code != c.want {
				t.Errorf("the second run is answered %v, want %v", code, c.want)
			}
		})
	}
}

package protocol

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// What a controller of Apache 4.3.1 announced on its listener (recorded) is what
// ours announces once everything is bound, SASL apart: Apache announces it on
// PLAINTEXT too, where it cannot be used.
func TestAnnouncesWhatApacheDoes(t *testing.T) {
	data, err := os.ReadFile("testdata/frames.txt")
	if err != nil {
		t.Fatal(err)
	}
	var apache kmsg.ApiVersionsResponse
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "4.3.1 response 18 4 "); ok {
			frame, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
			if err != nil {
				t.Fatal(err)
			}
			apache.Version = 4
			if _, err := ReadResponse(frame, &apache); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(apache.ApiKeys) == 0 {
		t.Fatal("no recorded ApiVersions")
	}
	h := NewHandlers[int](Controller)
	for _, k := range h.Unbound() {
		h.Bind(k, 0)
	}
	if left := h.Unbound(); left != nil {
		t.Errorf("bound everything but %v", left)
	}
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = 4, "a", "1"
	ours := make(map[Key]kmsg.ApiVersionsResponseApiKey)
	for _, k := range h.APIVersions(req, Features{}).ApiKeys {
		ours[Key(k.ApiKey)] = k
	}
	for _, want := range apache.ApiKeys {
		k := Key(want.ApiKey)
		if k == KeySASLHandshake || k == KeySASLAuthenticate {
			continue
		}
		if got, ok := ours[k]; !ok || got.MinVersion != want.MinVersion || got.MaxVersion != want.MaxVersion {
			t.Errorf("%s: ours is %+v, Apache's %+v", k, got, want)
		}
		delete(ours, k)
	}
	for k := range ours {
		t.Errorf("%s is announced, Apache does not", k)
	}
}

package protocol

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// testdata/apis-*.tsv were printed by ApiMessageType.values() and ApiKeys of
// Apache's own jars: key, name, lowest, highest stable and highest version,
// forwardable, clusterAction, listeners.
type apacheAPI struct {
	key, low, high int
	name           string
	forwardable    bool
	listeners      string
}

func apacheAPIs(t *testing.T, version string) (apis []apacheAPI) {
	data, err := os.ReadFile("testdata/apis-" + version + ".tsv")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var a apacheAPI
		var unstable int
		var clusterAction bool
		f := strings.ReplaceAll(strings.TrimSpace(line), ", ", ",")
		if _, err := fmt.Sscan(f, &a.key, &a.name, &a.low, &a.high, &unstable, &a.forwardable, &clusterAction, &a.listeners); err != nil {
			t.Fatalf("%q: %v", f, err)
		}
		apis = append(apis, a)
	}
	return apis
}

func TestTableIsApaches(t *testing.T) {
	apis := apacheAPIs(t, "4.3.1")
	if len(apis) != len(table) {
		t.Fatalf("%d rows, Apache has %d", len(table), len(apis))
	}
	for _, want := range apis {
		a := &table[want.key]
		var l ListenerSet
		if strings.Contains(want.listeners, "BROKER") {
			l |= Broker | InterBroker
		}
		if strings.Contains(want.listeners, "CONTROLLER") {
			l |= Controller
		}
		if a.Name != want.name || int(a.Min) != want.low || int(a.Max) != want.high || a.Forwardable != want.forwardable || a.Listeners != l {
			t.Errorf("row %+v, Apache has %+v", a, want)
		}
		if a.AnnouncedMin != a.Min && (a.Key != 0 || a.AnnouncedMin != 0) { // KAFKA-18659
			t.Errorf("%s announces a minimum of %d", a.Name, a.AnnouncedMin)
		}
	}
}

// A 3.9 node must find a version that both speak of every API that it may send.
func TestOldNodesFindAVersion(t *testing.T) {
	for _, old := range apacheAPIs(t, "3.9.2") {
		a := &table[old.key]
		if a.Max < a.Min || old.high < old.low || old.high < 0 {
			continue // ZooKeeper's requests, or not stable in 3.9
		}
		if old.high < int(a.Min) || old.low > int(a.Max) {
			t.Errorf("%s: 3.9 speaks %d-%d, we %d-%d", a.Name, old.low, old.high, a.Min, a.Max)
		}
	}
}

func TestEveryRowIsComplete(t *testing.T) {
	for a := range APIs {
		if a.Max > kmsg.RequestForKey(int16(a.Key)).MaxVersion() {
			t.Errorf("%s version %d is beyond kmsg", a.Name, a.Max)
		}
		if a.FrameLimit < FramePreAuth || a.FrameLimit > FrameRecords {
			t.Errorf("%s has a frame limit of %d", a.Name, a.FrameLimit)
		}
		for kind, set := range map[ListenerSet]ListenerSet{Broker: Broker | InterBroker, Controller: Controller} {
			r := a.Rule(kind)
			byRule, byHandler := r.Operation != 0 && r.Resource != 0, r.Reason != ""
			if served := a.Listeners&set != 0; served != (byRule || byHandler) || byRule && byHandler {
				t.Errorf("%s on %b has the rule %+v", a.Name, kind, r)
			}
		}
		if n := a.Amplification(); n > 128 {
			t.Errorf("%s may allocate %d times its size", a.Name, n)
		}
	}
	if _, ok := Lookup(-1); ok {
		t.Error("key -1 exists")
	}
	for i := range own {
		a := &own[i]
		if rule := a.Rule(Controller); a.Listeners != Controller || rule.Operation == 0 || rule.Resource == 0 || a.FrameLimit != FramePreAuth || a.Amplification() > 128 {
			t.Errorf("%s: %+v", a.Name, a)
		}
	}
}

// Whatever kmsg writes passes the check to its last byte, decodes, and is
// written again to the same bytes: the shapes and kmsg agree on each version.
func TestShapesAgreeWithKmsg(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for a := range APIs {
		for v := a.Min; v <= a.Max; v++ {
			for range 50 {
				req := kmsg.RequestForKey(int16(a.Key))
				fill(r, reflect.ValueOf(req), 0)
				req.SetVersion(v)
				body := req.AppendTo(nil)
				c := checker{src: body, structSize: a.structSize}
				if err := c.walk(a.shapes[v]); err != nil || c.at != len(body) {
					t.Fatalf("%s version %d: %v at %d of %d bytes", a.Name, v, err, c.at, len(body))
				}
				id := "client"
				frame := AppendRequest(nil, 7, &id, req)
				got, err := Decode(frame[4:])
				if err != nil {
					t.Fatal(err)
				}
				if got.CorrelationID != 7 || *got.ClientID != id || got.API != a || !bytes.Equal(got.Body.AppendTo(nil), body) {
					t.Fatalf("%s version %d: %+v came back as %+v", a.Name, v, req, got.Body)
				}
			}
		}
	}
}

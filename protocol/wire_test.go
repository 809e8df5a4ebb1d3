package protocol

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// TestApachesFrames: what Apache 3.9.2 and 4.3.1 brokers and controllers said
// to each other decodes and is written again byte for byte.
func TestApachesFrames(t *testing.T) {
	data, err := os.ReadFile("testdata/frames.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var kafka, dir, text string
		var key, version int16
		if _, err := fmt.Sscan(line, &kafka, &dir, &key, &version, &text); err != nil {
			t.Fatal(err)
		}
		frame, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%s %s %s v%d", kafka, dir, Key(key), version)
		if dir == "response" {
			responseAgain(t, name, key, version, frame)
		} else {
			requestAgain(t, name, frame)
		}
	}
}

func requestAgain(t *testing.T, name string, frame []byte) {
	req, err := Decode(frame)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	again := AppendRequest(nil, req.CorrelationID, req.ClientID, req.Body)[4:]
	if !bytes.Equal(again, frame) {
		t.Errorf("%s:\n%x became\n%x", name, frame, again)
	}
	env, ok := req.Body.(*kmsg.EnvelopeRequest)
	if !ok {
		return
	}
	e, err := OpenEnvelope(env, func(Key, int16) error { return nil })
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if e.Principal != Anonymous || e.Client != netip.MustParseAddr("127.0.0.1") || e.Request.Key != 19 {
		t.Errorf("%s: %+v", name, e)
	}
	if !bytes.Equal(AppendPrincipal(nil, e.Principal), env.RequestPrincipal) {
		t.Errorf("%s: principal %x", name, env.RequestPrincipal)
	}
}

func responseAgain(t *testing.T, name string, key, version int16, frame []byte) {
	resp := kmsg.ResponseForKey(key)
	resp.SetVersion(version)
	id, err := ReadResponse(frame, resp)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if again := AppendResponse(nil, id, resp)[4:]; !bytes.Equal(again, frame) {
		t.Errorf("%s:\n%x became\n%x", name, frame, again)
	}
}

func TestResponseHead(t *testing.T) {
	for _, v := range []int16{4, 18} {
		req := kmsg.NewPtrFetchRequest()
		req.Version = v
		r, err := Decode(AppendRequest(nil, 42, nil, req)[4:])
		if err != nil {
			t.Fatal(err)
		}
		resp := r.Response()
		body := resp.AppendTo(nil)
		if got, want := append(AppendResponseHead(nil, r, len(body)), body...), AppendResponse(nil, 42, resp); !bytes.Equal(got, want) {
			t.Errorf("version %d: %x, want %x", v, got, want)
		}
	}
}

func request(t *testing.T, body kmsg.Request) *Request {
	t.Helper()
	r, err := Decode(AppendRequest(nil, 9, nil, body)[4:])
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEnvelope(t *testing.T) {
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version = 7
	create.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: "a", NumPartitions: 1, ReplicationFactor: 1}}
	heartbeat := kmsg.NewPtrBrokerHeartbeatRequest()
	whole := func(r kmsg.Request) []byte { return AppendRequest(nil, 5, nil, r)[4:] }
	alice := AppendPrincipal(nil, Principal{"User", "alice", true})
	home := []byte{127, 0, 0, 1}
	old := whole(create)
	old[3] = 99
	serve := func(Key, int16) error { return nil }
	for name, tc := range map[string]struct {
		data, principal, client []byte
		served                  func(Key, int16) error
		code                    errors.Code
	}{
		"good":                {whole(create), alice, home, serve, errors.None},
		"ipv6":                {whole(create), alice, make([]byte, 16), serve, errors.None},
		"no principal":        {whole(create), nil, home, serve, errors.PrincipalDeserializationFailure},
		"principal version 1": {whole(create), append([]byte{0, 1}, alice[2:]...), home, serve, errors.PrincipalDeserializationFailure},
		"cut principal":       {whole(create), alice[:5], home, serve, errors.PrincipalDeserializationFailure},
		"bad address":         {whole(create), alice, home[:3], serve, errors.InvalidRequest},
		"no header":           {nil, alice, home, serve, errors.InvalidRequest},
		"unknown key":         {[]byte{9, 9, 0, 0, 0, 0, 0, 0}, alice, home, serve, errors.InvalidRequest},
		"not forwardable":     {whole(heartbeat), alice, home, serve, errors.InvalidRequest},
		"unknown version":     {old, alice, home, serve, errors.UnsupportedVersion},
		"cut body":            {whole(create)[:14], alice, home, serve, errors.UnsupportedVersion},
		"not bound":           {whole(create), alice, home, func(Key, int16) error { return errors.UnsupportedVersion.Err() }, errors.UnsupportedVersion},
	} {
		env := kmsg.NewPtrEnvelopeRequest()
		env.RequestData, env.RequestPrincipal, env.ClientHostAddress = tc.data, tc.principal, tc.client
		e, err := OpenEnvelope(env, tc.served)
		if errors.CodeOf(err) != tc.code {
			t.Errorf("%s: %v", name, err)
		}
		if tc.code == errors.None && (e.Principal.String() != "User:alice" || !e.Principal.TokenAuthenticated || e.Request.Body.(*kmsg.CreateTopicsRequest).Topics[0].Topic != "a") {
			t.Errorf("%s: %+v", name, e)
		}
		if FailEnvelope(err).ErrorCode != int16(tc.code) {
			t.Errorf("%s: the answer does not carry %s", name, tc.code)
		}
	}
}

// The cost of an Envelope has the cost of its inside in it; envelopes inside
// envelopes are never opened, so they cost nothing, at any depth.
func TestEnvelopeCost(t *testing.T) {
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version = 7
	create.Topics = make([]kmsg.CreateTopicsRequestTopic, 1000)
	inner := AppendRequest(nil, 5, nil, create)[4:]
	wrap := func(frame []byte) []byte {
		env := kmsg.NewPtrEnvelopeRequest()
		env.RequestData = frame
		return AppendRequest(nil, 5, nil, env)[4:]
	}
	alone, err := Check(inner)
	if err != nil {
		t.Fatal(err)
	}
	once, err := Check(wrap(inner))
	if err != nil || once.Cost <= alone.Cost {
		t.Errorf("%d for the envelope, %d for its inside, %v", once.Cost, alone.Cost, err)
	}
	deep := inner
	for range 1000 {
		deep = wrap(deep)
	}
	if c, err := Check(deep); err != nil || c.Cost >= alone.Cost {
		t.Errorf("a thousand envelopes cost %d, %v", c.Cost, err)
	}
}

func TestSealEnvelope(t *testing.T) {
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version = 7
	inner := request(t, create)
	resp := inner.Response().(*kmsg.CreateTopicsResponse)
	resp.Topics = []kmsg.CreateTopicsResponseTopic{{Topic: "a"}, {Topic: "b"}}
	sealed := SealEnvelope(inner, resp)
	got := inner.Response()
	if id, err := ReadResponse(sealed.ResponseData, got); err != nil || id != 9 || sealed.ErrorCode != 0 || !reflect.DeepEqual(got, resp) {
		t.Errorf("id %d, %+v, %v", id, got, err)
	}
	resp.Topics[1].ErrorCode = int16(errors.NotController)
	if sealed := SealEnvelope(inner, resp); sealed.ErrorCode != int16(errors.NotController) || sealed.ResponseData != nil {
		t.Errorf("NOT_CONTROLLER inside is %+v outside", sealed)
	}
}

func TestHandlers(t *testing.T) {
	h := NewHandlers[string](Controller)
	h.Bind(63, "heartbeat")
	h.BindVersions(1, 12, 17, "fetch")
	if got, err := h.Lookup(63, 2); err != nil || got != "heartbeat" {
		t.Error(got, err)
	}
	for _, bad := range []struct {
		k Key
		v int16
	}{{63, 3}, {63, -1}, {1, 18}, {1, 11}, {62, 0}, {999, 0}} {
		if _, err := h.Lookup(bad.k, bad.v); errors.CodeOf(err) != errors.UnsupportedVersion {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if missing := h.Unbound(); slices.Contains(missing, 63) || slices.Contains(missing, 18) || !slices.Contains(missing, 62) || slices.Contains(missing, 0) {
		t.Error(missing)
	}
	for name, bind := range map[string]func(){
		"twice":          func() { h.Bind(63, "") },
		"broker's API":   func() { h.Bind(0, "") },
		"unknown":        func() { h.Bind(999, "") },
		"unknown to us":  func() { h.BindVersions(62, 0, 99, "") },
		"the listener's": func() { h.Bind(KeyAPIVersions, "") },
		"no version":     func() { NewHandlers[string](Broker).Bind(4, "") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("binding %s did not panic", name)
				}
			}()
			bind()
		}()
	}
}

func TestAPIVersions(t *testing.T) {
	h := NewHandlers[int](Controller)
	h.Bind(63, 0)
	h.BindVersions(1, 12, 17, 0)
	f := Features{
		Supported: []SupportedFeature{{"kraft.version", 0, 1}, {"metadata.version", 1, 30}},
		Finalized: []FinalizedFeature{{"metadata.version", 21}},
		Epoch:     77,
	}
	for v := int16(0); v <= 4; v++ {
		req := kmsg.NewPtrApiVersionsRequest()
		req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = v, "apache-kafka-java", "4.3.1"
		resp := h.APIVersions(req, f)
		var keys []string
		for _, k := range resp.ApiKeys {
			keys = append(keys, fmt.Sprintf("%d:%d-%d", k.ApiKey, k.MinVersion, k.MaxVersion))
		}
		if got := strings.Join(keys, " "); got != "1:12-17 18:0-4 63:0-2" || resp.ErrorCode != 0 {
			t.Error(got)
		}
		want := map[int16]int{3: 1, 4: 2}[v]
		if len(resp.SupportedFeatures) != want {
			t.Errorf("version %d: %+v", v, resp.SupportedFeatures)
		}
		if v >= 3 && (resp.FinalizedFeaturesEpoch != 77 || resp.FinalizedFeatures[0].MaxVersionLevel != 21 || resp.FinalizedFeatures[0].MinVersionLevel != 21) {
			t.Errorf("version %d: %+v", v, resp)
		}
		req.ClientSoftwareName = "bad name"
		if code := h.APIVersions(req, f).ErrorCode; (code == int16(errors.InvalidRequest)) != (v >= 3) {
			t.Errorf("version %d with a bad software name: %d", v, code)
		}
	}
	b := NewHandlers[int](Broker)
	b.Bind(0, 0)
	if k := b.APIVersions(kmsg.NewPtrApiVersionsRequest(), f).ApiKeys[0]; k.MinVersion != 0 || k.MaxVersion != 13 {
		t.Errorf("Produce is announced as %+v", k)
	}
	if fb := APIVersionsFallback(); fb.Version != 0 || fb.ErrorCode != int16(errors.UnsupportedVersion) || len(fb.ApiKeys) != 1 || fb.ApiKeys[0].MaxVersion != 4 {
		t.Errorf("%+v", fb)
	}
}

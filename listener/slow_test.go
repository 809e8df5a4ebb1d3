package listener

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol"
)

// Who took too long is told once, with the stages and without the contents; time
// that the request asked for is not slow, and a flood of slow ones is cut.
func TestSlowRequests(t *testing.T) {
	var out bytes.Buffer
	l := &Listener{cfg: Config{Name: "PLAINTEXT", SlowRequest: time.Second, Log: slog.New(slog.NewTextHandler(&out, nil))}}
	c := &conn{l: l, id: 7}
	id := strings.Repeat("x", 500)
	body := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	body.Upsertions = []kmsg.AlterUserSCRAMCredentialsRequestUpsertion{{SaltedPassword: []byte("a secret")}}
	r := &Request{Request: &protocol.Request{Header: protocol.Header{ClientID: &id}, Body: body}, Principal: protocol.Anonymous}
	quick := Served{Key: 51, Handled: 900 * time.Millisecond, Wrote: 99 * time.Millisecond}
	long := Served{Key: protocol.KeyProduce, Handled: time.Hour, Remote: time.Hour, Parked: time.Hour}
	c.slow(r, &quick)
	c.slow(r, &long)
	if out.Len() > 0 {
		t.Fatalf("not slow, but told: %s", out.String())
	}
	slow := Served{Key: 51, Version: 0, Waited: 100 * time.Millisecond, Handled: 1900 * time.Millisecond, Remote: 400 * time.Millisecond, Wrote: time.Millisecond, RequestBytes: 77, ResponseBytes: 20}
	c.slow(r, &slow)
	for _, want := range []string{"slow request", "api=AlterUserScramCredentials", "principal=User:ANONYMOUS", "conn=7", "took_ms=2001", "queue_ms=100", "local_ms=1500", "remote_ms=400", "send_ms=1 ", "request_bytes=77", "response_bytes=20"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "secret") || out.Len() > 1000 {
		t.Errorf("%d bytes: %s", out.Len(), out.String())
	}
	for range 1000 {
		c.slow(r, &slow)
	}
	if lines := strings.Count(out.String(), "\n"); lines > 10*linesPerSecond {
		t.Errorf("%d lines", lines)
	}
	l.cfg.SlowRequest = 0
	out.Reset()
	if c.slow(r, &slow); out.Len() > 0 {
		t.Errorf("switched off, but told: %s", out.String())
	}
}

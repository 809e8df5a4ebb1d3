//go:build planted && linux && (amd64 || arm64)

package listener

import (
	"path/filepath"
	"testing"
	"time"

	"kvorum/internal/clock/jump"
)

// TestIdleWhenTheClockIsSet: a wall clock that is set back an hour after a connection's
// last answer does not keep the connection for another one.
func TestIdleWhenTheClockIsSet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	if err := jump.Set(path, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := jump.Follow(path); err != nil {
		t.Fatal(err)
	}
	var ends *closes
	l := start(t, func(c *Config) { ends = watch(c); c.IdleTimeout = 50 * time.Millisecond }, bindEcho)
	c := dial(t, l)
	c.send(heartbeat(1))
	c.receive(newHeartbeatResponse())
	if err := jump.Set(path, 0); err != nil {
		t.Fatal(err)
	}
	c.ended()
	ends.want(t, Idle)
}

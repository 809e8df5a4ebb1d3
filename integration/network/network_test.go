package network

import (
	"errors"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// knock connects from the test to a port of a host where nobody listens: it is
// refused where packets go both ways, and times out where they do not.
func knock(t *testing.T, n *Network, host int) (refused bool) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", n.Address(host)+":9", 500*time.Millisecond)
	timeout := net.Error(nil)
	switch {
	case err == nil:
		conn.Close()
	case errors.Is(err, syscall.ECONNREFUSED):
		return true
	case errors.As(err, &timeout) && timeout.Timeout():
		return false
	}
	t.Fatalf("connect to host %d: %v", host, err)
	return false
}

// TestCut: a cut in either direction stops the conversation of two, and of no others.
func TestCut(t *testing.T) {
	n := New(t, 2)
	for _, cut := range [][2]int{{Outside, 0}, {0, Outside}} {
		if !knock(t, n, 0) || !knock(t, n, 1) {
			t.Fatal("not connected")
		}
		n.Cut(cut[0], cut[1])
		if knock(t, n, 0) || !knock(t, n, 1) {
			t.Errorf("cut from %d to %d", cut[0], cut[1])
		}
		n.Heal()
	}
	wrapped := n.Wrap(1)
	out, err := exec.Command(wrapped[0], append(wrapped[1:], "ip", "-o", "-4", "addr", "show", "dev", "eth")...).CombinedOutput()
	if err != nil || len(out) == 0 {
		t.Errorf("a command on host 1: %v: %s", err, out)
	}
}

// Package loopback hands out TCP ports on 127.0.0.1 that no other test has. A
// node's port must be known before the node starts, because its peers are told
// of it, and must stay the node's own while the node is down. So ports come from
// below the range that the kernel gives to outgoing connections, and each is
// reserved by a lock on a file, which ends with the process that holds it.
package loopback

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// The ports that are handed out: above the well-known services, below the
// kernel's ephemeral range (32768 on Linux).
const (
	firstPort = 20000
	lastPort  = 32000
)

// attempts bounds the search; on a machine where so many draws are taken, the
// range is full.
const attempts = 1000

// Address returns 127.0.0.1:port for a port that is the test's own until it ends.
func Address(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "kvorum-ports")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatalf("reserve a port: %v", err)
	}
	for range attempts {
		port := firstPort + rand.IntN(lastPort-firstPort)
		held, err := reserve(filepath.Join(dir, strconv.Itoa(port)), port)
		if err == nil {
			t.Cleanup(func() { held.Close() })
			return fmt.Sprintf("127.0.0.1:%d", port)
		}
	}
	t.Fatalf("reserve a port: %d draws from %d to %d were all taken", attempts, firstPort, lastPort)
	return ""
}

// Addresses returns n addresses.
func Addresses(t testing.TB, n int) []string {
	t.Helper()
	out := make([]string, n)
	for i := range out {
		out[i] = Address(t)
	}
	return out
}

// reserve locks the port's file and proves that nothing listens on the port.
// The file stays: removing it would let two processes lock two files of one name.
func reserve(path string, port int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, l.Close()
}

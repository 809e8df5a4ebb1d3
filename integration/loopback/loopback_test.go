package loopback_test

import (
	"net"
	"testing"

	"kvorum/integration/loopback"
)

// TestAddresses listens on every address at once: all differ and all are free.
func TestAddresses(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range loopback.Addresses(t, 50) {
		if seen[a] {
			t.Fatalf("%s was handed out twice", a)
		}
		seen[a] = true
		l, err := net.Listen("tcp", a)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
}

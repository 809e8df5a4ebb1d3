package controller

import (
	"net/netip"
	"testing"
)

// FuzzIsAddress compares isAddress with the standard library's parser.
func FuzzIsAddress(f *testing.F) {
	for _, seed := range []string{
		"", "1.2.3.4", "255.255.255.255", "256.1.1.1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1..2.3", "1.2.3.4 ", "::", "::1", "1::", ":::",
		"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "1:2:3:4::5:6:7:8", "::ffff:1.2.3.4", "1.2.3.4::", "::1.2.3",
		"1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "fe80::1%eth0", "fe80::1%", "1.2.3.4%x", "12345::", "::g", ":1", "1:", "localhost",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := netip.ParseAddr(text)
		if got, want := isAddress(text), err == nil; got != want {
			t.Errorf("isAddress(%q) = %v, the library says %v", text, got, want)
		}
	})
}

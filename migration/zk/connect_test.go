package zk

import (
	"context"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParseConnect(t *testing.T) {
	for _, c := range []struct {
		connect string
		servers []string
		chroot  string
	}{
		{"a:2181", []string{"a:2181"}, ""},
		{"a:2181,b:2182/kafka", []string{"a:2181", "b:2182"}, "/kafka"},
		{"a:2181, b:2182/", []string{"a:2181", "b:2182"}, ""},
		{"[::1]:2181/x/y/", []string{"[::1]:2181"}, "/x/y"},
	} {
		servers, chroot, err := ParseConnect(c.connect)
		if err != nil || !reflect.DeepEqual(servers, c.servers) || chroot != c.chroot {
			t.Errorf("%q: %v, %q, %v", c.connect, servers, chroot, err)
		}
	}
	for _, bad := range []string{"", "a", "a:2181,", "a:2181//x", ",/x"} {
		if _, _, err := ParseConnect(bad); err == nil || !strings.Contains(err.Error(), "zookeeper.connect") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestPaths(t *testing.T) {
	for chroot, want := range map[string]string{"": "/a", "/kafka": "/kafka/a"} {
		if got := (&Client{chroot: chroot}).path("/a"); got != want {
			t.Errorf("chroot %q: %s", chroot, got)
		}
	}
}

// TestNobodyAnswers: a server that takes connections and says nothing, and one
// that is not there, do not keep Open longer than its context.
func TestNobodyAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := l.Addr().String()
	defer l.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for _, address := range []string{silent, gone.Addr().String()} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err := Open(ctx, Config{Connect: address})
		cancel()
		if err == nil || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "no session yet") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

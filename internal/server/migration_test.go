package server

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvorum/config"
)

// TestZooKeeperConfig: what the keys name is read at start, and what is wrong with it
// is said then.
func TestZooKeeperConfig(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	digest, other := file("digest", "user:secret\n"), file("other", "no colon")
	for _, c := range []struct {
		m    config.Migration
		want string
	}{
		{config.Migration{DigestFile: filepath.Join(dir, "gone")}, "read kvorum.zookeeper.digest.file"},
		{config.Migration{DigestFile: other}, "does not hold USER:PASSWORD"},
		{config.Migration{TLS: true, TrustStoreFile: filepath.Join(dir, "gone")}, "read zookeeper.ssl.truststore.location"},
		{config.Migration{TLS: true, TrustStoreFile: other}, "holds no certificate in PEM"},
		{config.Migration{TLS: true, KeysFile: other}, "a private key and its certificates in PEM"},
	} {
		if _, err := zooKeeperConfig(&c.m, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.m, err)
		}
	}
	good := config.Migration{Connect: "h:2181/kafka", SessionTimeout: time.Second, DigestFile: digest, TLS: true}
	c, err := zooKeeperConfig(&good, slog.New(slog.DiscardHandler))
	if err != nil || c.Connect != good.Connect || c.SessionTimeout != time.Second || c.Digest != "user:secret" || c.TLS == nil {
		t.Errorf("%+v, %v", c, err)
	}
}

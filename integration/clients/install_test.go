package clients

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// The versions that are fetched.
const (
	confluentKafka = "confluent-kafka==2.16.1"
	kafkaJS        = "kafkajs@2.2.4"
)

//go:embed programs
var programs embed.FS

// program writes an embedded program to disk and returns its path.
func program(t *testing.T, name string) string {
	t.Helper()
	text, err := programs.ReadFile("programs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// require skips the test when a client cannot be had, or fails it where peers are
// required.
func require(t *testing.T, client string, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("KVORUM_PEERS") == "required":
		t.Fatalf("%s is required (KVORUM_PEERS=required): %v", client, err)
	default:
		t.Skipf("skipped: %s cannot run here: %v", client, err)
	}
}

// wanted skips the test where peers are off.
func wanted(t *testing.T) {
	t.Helper()
	if os.Getenv("KVORUM_PEERS") == "off" || testing.Short() {
		t.Skip("skipped: KVORUM_PEERS=off or -short")
	}
}

// installed makes a directory of the user's cache once: make fills it, under a
// lock between processes, and it appears when it is complete.
func installed(name string, tools []string, make func(dir string) error) (string, error) {
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("%s is not installed", tool)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	home := filepath.Join(cache, "kvorum-clients")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(home, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	dir, complete := filepath.Join(home, name), filepath.Join(home, name+".complete")
	if _, err := os.Stat(complete); err == nil {
		return dir, nil
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return "", err
	}
	if err := make(dir); err != nil {
		return "", err
	}
	return dir, os.WriteFile(complete, nil, 0o644)
}

// run runs a command of an installation.
func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// python returns an interpreter that has librdkafka.
func python(t *testing.T) string {
	t.Helper()
	dir, err := installed(confluentKafka, []string{"python3"}, func(dir string) error {
		if err := run("python3", "-m", "venv", dir); err != nil {
			return err
		}
		return run(filepath.Join(dir, "bin", "pip"), "install", "-q", confluentKafka)
	})
	require(t, "confluent-kafka", err)
	return filepath.Join(dir, "bin", "python3")
}

// nodeModules returns a directory of modules that has kafkajs.
func nodeModules(t *testing.T) string {
	t.Helper()
	dir, err := installed(kafkaJS, []string{"node", "npm"}, func(dir string) error {
		return run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", dir, kafkaJS)
	})
	require(t, "kafkajs", err)
	return filepath.Join(dir, "node_modules")
}

package main

import (
	"strings"
	"testing"
)

// TestProfiles goes through the life of two profiles, and through what counts: the
// flag, -X, --profile, the environment, the one in use.
func TestProfiles(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv(profileVariable, "")
	step := func(code int, want string, args ...string) {
		t.Helper()
		r := kvorum(t, args...)
		if said := r.stdout + r.stderr; r.code != code || !strings.Contains(said, want) {
			t.Errorf("kvorum %s: exit code %d, want %d; it said %q, want %q in it", strings.Join(args, " "), r.code, code, said, want)
		}
	}
	// Nobody listens on these ports: the error says which brokers were asked.
	list := []string{"topic", "list", "--timeout", "1s"}
	asks := func(want string, more ...string) {
		t.Helper()
		step(exitError, want, append(list[:len(list):len(list)], more...)...)
	}
	step(exitError, "no profile is in use", "profile", "print")
	step(exitOK, "profile a is in use", "profile", "create", "a", "--brokers", "127.0.0.1:1", "--controllers", "127.0.0.1:2")
	step(exitOK, "profile b is in use", "profile", "create", "b", "--brokers", "127.0.0.1:3,127.0.0.1:4")
	step(exitOK, "brokers:\n  - 127.0.0.1:3\n  - 127.0.0.1:4\n", "profile", "print", "-o", "yaml")
	asks("127.0.0.1:3,127.0.0.1:4")
	asks("127.0.0.1:1", "--profile", "a")
	asks("127.0.0.1:1", "-X", "profile=a")
	asks("127.0.0.1:5", "-X", "brokers=127.0.0.1:5", "--profile", "a")
	asks("127.0.0.1:6", "-X", "brokers=127.0.0.1:5", "--bootstrap-server", "127.0.0.1:6")
	asks(`-X "broker=x" is none of`, "-X", "broker=x")
	asks(`there is no profile "c"`, "--profile", "c")
	t.Setenv(profileVariable, "a")
	asks("127.0.0.1:1")
	step(exitUnhealthy, "127.0.0.1:2", "quorum", "status", "--timeout", "1s")
	t.Setenv(profileVariable, "")
	step(exitOK, "profile a is in use", "profile", "use", "a")
	step(exitOK, `"current": "a"`, "profile", "list", "-o", "json")
	step(exitError, `there is no profile "c"`, "profile", "use", "c")
	step(exitOK, "profile a is deleted", "profile", "delete", "a")
	step(exitError, "no profile is in use", "profile", "print")
}

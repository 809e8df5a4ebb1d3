package vfs

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestMountNamespaces runs this program in one new mount namespace after the other,
// as a container's process is that restarts: the kernel gives the number of one that
// is gone to the next, and each must have another name all the same.
func TestMountNamespaces(t *testing.T) {
	if os.Getenv("KVORUM_TEST_NAMESPACE") != "" {
		p, err := PlaceOf(Default, ".")
		fmt.Println("namespace", p.Namespace, err)
		return
	}
	if name, err := mountNamespace(); err != nil || !strings.Contains(name, "]:") {
		t.Skipf("skipped: this kernel has no ids of mount namespaces that are never used twice: %q, %v", name, err)
	}
	seen := map[string]bool{}
	for range 5 {
		again := exec.Command(os.Args[0], "-test.run", "^TestMountNamespaces$")
		again.Env = append(os.Environ(), "KVORUM_TEST_NAMESPACE=1")
		again.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		out, err := again.CombinedOutput()
		if err != nil && len(out) == 0 {
			t.Skipf("skipped: this system makes no mount namespaces for us: %v", err)
		}
		line, _, _ := strings.Cut(string(out), "\n")
		if !strings.HasPrefix(line, "namespace mnt:[") || !strings.HasSuffix(line, " <nil>") {
			t.Fatalf("the process in a namespace of its own says %q, %v", out, err)
		}
		if seen[line] {
			t.Errorf("two namespaces have one name: %s", line)
		}
		seen[line] = true
	}
}

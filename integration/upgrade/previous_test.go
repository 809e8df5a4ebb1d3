package upgrade

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// previous builds the binary of the previous commit and returns its path and
// the commit. KVORUM_PREVIOUS names another commit. Where there is none to be
// had (a checkout without history), the test is skipped, and so with -short.
func previous(t *testing.T) (binary, commit string) {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped: -short, so no other commit is built")
	}
	revision := os.Getenv("KVORUM_PREVIOUS")
	if revision == "" {
		revision = "HEAD~1"
	}
	commit, err := git("rev-parse", "--short=12", "--verify", revision+"^{commit}")
	if err != nil {
		t.Skipf("skipped: no commit %s to upgrade from: %v", revision, err)
	}
	root, err := git("rev-parse", "--show-toplevel")
	if err != nil {
		t.Fatal(err)
	}
	binary, err = buildCommit(root, commit)
	if err != nil {
		t.Skipf("skipped: the commit %s does not build as a kvorum that runs controllers: %v", commit, err)
	}
	return binary, commit
}

// buildCommit builds a commit's cmd/kvorum. Its tree is unpacked at one place,
// so that the build cache serves the next time, and removed again.
func buildCommit(root, commit string) (string, error) {
	cache := filepath.Join(root, ".cache", "integration")
	tree, binary := filepath.Join(cache, "previous"), filepath.Join(cache, "kvorum-previous")
	defer os.RemoveAll(tree)
	if err := errors.Join(os.RemoveAll(tree), os.MkdirAll(tree, 0o755)); err != nil {
		return "", err
	}
	archive := filepath.Join(tree, "tree.tar")
	if _, err := git("-C", root, "archive", "--output", archive, commit); err != nil {
		return "", err
	}
	if _, err := output(exec.Command("tar", "-x", "-f", archive, "-C", tree)); err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(tree, "cmd", "kvorum", "server.go")); errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("it has no kvorum server")
	}
	build := exec.Command("go", "build", "-o", binary, "./cmd/kvorum")
	build.Dir = tree
	if _, err := output(build); err != nil {
		return "", err
	}
	return binary, nil
}

func git(args ...string) (string, error) { return output(exec.Command("git", args...)) }

// output runs a command; its error has the last line that the command said.
func output(cmd *exec.Cmd) (string, error) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		said := strings.TrimSpace(stderr.String())
		err = fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, said[strings.LastIndexByte(said, '\n')+1:])
	}
	return strings.TrimSpace(string(out)), err
}

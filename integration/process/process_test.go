package process_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvorum/integration/process"
)

func shell(t *testing.T, script string) *process.Process {
	return process.Start(t, process.Spec{Name: "shell", Path: "/bin/sh", Args: []string{"-c", script}, Log: filepath.Join(t.TempDir(), "shell.log")})
}

func TestExitCodes(t *testing.T) {
	if err := shell(t, "exit 0").Err(); err != nil {
		t.Errorf("exit 0 gave %v", err)
	}
	if err := shell(t, "exit 3").Err(); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("exit 3 gave %v", err)
	}
	willing := shell(t, "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done")
	for !strings.Contains(willing.Tail(), "ready") {
		time.Sleep(time.Millisecond) // until the trap is set
	}
	if err := willing.Stop(time.Minute); err != nil {
		t.Errorf("a process that ends on SIGTERM gave %v", err)
	}
}

// TestKillReachesTheGroup kills a shell and proves that its child died with it.
func TestKillReachesTheGroup(t *testing.T) {
	p := shell(t, "sleep 600 & echo $!; wait")
	var child int
	for child == 0 {
		_, _ = fmt.Sscan(p.Tail(), &child) // until the shell has printed it
	}
	p.Kill()
	// The orphan is reaped by init some time after its death; until then it is a zombie.
	for {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		if err != nil || strings.Contains(string(text), ") Z ") {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if p.Running() {
		t.Error("a killed process says that it runs")
	}
	p.Signal(syscall.SIGKILL) // nobody is there any more
}

func TestTailBeginsWithAWholeLine(t *testing.T) {
	p := shell(t, "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done")
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	tail := p.Tail()
	if !strings.HasPrefix(tail, "line ") || !strings.HasSuffix(tail, "line 1999\n") {
		t.Errorf("tail is %.40q ... %q", tail, tail[len(tail)-20:])
	}
}

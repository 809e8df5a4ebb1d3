// Package process runs a child process for a test: its output goes to a file,
// whose tail is printed when the test fails, signals reach its whole group, and
// it cannot outlive the test, nor the test binary when that dies.
package process

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// tailBytes is how much of a log a failing test prints: of six nodes, their logs must
// not bury what the test itself says.
const tailBytes = 3 << 10

// Spec says what to run.
type Spec struct {
	Name string   // how failures call it
	Path string   // the program
	Args []string // without the program's name
	Env  []string // added to the test's own environment
	Log  string   // file that gets stdout and stderr, appended to
}

// Process is a running or ended child.
type Process struct {
	name string
	log  string
	pid  int
	done chan struct{}
	err  error // how it ended; read after done
}

// printed are the logs that failed tests have printed: the processes that a test
// starts one after the other on one log print it once.
var printed sync.Map

// Start starts a process. When the test ends, what still runs is killed, and a
// failed test prints the end of the log.
func Start(t testing.TB, s Spec) *Process {
	t.Helper()
	p, err := start(s)
	if err != nil {
		t.Fatalf("start %s: %v", s.Name, err)
	}
	t.Cleanup(func() {
		p.Kill()
		if !t.Failed() {
			return
		}
		if _, seen := printed.LoadOrStore(p.log, true); !seen {
			t.Logf("the end of %s of %s:\n%s", filepath.Base(p.log), p.name, p.Tail())
		}
	})
	return p
}

// start runs the child from a goroutine of its own that keeps its operating
// system thread: the kernel sends the parent-death signal when that thread ends.
func start(s Spec) (*Process, error) {
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(s.Path, s.Args...)
	cmd.Env = append(os.Environ(), s.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = ownGroup()
	p := &Process{name: s.Name, log: s.Log, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer log.Close()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	return p, <-started
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running reports whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// PID returns the process id, of use while the process runs.
func (p *Process) PID() int { return p.pid }

// Log returns the path of the log.
func (p *Process) Log() string { return p.log }

// Signal sends a signal to the process and all that it started. A process that
// has ended gets nothing.
func (p *Process) Signal(s syscall.Signal) {
	if p.Running() {
		_ = syscall.Kill(-p.pid, s) // it may end just now; then there is nobody to tell
	}
}

// Kill ends the process as a crash does and waits for its end.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Stop asks the process to end, waits at most patience and then kills it. The
// error says how it ended: nil for exit code 0.
func (p *Process) Stop(patience time.Duration) error {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.Kill()
		return fmt.Errorf("%s did not end within %v of SIGTERM and was killed", p.name, patience)
	}
	return p.Err()
}

// Err returns how an ended process ended, nil for exit code 0. It waits for the end.
func (p *Process) Err() error {
	<-p.done
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.name, p.err)
	}
	return nil
}

// Tail returns the end of the log, from a whole line on.
func (p *Process) Tail() string {
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	end, err := f.Seek(0, 2)
	if err != nil {
		return err.Error()
	}
	text := make([]byte, min(end, tailBytes))
	if _, err := f.ReadAt(text, end-int64(len(text))); err != nil && len(text) > 0 {
		return err.Error()
	}
	if i := bytes.IndexByte(text, '\n'); end > tailBytes && i >= 0 {
		text = text[i+1:]
	}
	return string(text)
}

// ResidentBytes returns the resident memory of a running process, 0 where the
// system does not say.
func (p *Process) ResidentBytes() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.pid))
	if err != nil {
		return 0
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}

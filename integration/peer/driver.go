package peer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Driver is a JVM that runs Apache's clients and tools by command, many at a
// time, so that a test pays for one JVM start. See java/Driver.java.
type Driver struct {
	kit  *Kit
	log  string
	in   io.WriteCloser
	done chan struct{} // closed when the JVM's output has ended

	mu      sync.Mutex
	next    int64
	waiting map[int64]chan reply // bounded by the test's own calls
}

// JavaError is an exception that a command ended with.
type JavaError struct {
	Class   string // without its package, as TopicExistsException
	Message string
}

func (e *JavaError) Error() string { return e.Class + ": " + e.Message }

// Args are a command's fields.
type Args map[string]any

type reply struct {
	ID      int64           `json:"id"`
	Result  json.RawMessage `json:"result"`
	Class   string          `json:"class"`
	Message string          `json:"message"`
}

// StartDriver starts a driver that lives until the test ends.
func (k *Kit) StartDriver(t testing.TB) *Driver {
	t.Helper()
	d := &Driver{kit: k, log: filepath.Join(t.TempDir(), "driver.log"), done: make(chan struct{}), waiting: map[int64]chan reply{}}
	log, err := os.Create(d.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the child has its own
	cmd := exec.Command("java", k.javaArgs("Driver")...)
	cmd.Stderr = log
	d.in, err = cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the Java client: %v", err)
	}
	go d.read(out)
	t.Cleanup(func() {
		d.in.Close() // the driver ends with its input, and would with the test binary
		_ = cmd.Process.Kill()
		<-d.done
		_ = cmd.Wait() // killed, as asked
		if t.Failed() {
			text, _ := os.ReadFile(d.log)
			t.Logf("the end of driver.log:\n%s", text[max(0, len(text)-4096):])
		}
	})
	return d
}

// read hands each reply to the call that waits for it.
func (d *Driver) read(out io.Reader) {
	defer close(d.done)
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var r reply
		if json.Unmarshal(line, &r) != nil {
			continue // something of Apache's printed to the real stdout
		}
		d.mu.Lock()
		wait := d.waiting[r.ID]
		delete(d.waiting, r.ID)
		d.mu.Unlock()
		if wait != nil {
			wait <- r // buffered
		}
	}
}

// Do runs one command of java/*Commands.java and decodes its result into out,
// unless out is nil. An exception is a *JavaError.
func (d *Driver) Do(ctx context.Context, op string, args Args, out any) error {
	command := Args{"op": op}
	for name, value := range args {
		command[name] = value
	}
	wait := make(chan reply, 1)
	if err := d.send(command, wait); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	select {
	case r := <-wait:
		if r.Class != "" {
			return fmt.Errorf("%s: %w", op, &JavaError{Class: r.Class, Message: r.Message})
		}
		if out == nil {
			return nil
		}
		return json.Unmarshal(r.Result, out)
	case <-d.done:
		return fmt.Errorf("%s: the Java client has ended", op)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", op, ctx.Err())
	}
}

// send numbers a command and writes it.
func (d *Driver) send(command Args, wait chan reply) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	command["id"] = d.next
	line, err := json.Marshal(command)
	if err != nil {
		return err
	}
	d.waiting[d.next] = wait
	_, err = d.in.Write(append(line, '\n'))
	return err
}

// Tool runs one of Apache's tools in the driver's JVM. Tools run one at a time.
func (d *Driver) Tool(ctx context.Context, tool Tool, args ...string) (Output, error) {
	return d.ToolWithInput(ctx, "", tool, args...)
}

// ToolWithInput is Tool with a text for the tool to read from its stdin.
func (d *Driver) ToolWithInput(ctx context.Context, stdin string, tool Tool, args ...string) (Output, error) {
	var o Output
	err := d.Do(ctx, "tool", Args{"class": d.kit.class(tool), "args": args, "stdin": stdin}, &o)
	return o, err
}

// IsJava reports whether err is the Java exception of that class.
func IsJava(err error, class string) bool {
	var e *JavaError
	return errors.As(err, &e) && e.Class == class
}

package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// progress tells people how far long work is, on the error output: nothing for
// the first two seconds, then a line that is written over on a terminal and
// repeated every ten seconds elsewhere.
type progress struct {
	to       io.Writer
	terminal bool
	next     time.Time
	shown    bool
}

func newProgress(cmd *cobra.Command) *progress {
	to := cmd.ErrOrStderr()
	return &progress{to: to, terminal: isTerminal(to), next: time.Now().Add(2 * time.Second)}
}

// say shows a line if it is time.
func (p *progress) say(format string, args ...any) {
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	if p.terminal {
		p.next = now.Add(200 * time.Millisecond)
		fmt.Fprintf(p.to, "\r\x1b[K"+format, args...)
	} else {
		p.next = now.Add(10 * time.Second)
		fmt.Fprintf(p.to, format+"\n", args...)
	}
	p.shown = true
}

// end takes the line away.
func (p *progress) end() {
	if p.terminal && p.shown {
		fmt.Fprint(p.to, "\r\x1b[K")
	}
}

// isTerminal reports whether a person looks at w.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

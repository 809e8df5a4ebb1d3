package leaving

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// screen is what somebody who watches the demonstration sees: what is said stands,
// and below it the state of things, drawn anew all the time on a terminal and
// printed now and then where there is none.
type screen struct {
	live  func() [][2]string // what it stands below: names and texts
	began time.Time
	stop  chan struct{}
	done  chan struct{}

	mu    sync.Mutex
	to    *os.File
	tty   bool
	drawn int // lines of the state that stand below
}

const (
	// redraw is how often the state is drawn on a terminal, reprint how often it is
	// printed where there is none.
	redraw, reprint = 300 * time.Millisecond, 10 * time.Second
)

func newScreen(to *os.File, live func() [][2]string) *screen {
	info, err := to.Stat()
	s := &screen{live: live, began: time.Now(), stop: make(chan struct{}), done: make(chan struct{}), to: to}
	s.tty = err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	go s.run()
	return s
}

func (s *screen) run() {
	defer close(s.done)
	every := reprint
	if s.tty {
		every = redraw
	}
	for tick := time.NewTicker(every); ; {
		select {
		case <-tick.C:
			s.draw()
		case <-s.stop:
			tick.Stop()
			return
		}
	}
}

// close leaves what stands there.
func (s *screen) close() {
	close(s.stop)
	<-s.done
}

// phase begins a part: its name, and what happens in it.
func (s *screen) phase(name, what string) {
	s.say("")
	s.say(s.bold(fmt.Sprintf("%s  %s", s.clock(), name)))
	for line := range strings.Lines(what) {
		s.say("       " + strings.TrimRight(line, "\n"))
	}
}

// step tells that something is done.
func (s *screen) step(format string, args ...any) {
	s.say("     • " + fmt.Sprintf(format, args...))
}

func (s *screen) clock() string {
	d := time.Since(s.began).Round(time.Second)
	return fmt.Sprintf("%02d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}

func (s *screen) bold(text string) string {
	if !s.tty {
		return text
	}
	return "\x1b[1m" + text + "\x1b[0m"
}

// say prints lines that stay.
func (s *screen) say(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	fmt.Fprintln(s.to, text)
}

// clear takes the state away; mu is held.
func (s *screen) clear() {
	if s.drawn > 0 {
		fmt.Fprintf(s.to, "\x1b[%dA\x1b[J", s.drawn)
		s.drawn = 0
	}
}

// draw shows the state.
func (s *screen) draw() {
	rows := s.live() // asks processes: not under mu
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.tty {
		var all []string
		for _, r := range rows {
			all = append(all, r[0]+": "+r[1])
		}
		fmt.Fprintf(s.to, "       [%s] %s\n", s.clock(), strings.Join(all, " | "))
		return
	}
	s.clear()
	fmt.Fprintln(s.to)
	for _, r := range rows {
		fmt.Fprintf(s.to, "  \x1b[36m%-10s\x1b[0m %.110s\n", r[0], r[1]) // a longer line would wrap, and not be cleared
	}
	s.drawn = len(rows) + 1
}

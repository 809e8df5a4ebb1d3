package group

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
)

// world is a shell without a log: what is appended is committed at once. It
// keeps every record, so that the State can be folded again from them.
type world struct {
	t      testing.TB
	state  *State
	config Config
	nowMs  int64
	ids    uint64
	tokens Token
	log    []logged
	timers map[Timer]int64
	// parked holds the requests that are not answered.
	parked map[Token]kmsg.Request
	// answered collects the answers of the last event.
	answered []Answer
}

type logged struct {
	at       kafka.Offset
	producer kafka.ProducerID
	record   Record
	end      bool // the end of a transaction
	commit   bool
}

func newWorld(t testing.TB) *world {
	c := Defaults
	return &world{t: t, state: new(State), config: c, nowMs: 1000, timers: map[Timer]int64{}, parked: map[Token]kmsg.Request{}}
}

func (w *world) env() Env {
	w.ids++
	e := Env{NowMs: w.nowMs, WallMs: w.nowMs, Config: &w.config}
	binary.BigEndian.PutUint64(e.Random[8:], w.ids)
	return e
}

// step takes an event and carries its effects out.
func (w *world) step(e Event) Effects {
	w.t.Helper()
	at := w.state.End()
	if r, ok := e.(Request); ok {
		w.parked[r.Token] = r.Body
	}
	out := w.state.Step(w.env(), e)
	if end, ok := e.(Ended); ok {
		w.log = append(w.log, logged{at: at, producer: end.Producer, end: true, commit: end.Commit})
		at++
	}
	for _, r := range out.Records {
		w.log = append(w.log, logged{at: at, producer: out.Producer, record: r})
		at++
	}
	if at != w.state.End() {
		w.t.Fatalf("the state ends at %d, the log at %d", w.state.End(), at)
	}
	for _, c := range out.Timers {
		if c.AtMs == 0 {
			delete(w.timers, c.Timer)
		} else {
			w.timers[c.Timer] = c.AtMs
		}
	}
	w.answered = out.Answers
	for _, a := range out.Answers {
		if _, ok := w.parked[a.Token]; !ok {
			w.t.Fatalf("token %d is answered and does not wait: %+v", a.Token, a.Response)
		}
		delete(w.parked, a.Token)
	}
	return out
}

// request sends a request; its answer, where there is one yet, is in answered.
func (w *world) request(client string, body kmsg.Request) (Token, Effects) {
	w.t.Helper()
	w.tokens++
	return w.tokens, w.step(Request{Token: w.tokens, Client: Client{ID: client, Host: "/127.0.0.1"}, Body: body})
}

// advance lets time pass, timer by timer. It returns what they did.
func (w *world) advance(ms int64) []Effects {
	w.t.Helper()
	var all []Effects
	until := w.nowMs + ms
	for {
		due := slices.SortedFunc(maps.Keys(w.timers), func(a, b Timer) int {
			if d := w.timers[a] - w.timers[b]; d != 0 {
				return int(d)
			}
			return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
		})
		if len(due) == 0 || w.timers[due[0]] > until {
			break
		}
		w.nowMs = max(w.nowMs, w.timers[due[0]])
		delete(w.timers, due[0])
		all = append(all, w.step(Fired{due[0]}))
	}
	w.nowMs = until
	return all
}

// replayed folds the whole log again.
func (w *world) replayed() *State { return fold(w.t, w.log) }

func fold(t testing.TB, log []logged) *State {
	s := new(State)
	for _, l := range log {
		if l.end {
			s.LoadEnd(l.at, l.producer, l.commit)
			continue
		}
		if err := s.Load(l.at, l.producer, l.record.Key, l.record.Value); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// describe shows everything of a State that a failover must not change: groups
// at rest as they are, groups that rebalance by name.
func (s *State) describe(resting map[string]bool) string {
	var b strings.Builder
	for _, g := range s.groups.Values() {
		if resting != nil && !resting[g.id] {
			fmt.Fprintf(&b, "group %s\n", g.id)
			continue
		}
		fmt.Fprintf(&b, "group %s %v since %d type %q protocol %v generation %d leader %q topics %v %v\n",
			g.id, g.phase, g.sinceMs, g.protocolType, text(g.protocol), g.generation, g.leader, g.reads, g.topics.Keys())
		for _, m := range g.all() {
			fmt.Fprintf(&b, "  %s %q %s %s %d %d %q %q\n", m.id, text(m.instance), m.clientID, m.clientHost,
				m.rebalanceTimeoutMs, m.sessionTimeoutMs, m.metadata(g.protocol), m.assignment)
		}
		var static []string
		g.static.Scan(func(i, id string) bool { static = append(static, i+"="+id); return true })
		fmt.Fprintf(&b, "  static %v\n", static)
	}
	s.offsets.Scan(func(k string, c *Committed) bool {
		fmt.Fprintf(&b, "offset %v %+v\n", parseOffsetKey(k), *c)
		return true
	})
	s.pending.Scan(func(k string, c *Committed) bool { fmt.Fprintf(&b, "pending %q %+v\n", k, *c); return true })
	open := s.open.Keys()
	sort.Strings(open)
	fmt.Fprintf(&b, "open %q\nforeign %q\n", open, s.foreign.Keys())
	return b.String()
}

// atRest are the groups that are Empty or Stable.
func (s *State) atRest() map[string]bool {
	rest := map[string]bool{}
	s.groups.Scan(func(id string, g *group) bool { rest[id] = g.phase == Empty || g.phase == Stable; return true })
	return rest
}

// check compares the live State with the one that its log makes.
func (w *world) check() {
	w.t.Helper()
	rest := w.state.atRest()
	if live, again := w.state.describe(rest), w.replayed().describe(rest); live != again {
		w.t.Fatalf("live:\n%s\nreplayed:\n%s", live, again)
	}
}

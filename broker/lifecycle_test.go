package broker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// TestLifecycle tells stories: each line is one event with its time, the output
// what the core asks for.
func TestLifecycle(t *testing.T) {
	datadriven.Walk(t, "testdata/lifecycle", func(t *testing.T, path string) {
		var l *lifecycle
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "new" {
				cfg := lifecycleConfig{intervalMs: 2000, registrationMs: 60_000, controlledShutdown: !d.HasArg("uncontrolled"), shutdownMs: 5_000, patient: d.HasArg("patient")}
				if d.HasArg("long-shutdown") {
					cfg.shutdownMs = 300_000
				}
				l = newLifecycle(cfg)
				return ""
			}
			var now int64
			d.ScanArgs(t, "at", &now)
			return tell(l, l.step(now, lifecycleEvent(t, d)))
		})
	})
}

func lifecycleEvent(t *testing.T, d *datadriven.TestData) any {
	number := func(key string) (n int64) {
		d.ScanArgs(t, key, &n)
		return n
	}
	switch d.Cmd {
	case "start":
		return lifecycleStarted{}
	case "resumed":
		return lifecycleResumed{kafka.BrokerEpoch(number("epoch"))}
	case "registered":
		if d.HasArg("silent") {
			return registered{err: errNoController}
		}
		if d.HasArg("code") {
			return registered{code: errors.Code(number("code"))}
		}
		return registered{epoch: kafka.BrokerEpoch(number("epoch"))}
	case "answer":
		ev := heartbeatAnswered{caughtUp: true, fenced: d.HasArg("fenced"), shouldShutDown: d.HasArg("leave")}
		if d.HasArg("code") {
			ev.code = errors.Code(number("code"))
		}
		if d.HasArg("silent") {
			ev.err = errNoController
		}
		return ev
	case "published":
		return imagePublished{kafka.Offset(number("offset"))}
	case "ready":
		return becameReady{alone: d.HasArg("alone")}
	case "failed":
		return directoryFailed{kafka.DirectoryID{15: byte(number("dir"))}}
	case "stop":
		return stopWanted{}
	case "tick":
		return lifecycleTick{}
	}
	t.Fatalf("unknown event %s", d.Cmd)
	return nil
}

func tell(l *lifecycle, out lifecycleEffects) string {
	lines := []string{l.state.String()}
	if out.register {
		lines = append(lines, "register")
	}
	if h := out.heartbeat; h != nil {
		line := fmt.Sprintf("heartbeat epoch=%d offset=%d", h.epoch, h.offset)
		if h.wantFence {
			line += " want-fence"
		}
		if h.wantShutDown {
			line += " want-shutdown"
		}
		if len(h.offline) > 0 {
			line += fmt.Sprintf(" offline=%d", len(h.offline))
		}
		lines = append(lines, line)
	}
	if out.wakeAtMs != 0 {
		lines = append(lines, fmt.Sprintf("wake at %d", out.wakeAtMs))
	}
	if out.failed != nil {
		lines = append(lines, "failed: "+out.failed.Error())
	}
	if out.note != "" {
		lines = append(lines, "note: "+out.note)
	}
	return strings.Join(lines, "\n") + "\n"
}

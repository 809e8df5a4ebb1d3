package sim

import (
	"fmt"
	"runtime/debug"
	"strings"
)

// Result is what became of a run.
type Result struct {
	Seed         uint64
	Steps        int
	Faults       int
	Acknowledged int
	Coverage     Coverage
	// Broken is the invariant that did not hold, empty if all did; Problem says how
	// and Trace is the story that led there, newest last.
	Broken, Problem string
	Trace           []string
}

// Run plays a plan with a seed.
func Run(seed uint64, plan Plan) (r Result) {
	w := New(seed, plan)
	defer func() {
		r = Result{Seed: seed, Steps: w.step, Faults: w.next, Acknowledged: w.coverage["acknowledged"], Coverage: w.coverage, Trace: w.trace}
		switch p := recover().(type) {
		case nil:
		case violation:
			r.Broken, r.Problem = p.Invariant, p.text
		default:
			r.Broken, r.Problem = "Panic", fmt.Sprintf("%v\n%s", p, debug.Stack())
		}
	}()
	w.run()
	return r
}

// Shrink takes faults out of a plan, and steps off its end, as long as the run
// still breaks the same invariant. It runs a plan of n faults some n + n log n times.
func Shrink(seed uint64, plan Plan, broken string) Plan {
	breaks := func(p Plan) bool { return Run(seed, p).Broken == broken }
	for i, f := range plan.Faults {
		cut := plan
		cut.Steps, cut.Limit, cut.Faults = f.At, f.At, plan.Faults[:i]
		if breaks(cut) {
			plan = cut
			break
		}
	}
	for size := max(1, len(plan.Faults)/2); ; size /= 2 {
		for at := 0; at < len(plan.Faults); {
			less := plan
			less.Faults = append(append([]Fault(nil), plan.Faults[:at]...), plan.Faults[min(at+size, len(plan.Faults)):]...)
			if breaks(less) {
				plan = less
			} else {
				at += size
			}
		}
		if size <= 1 {
			return plan
		}
	}
}

// Report is a failure for a person: how to run it again, what the plan was, and
// the end of the story.
func (r Result) Report(plan Plan, lines int) string {
	var out strings.Builder
	fmt.Fprintf(&out, "seed %d breaks %s after %d steps: %s\n", r.Seed, r.Broken, r.Steps, r.Problem)
	for _, f := range plan.Faults {
		fmt.Fprintf(&out, "  fault %v\n", f)
	}
	for _, line := range r.Trace[max(0, len(r.Trace)-lines):] {
		out.WriteString(line + "\n")
	}
	return out.String()
}

package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Coverage counts what happened, by name.
type Coverage map[string]int

// Events are what a set of runs has to have seen; one that is never seen means
// that the world does not do what it says.
var Events = []string{
	"commit acknowledged", "commit refused under min ISR", "coordinator began", "coordinator had to prove itself", "live offsets compared with replayed ones", "member assigned", "member committed", "member committed too late", "offset shown",
	"zombie coordinator appended", "zombie coordinator showed an offset",
	"aborted records hidden", "acknowledged", "committed records read", "late marker of a fenced coordinator", "late marker refused", "transaction aborted", "transaction committed", "transaction coordinator moved", "active controller", "all lost power", "append refused by the state machine", "broker killed", "broker lost power", "broker paused", "clock jumped", "consumer asked an older leader", "consumer followed a leader", "consumer read", "consumer sought the end", "end not known yet",
	"controlled shutdown", "controller killed", "controllers all gone", "dial refused", "dial unanswered", "divergence told", "duplicate recognised", "everything killed", "fenced on proof of death", "follower truncated",
	"ISR change proposed", "leader began", "looked dead", "message delayed", "message lost on a cut link", "message outlived its sender", "metadata from a peer", "min ISR changed", "partition flushed", "partitioned", "peer's answer damaged", "peer of another cluster", "peer of another history", "peer with uncommitted metadata", "preferred leaders asked for",
	"produce refused under min ISR", "produce retried", "proposal lost", "raft election", "segment torn", "served from the last image", "zombie leader appended",
	"disk failed", "election that may lose data", "no log made by an unconfirmed image", "proposal outlived a replica", "proposed replica lost power", "second process refused",
}

// Add adds the counts of another run.
func (c Coverage) Add(other Coverage) {
	for name, n := range other {
		c[name] += n
	}
}

// Missing are the Events that never happened.
func (c Coverage) Missing() []string {
	var none []string
	for _, name := range Events {
		if c[name] == 0 {
			none = append(none, name)
		}
	}
	return none
}

// String is a table, one event a line.
func (c Coverage) String() string {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&out, "%12d  %s\n", c[name], name)
	}
	return out.String()
}

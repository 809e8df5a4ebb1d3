package migration

import (
	"fmt"
	"strings"
	"time"
)

// Clocks further apart than clockStops are a machine's that nobody keeps in time: its
// records would be kept too long or too short, tokens end at the wrong time, and the logs of
// two machines are not to be read side by side in a migration. Less than clockNotes is
// what a registration takes.
const (
	clockNotes = 2 * time.Second
	clockStops = 30 * time.Second
)

// checkClocks compares what each broker said the time was when it registered with what
// ZooKeeper's clock said. It needs no request: both are in the broker's node.
func checkClocks(f *Facts) []Finding {
	var notes, stops []string
	for _, b := range f.Snapshot.Brokers {
		if b.TimestampMs == 0 || b.CreatedMs == 0 {
			continue
		}
		off := time.Duration(b.TimestampMs-b.CreatedMs) * time.Millisecond
		text := fmt.Sprintf("broker %d's by %v", b.ID, off)
		switch {
		case off.Abs() >= clockStops:
			stops = append(stops, text)
		case off.Abs() >= clockNotes:
			notes = append(notes, text)
		}
	}
	const do = "set the clocks, and let something keep them in time; a broker that is restarted registers anew"
	var out []Finding
	if len(stops) > 0 {
		out = append(out, Finding{"clock", Blocker, "clocks differed from ZooKeeper's when the brokers registered: " + strings.Join(stops, ", "), do})
	}
	if len(notes) > 0 {
		out = append(out, Finding{"clock", Note, "clocks differed from ZooKeeper's when the brokers registered: " + strings.Join(notes, ", "), do})
	}
	return out
}

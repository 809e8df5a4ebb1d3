package core

import (
	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/protocol/errors"
)

// CountsFor reports whether a replica's high watermark says anything of what was
// appended to it in a leader epoch: only while it leads in that. Later its log may have
// been cut below that, and the records of another leader be committed in its place.
func CountsFor(appendedIn, current kafka.LeaderEpoch, leads bool) bool {
	return leads && CheckEpoch(current, appendedIn) == errors.None || planted.Is(planted.AnyHighWatermark)
}

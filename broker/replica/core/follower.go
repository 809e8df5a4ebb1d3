package core

import (
	"kvorum/internal/kafka"
	"kvorum/internal/planted"
)

// Follower is what a follower of a partition decides about its log: what it asks
// the leader for, and what it cuts off before it appends (KIP-595's truncation on
// fetch, as AbstractFetcherThread does it). It holds the leader epoch under which
// it fetches; the log's offsets and epochs come in as values, because the log is
// the truth about them.
//
// A Follower has one user at a time.
type Follower struct {
	epoch kafka.LeaderEpoch
	// stopped says that the leader knows a newer epoch: nothing is fetched until
	// the image has one as well.
	stopped bool
}

// NewFollower follows the leader of an epoch.
func NewFollower(epoch kafka.LeaderEpoch) *Follower { return &Follower{epoch: epoch} }

// Epoch is the leader epoch under which it fetches.
func (f *Follower) Epoch() kafka.LeaderEpoch { return f.epoch }

// Elected says that the image has a leader of another epoch; an older one
// changes nothing.
func (f *Follower) Elected(epoch kafka.LeaderEpoch) {
	if epoch > f.epoch {
		f.epoch, f.stopped = epoch, false
	}
}

// Position is the end of a follower's log.
type Position struct {
	End, HighWatermark kafka.Offset
	// LastEpoch is the epoch of the last record, kafka.NoEpoch in an empty log.
	LastEpoch kafka.LeaderEpoch
}

// Ask is what a follower asks its leader for.
type Ask struct {
	Offset kafka.Offset
	// LeaderEpoch is what it knows as the current one, LastEpoch that of its last
	// record.
	LeaderEpoch, LastEpoch kafka.LeaderEpoch
}

// Ask says what to fetch next; false: nothing, until the image has moved on.
func (f *Follower) Ask(at Position) (Ask, bool) {
	return Ask{Offset: at.End, LeaderEpoch: f.epoch, LastEpoch: at.LastEpoch}, !f.stopped
}

// Answer is what a leader says to an Ask.
type Answer struct {
	// Fenced: FENCED_LEADER_EPOCH. OutOfRange: OFFSET_OUT_OF_RANGE, with the
	// leader's log start and end as it was asked for them.
	Fenced, OutOfRange bool
	// Diverging is where the leader's log parts from the follower's; its epoch is
	// kafka.NoEpoch where it does not.
	Diverging kafka.EpochOffset
	// HighWatermark and LogStart are the leader's, LogEnd only with OutOfRange.
	HighWatermark, LogStart, LogEnd kafka.Offset
	// Records says that there are records.
	Records bool
}

// Deed is what a follower does to its log for an answer.
type Deed struct {
	// Truncate cuts the log and its leader epochs at To; Restart drops all of it
	// and begins at To.
	Truncate, Restart bool
	To                kafka.Offset
	// Append appends the answer's records, as far as their batches are of leader
	// epochs up to UpToEpoch: a later one comes from a leader that the answer's
	// sender was deposed by, and it may be cut off there again.
	Append    bool
	UpToEpoch kafka.LeaderEpoch
	// HighWatermark and LogStart are to be taken over, within the log.
	HighWatermark, LogStart kafka.Offset
}

// EpochEnd answers, from the follower's own log, for the largest leader epoch
// that is not above the one asked for, and where that ends; kafka.NoEpoch where
// the log does not reach back to it.
type EpochEnd func(kafka.LeaderEpoch) kafka.EpochOffset

// Take decides what to do with the answer to an Ask, for a log that is still as
// it was when it was asked. ok is false when nothing is to be done: the answer is
// to an older epoch's question, or the leader knows better.
func (f *Follower) Take(asked Ask, a Answer, at Position, ends EpochEnd) (d Deed, ok bool) {
	switch {
	case asked.LeaderEpoch != f.epoch || f.stopped || asked.Offset != at.End:
		return Deed{}, false
	case a.Fenced:
		f.stopped = true
		return Deed{}, false
	case a.OutOfRange:
		return outOfRange(a, at)
	case a.Diverging.Epoch != kafka.NoEpoch:
		// Also where it cuts off no record: a broker that led an epoch without
		// writing a record then forgets that epoch.
		to := truncation(a.Diverging, at, ends)
		if planted.Is(planted.CutToHighWatermark) {
			to = min(to, at.HighWatermark)
		} else if planted.Is(planted.NeverCut) {
			to = at.End
		}
		return Deed{Truncate: true, To: to, HighWatermark: min(at.HighWatermark, to), LogStart: kafka.NoOffset}, true
	default:
		return Deed{Append: a.Records, UpToEpoch: f.epoch, HighWatermark: a.HighWatermark, LogStart: a.LogStart}, true
	}
}

// outOfRange is what a follower does whose end is not in the leader's log. After
// an unclean election the leader's log may be shorter: then what it does not have
// goes. Where the leader has already deleted what comes next, the follower begins
// anew at the leader's start (AbstractFetcherThread.fetchOffsetAndTruncate).
func outOfRange(a Answer, at Position) (Deed, bool) {
	switch {
	case a.LogEnd < at.End:
		return Deed{Truncate: true, To: a.LogEnd, HighWatermark: min(at.HighWatermark, a.LogEnd), LogStart: kafka.NoOffset}, true
	case a.LogStart > at.End:
		return Deed{Restart: true, To: a.LogStart, HighWatermark: a.LogStart, LogStart: kafka.NoOffset}, true
	default:
		return Deed{}, false // it has come back into the range meanwhile
	}
}

// truncation finds where to cut (AbstractFetcherThread.getOffsetTruncationState).
// The leader has said the largest epoch that it has up to the follower's last
// one. Where the follower has that epoch too, both agree up to the smaller of its
// two ends. Where it has not, it goes back to the end of the largest epoch before
// it, and the next fetch finds out more.
func truncation(leader kafka.EpochOffset, at Position, ends EpochEnd) kafka.Offset {
	own := ends(leader.Epoch)
	switch {
	case planted.Is(planted.CutByLeaderOnly):
		return min(leader.Offset, at.End)
	case own.Epoch == kafka.NoEpoch:
		return min(leader.Offset, at.End)
	case own.Epoch != leader.Epoch:
		return min(own.Offset, at.End)
	default:
		return min(own.Offset, leader.Offset, at.End)
	}
}

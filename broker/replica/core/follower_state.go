package core

import (
	"kvorum/internal/kafka"
	"kvorum/internal/planted"
)

// follower is what a leader knows of another replica (Kafka's Replica and
// ReplicaState).
type follower struct {
	id         kafka.BrokerID
	registered kafka.BrokerEpoch // in the image
	active     bool              // in the image

	// epoch is the registration under which it fetched last.
	epoch kafka.BrokerEpoch
	// end and logStart are -1 until it has fetched from this leader: then nothing
	// is known to be on it, and the high watermark waits.
	end, logStart kafka.Offset
	// leaderEnd and fetchedAtMs are the leader's log end at the last fetch, and
	// that fetch's time: a follower that asks for what was the end then has been
	// caught up then.
	leaderEnd   kafka.Offset
	fetchedAtMs int64
	caughtUpMs  int64
}

func newFollower(id kafka.BrokerID) follower {
	return follower{id: id, epoch: kafka.NoBrokerEpoch, end: kafka.NoOffset, logStart: kafka.NoOffset, leaderEnd: kafka.NoOffset}
}

// assume gives a follower its time: a member of the ISR counts as caught up at
// the beginning of a leader epoch, or it would be thrown out before it could
// fetch (Replica.resetReplicaState). What it had in an older epoch says nothing:
// between two epochs of this leader there may have been another one's, by which it
// cut its log. (Kafka keeps it for a leader that does not see the epoch between.)
func (f *follower) assume(inISR bool, nowMs int64) {
	f.end, f.leaderEnd = kafka.NoOffset, kafka.NoOffset
	f.caughtUpMs = 0
	if inISR {
		f.caughtUpMs = nowMs
	}
}

// fetch records where a follower has got to (Replica.updateFetchStateOrThrow).
func (f *follower) fetch(e FollowerFetched, leaderEnd kafka.Offset) {
	switch {
	case e.Offset >= leaderEnd:
		f.caughtUpMs = max(f.caughtUpMs, e.NowMs)
	case f.leaderEnd >= 0 && e.Offset >= f.leaderEnd:
		f.caughtUpMs = max(f.caughtUpMs, f.fetchedAtMs)
	}
	f.end, f.logStart, f.epoch = e.Offset, e.LogStart, e.BrokerEpoch
	f.leaderEnd, f.fetchedAtMs = leaderEnd, e.NowMs
}

// caughtUp reports whether it has been at the log end within the allowed lag.
func (f *follower) caughtUp(leaderEnd kafka.Offset, nowMs, lagMaxMs int64) bool {
	return f.end == leaderEnd || nowMs-f.caughtUpMs <= lagMaxMs
}

// eligible reports whether the controller would take it into the ISR: its
// broker is active and it is the incarnation that fetched (KIP-841, KIP-903).
func (f *follower) eligible() bool {
	same := f.epoch == kafka.NoBrokerEpoch || f.epoch == f.registered || planted.Is(planted.IgnoreBrokerEpochs)
	return f.active && f.end >= 0 && same && f.registered != kafka.NoBrokerEpoch
}

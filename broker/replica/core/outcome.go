package core

import "kvorum/protocol/errors"

// Outcome is what became of a proposal as far as its answer tells.
type Outcome uint8

const (
	// Accepted: the controller holds it, or will; the image will show it.
	Accepted Outcome = iota
	// Refused: it was not and will not be applied.
	Refused
	// Superseded: the leader does not know the newest state. Whether an earlier
	// copy of the request was applied is not known until the image moves on.
	Superseded
	// Failed: it may be asked again.
	Failed
)

// OutcomeOf reads the code of a partition in an AlterPartition answer
// (Partition.handleAlterPartitionError). An unknown code may be asked again.
func OutcomeOf(code errors.Code) Outcome {
	switch code {
	case errors.None:
		return Accepted
	case errors.OperationNotAttempted, errors.IneligibleReplica:
		return Refused
	case errors.UnknownTopicOrPartition, errors.UnknownTopicID, errors.FencedLeaderEpoch, errors.InvalidUpdateVersion,
		errors.InvalidRequest, errors.NewLeaderElected:
		return Superseded
	default:
		return Failed
	}
}

// Withdrawn reports whether the proposal is over although no image will show it: it
// was refused, or nothing was changed. Whoever has made it durable forgets it, durably,
// before the leader is told. From then on the leader does not wait for the followers in
// it; one that is restarted and finds it again would propose them although they may not
// have what was committed meanwhile.
func (a Answered) Withdrawn() bool {
	return a.Outcome == Refused || a.Outcome == Accepted && a.PartitionEpoch <= a.Proposal.PartitionEpoch
}

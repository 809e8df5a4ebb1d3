package core

import (
	"testing"

	"kvorum/protocol/errors"
)

// TestOutcomeOf has a row for each code that a controller answers to
// AlterPartition, and for codes that it does not.
func TestOutcomeOf(t *testing.T) {
	for code, want := range map[errors.Code]Outcome{
		errors.None:                    Accepted,
		errors.OperationNotAttempted:   Refused,
		errors.IneligibleReplica:       Refused,
		errors.UnknownTopicOrPartition: Superseded,
		errors.UnknownTopicID:          Superseded,
		errors.FencedLeaderEpoch:       Superseded,
		errors.InvalidUpdateVersion:    Superseded,
		errors.InvalidRequest:          Superseded,
		errors.NewLeaderElected:        Superseded,
		errors.NotController:           Failed,
		errors.RequestTimedOut:         Failed,
		errors.UnknownServerError:      Failed,
		errors.Code(32000):             Failed,
	} {
		if got := OutcomeOf(code); got != want {
			t.Errorf("%v: outcome %d, want %d", code, got, want)
		}
	}
}

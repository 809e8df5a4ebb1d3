package storage

import (
	"errors"
	"slices"

	"kvorum/internal/kafka"
)

// AbortedTransactions are the aborted transactions that have records in a range
// of offsets, upTo exclusive.
func (l *Log) AbortedTransactions(from, upTo kafka.Offset) ([]AbortedTransaction, error) {
	for {
		if err := l.check(); err != nil {
			return nil, err
		}
		found, err := abortedIn(*l.segments.Load(), from, upTo)
		if errors.Is(err, errGone) {
			continue // a segment was replaced or deleted: look again
		}
		if err != nil {
			return nil, l.fail(err)
		}
		return found, nil
	}
}

// abortedIn looks in the indexes of segments. It is errGone where one is out of
// its log and its index was not read before.
func abortedIn(all []*segment, from, upTo kafka.Offset) ([]AbortedTransaction, error) {
	var found []AbortedTransaction
	for _, s := range all[max(floor(all, from), 0):] {
		list, err := s.aborted.all()
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			if a.Last >= from && a.First < upTo {
				found = append(found, a)
			}
			if a.LastStable >= upTo {
				return found, nil // later ones began after upTo
			}
		}
	}
	return found, nil
}

// aborted finds the aborted transactions that have records in the Slice, which
// was read from these segments for from to upTo. Where there are none in all of
// that, as almost always, the end of what was read need not be known.
func (s Slice) aborted(all []*segment, from, upTo kafka.Offset) ([]AbortedTransaction, error) {
	found, err := abortedIn(all, from, upTo)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	next, err := s.Next()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(a AbortedTransaction) bool { return a.First >= next }), nil
}

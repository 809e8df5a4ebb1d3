package storage

import "kvorum/internal/kafka"

// AbortedTransactions are the aborted transactions that have records in a range
// of offsets, upTo exclusive: what a response for readers of committed records
// has to name (UnifiedLog.collectAbortedTransactions).
func (l *Log) AbortedTransactions(from, upTo kafka.Offset) ([]AbortedTransaction, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	var found []AbortedTransaction
	all := *l.segments.Load()
	for _, s := range all[max(floor(all, from), 0):] {
		list, err := s.aborted.all()
		if err != nil {
			return nil, l.fail(err)
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

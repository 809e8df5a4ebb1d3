package storage

// Tuning is what of DirsOptions may change while the logs are open.
type Tuning struct {
	RecoveryThreads      int
	ProducerExpirationMs int64
	Cleaner              CleanerOptions
}

// Tune changes how the logs are kept, from now on: a compaction that runs ends by
// what it began with, but for its pace. Safe for concurrent use.
func (d *Dirs) Tune(t Tuning) {
	was := d.tuning.Swap(&t)
	if was.ProducerExpirationMs != t.ProducerExpirationMs {
		for _, e := range d.listAll(nil) { // one that is being opened asks for it then (openLog)
			if l := e.log.Load(); l != nil {
				l.SetProducerExpiration(t.ProducerExpirationMs)
			}
		}
	}
	signal(d.tuned)
}

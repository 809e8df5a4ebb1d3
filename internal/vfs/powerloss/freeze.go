//go:build linux

package powerloss

import (
	"math/rand/v2"
	"time"
)

// Freeze makes the disk freeze once in each span of three times longest, for a half to the
// whole of it: no fsync begins meanwhile, as on a disk that others write to, and writes
// go on in memory. All processes of a machine freeze at the same moments: they have one
// disk. It is called before the file system is used.
func (s *FS) Freeze(longest time.Duration) { s.longest = longest }

// thaw returns when an fsync may begin. It is called before anything of the fsync is
// done, so that what is written meanwhile is not taken for covered by it.
func (s *FS) thaw() {
	if s.longest > 0 {
		time.Sleep(untilThaw(s.longest, time.Now()))
	}
}

// untilThaw is how long the disk is frozen yet at a moment.
func untilThaw(longest time.Duration, now time.Time) time.Duration {
	span := now.UnixNano() / int64(3*longest)
	random := rand.New(rand.NewPCG(uint64(span), 5))
	begins := time.Unix(0, span*int64(3*longest)+random.Int64N(int64(2*longest)))
	ends := begins.Add(longest/2 + time.Duration(random.Int64N(int64(longest/2))))
	if now.Before(begins) {
		return 0
	}
	return max(0, ends.Sub(now))
}

package meter

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// firstBound is the upper bound of the first bucket: nothing that an operator
	// acts on is faster.
	firstBound = 64 * time.Microsecond
	// bounds is how many buckets there are below +Inf; each bound is twice the one
	// before it, the last 67 s.
	bounds = 21
)

// histogram counts times. Observing is two atomic additions, and the buckets are
// found without a search.
type histogram struct {
	buckets [bounds + 1]atomic.Uint64
	sumNs   atomic.Int64
}

func (h *histogram) observe(d time.Duration) {
	d = max(d, 0)
	i := bits.Len64(uint64(d / firstBound))
	h.buckets[min(i, bounds)].Add(1)
	h.sumNs.Add(int64(d))
}

// metric reads the histogram, in seconds.
func (h *histogram) metric(d *prometheus.Desc, labels ...string) prometheus.Metric {
	cumulative := make(map[float64]uint64, bounds)
	sum := time.Duration(h.sumNs.Load()).Seconds()
	var n uint64
	for i := range bounds {
		n += h.buckets[i].Load()
		cumulative[(firstBound << i).Seconds()] = n
	}
	n += h.buckets[bounds].Load()
	return prometheus.MustNewConstHistogram(d, n, sum, cumulative, labels...)
}

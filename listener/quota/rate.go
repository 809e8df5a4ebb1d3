package quota

import (
	"math"
	"time"
)

// Window says over what time a rate is measured: so many samples of one length.
type Window struct {
	Samples int           // quota.window.num, at least 1
	Length  time.Duration // quota.window.size.seconds
}

// DefaultWindow is Kafka's: 11 samples of a second, of which one is under way.
var DefaultWindow = Window{Samples: 11, Length: time.Second}

func (w Window) lengthMs() int64 { return w.Length.Milliseconds() }

// span is the time after which nothing of an event is left.
func (w Window) spanMs() int64 { return int64(w.Samples) * w.lengthMs() }

// rate is a sum over a window that slides by samples, as Rate and SampledStat of
// Apache Kafka reckon it. The zero value has no events.
type rate struct {
	samples []sample // at most Window.Samples+1: the oldest still overlaps
	current int
}

type sample struct {
	startMs, lastMs int64
	sum             float64
}

// record adds value. Time may stand still between two calls, and is taken as
// standing still where it goes back.
func (r *rate) record(w Window, value float64, nowMs int64) {
	if len(r.samples) == 0 {
		r.samples = append(r.samples, sample{startMs: nowMs, lastMs: nowMs})
	}
	if s := &r.samples[r.current]; nowMs-s.startMs >= w.lengthMs() {
		r.advance(w, nowMs)
	}
	s := &r.samples[r.current]
	s.sum += value
	s.lastMs = max(nowMs, s.lastMs)
}

// advance begins another sample, in the place of the oldest where there are as
// many as may be.
func (r *rate) advance(w Window, nowMs int64) {
	r.current = (r.current + 1) % (w.Samples + 1)
	fresh := sample{startMs: nowMs, lastMs: nowMs}
	if r.current >= len(r.samples) {
		r.samples = append(r.samples, fresh)
		return
	}
	r.samples[r.current] = fresh
}

// measure is the rate per second, and the time in ms over which it is taken: at
// least all samples but one, however few there are, so that the first events of
// a client do not look like a flood.
func (r *rate) measure(w Window, nowMs int64) (perSecond float64, windowMs int64) {
	if len(r.samples) == 0 {
		r.samples = append(r.samples, sample{startMs: nowMs, lastMs: nowMs})
	}
	sum, oldest := 0.0, int64(math.MaxInt64)
	for i := range r.samples {
		s := &r.samples[i]
		if nowMs-s.lastMs >= w.spanMs() {
			*s = sample{startMs: nowMs, lastMs: nowMs}
		}
		sum += s.sum
		oldest = min(oldest, s.startMs)
	}
	windowMs = max(nowMs-oldest, 0)
	if full, least := windowMs/w.lengthMs(), int64(w.Samples-1); full < least {
		windowMs += (least - full) * w.lengthMs()
	}
	windowMs = max(windowMs, 1)
	return sum * 1000 / float64(windowMs), windowMs
}

// throttle is how long a client must be silent until its rate is within bound
// again (QuotaUtils.throttleTime); 0 where it is.
func (r *rate) throttle(w Window, bound float64, nowMs int64) time.Duration {
	perSecond, windowMs := r.measure(w, nowMs)
	if perSecond <= bound {
		return 0
	}
	return milliseconds((perSecond - bound) / bound * float64(windowMs))
}

// idle reports whether nothing of the events is left at nowMs.
func (r *rate) idle(w Window, nowMs int64) bool {
	for i := range r.samples {
		if nowMs-r.samples[i].lastMs < w.spanMs() {
			return false
		}
	}
	return true
}

// milliseconds rounds, and stays within what a response can say.
func milliseconds(ms float64) time.Duration {
	if !(ms < math.MaxInt32) { // a bound of 0 makes it infinite
		return math.MaxInt32 * time.Millisecond
	}
	return time.Duration(math.Floor(ms+0.5)) * time.Millisecond
}

// bucket are the tokens of a client that spends them now and then in large sums
// (TokenBucket of Apache Kafka, KIP-599): it fills at bound tokens a second up to
// what a whole window brings, and may fall below nothing. The zero value is full.
type bucket struct {
	tokens    float64
	updatedMs int64
}

// refill brings the tokens up to nowMs.
func (b *bucket) refill(w Window, bound float64, nowMs int64) float64 {
	burst := bound * float64(w.Samples) * w.Length.Seconds()
	b.tokens = min(burst, b.tokens+bound*float64(max(nowMs-b.updatedMs, 0))/1000)
	b.updatedMs = max(nowMs, b.updatedMs)
	return b.tokens
}

// spend takes tokens, also more than there are.
func (b *bucket) spend(w Window, bound, tokens float64, nowMs int64) {
	b.refill(w, bound, nowMs)
	b.tokens = min(b.tokens-tokens, bound*float64(w.Samples)*w.Length.Seconds())
}

// throttle is the time until there are tokens again.
func (b *bucket) throttle(w Window, bound float64, nowMs int64) time.Duration {
	if b.refill(w, bound, nowMs) >= 0 {
		return 0
	}
	return milliseconds(-b.tokens / bound * 1000)
}

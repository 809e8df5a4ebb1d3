package listener

import (
	"context"
	"encoding/binary"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/listener/quota"
	"kvorum/protocol"
)

// Client quotas, as KafkaApis and RequestHandlerHelper enforce them: the bytes of
// a Produce request and the time that any request took are recorded here, those
// of a Fetch response by its handler (FetchMost, ThrottleFetch). The longest time
// of silence goes into the response and the connection is muted for it: nothing
// more of it is handled.

// keyFetch is the one request whose encoded body is known to begin with the
// throttle time.
const keyFetch protocol.Key = 1

// parked are the requests whose handlers wait for something: their time is not
// what they cost, so only reading and writing them is charged.
var parked = map[protocol.Key]bool{protocol.KeyProduce: true, keyFetch: true, 11: true /* JoinGroup */, 14: true /* SyncGroup */}

// FetchMost is the most bytes of records that a response to a consumer may have
// by its quota, math.MaxInt32 where it has none.
func (r *Request) FetchMost() int {
	most, ok := r.quotas.Most(quota.Fetch, r.Principal.Name, r.clientID())
	if !ok || most > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(most)
}

// ThrottleFetch records that a consumer is about to get so many bytes. If it
// returns a time, the consumer has had too much: the handler must answer without
// records, as if there were none yet, and the bytes do not count.
func (r *Request) ThrottleFetch(bytes int) time.Duration {
	now := time.Now()
	wait := r.quotas.Record(quota.Fetch, r.Principal.Name, r.clientID(), float64(bytes), now)
	if wait > 0 {
		r.quotas.Undo(quota.Fetch, r.Principal.Name, r.clientID(), float64(bytes), now)
	}
	r.Throttle(wait)
	return wait
}

// Mutate asks the controller mutation quota for partitions to be created or
// deleted; see quota.Quotas.Mutate. Where it is not allowed the answer is
// THROTTLING_QUOTA_EXCEEDED.
func (r *Request) Mutate(partitions int, strict bool) (allowed bool) {
	wait, allowed := r.quotas.Mutate(r.Principal.Name, r.clientID(), partitions, strict, time.Now())
	r.Throttle(wait)
	return allowed
}

// Throttle mutes the connection for at least so long once the request is
// answered, and tells the client so.
func (r *Request) Throttle(wait time.Duration) { r.throttle = max(r.throttle, wait) }

// Exempt frees a request from the request quota: those of other nodes, which
// must not be slowed (sendResponseExemptThrottle).
func (r *Request) Exempt() { r.exempt = true }

func (r *Request) clientID() string {
	if r.ClientID == nil {
		return ""
	}
	return *r.ClientID
}

// charge records what a request has used. handled is the time of its handler.
func (r *Request) charge(frameBytes int, handled time.Duration) {
	if r.quotas == nil {
		return
	}
	now := time.Now()
	if r.Key == protocol.KeyProduce {
		r.Throttle(r.quotas.Record(quota.Produce, r.Principal.Name, r.clientID(), float64(frameBytes), now))
	}
	if r.exempt {
		return
	}
	busy := handled
	if parked[r.Key] {
		busy = 0
	}
	r.Throttle(r.quotas.Record(quota.RequestTime, r.Principal.Name, r.clientID(), 100*busy.Seconds(), now))
}

// announce puts the throttle time into a response that has a place for it.
func (r *Request) announce(resp *Response) {
	ms := int32(min(r.throttle.Milliseconds(), math.MaxInt32))
	if ms == 0 {
		return
	}
	switch body := resp.body.(type) {
	case nil:
		if resp.raw != nil && r.Key == keyFetch && len(resp.raw.Bytes) >= 4 {
			binary.BigEndian.PutUint32(resp.raw.Bytes, uint32(ms))
		}
	case kmsg.SetThrottleResponse:
		body.SetThrottle(ms)
	}
}

// mute lets nothing more of the connection be handled for the time that its
// client must be silent, at most for as long as a connection may be idle. It ends
// with the connection, and when the listener drains.
func (c *conn) mute(ctx context.Context, wait time.Duration) {
	if wait = min(wait, c.l.cfg.IdleTimeout); wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-c.l.draining:
	}
}

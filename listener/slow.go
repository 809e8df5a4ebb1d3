package listener

import (
	"time"

	"kvorum/protocol"
)

// byWish are the requests whose handlers wait because the request says so: for
// records, or for the other members of a group. What their handlers do themselves
// is little beside it.
var byWish = map[protocol.Key]bool{keyFetch: true, 11: true /* JoinGroup */, 14: true /* SyncGroup */}

// slow writes a line about a request that took Config.SlowRequest or longer, so
// that an operator sees who waits for what. The time for which a handler was
// parked by the request's own will (a Fetch that waits for records, a JoinGroup
// for the other members) is no slowness and is not counted.
//
// The line says who asked for what, the time of each stage and the sizes; never
// anything of a body, which may be a secret. It goes through a gate, as everything
// that peers can cause to be logged.
func (c *conn) slow(r *Request, s *Served) {
	took := s.Total() - s.Parked
	if c.l.cfg.SlowRequest <= 0 || took < c.l.cfg.SlowRequest {
		return
	}
	c.l.slow.info(c.l.cfg.Log, "slow request", "api", s.Key.String(), "version", s.Version, "client_id", shortened(r.clientID()),
		"principal", r.Principal.String(), "client", r.Client, "conn", c.id, "correlation_id", r.CorrelationID, "took_ms", ms(took),
		"total_ms", ms(s.Total()), "queue_ms", ms(s.Waited), "local_ms", ms(s.Handled-s.Remote), "remote_ms", ms(s.Remote), "parked_ms", ms(s.Parked),
		"send_ms", ms(s.Wrote), "throttle_ms", ms(s.Throttled), "request_bytes", s.RequestBytes, "response_bytes", s.ResponseBytes)
}

// ms is a time in milliseconds with three digits behind the point.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// maxLoggedName is how much of a name that a peer has chosen goes into a line.
const maxLoggedName = 128

func shortened(name string) string {
	if len(name) <= maxLoggedName {
		return name
	}
	return name[:maxLoggedName] + "..."
}

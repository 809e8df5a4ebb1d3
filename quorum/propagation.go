package quorum

import (
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// A reply to a change waits until every unfenced broker knows the change. Two
// things tell how far a broker is. Its Fetches say what it has; it applies that
// on another thread, at some later time. A probe (ApiVersions) says what it has
// applied: Kafka's brokers put the offset of their metadata cache's image into
// finalized_features_epoch (KRaftMetadataCache.features). A broker that answers
// probes is waited for by their word, any other by the Fetch rule of stepFetched.

const (
	// minProbePauseMs and maxProbePauseMs are the least and the longest time from
	// an answer to the next probe of the same broker, while a reply waits for it.
	minProbePauseMs, maxProbePauseMs = 1, 10
	// brokersPerPauseMs makes the least pause longer in large clusters, so that all
	// probes together stay below some 16,000 a second.
	brokersPerPauseMs = 16
	// eagerProbes is how often a broker is tried that does not answer, eagerPauseMs
	// apart: Kafka's broker opens its listeners some time after it is unfenced.
	eagerProbes, eagerPauseMs = 50, 100
	// minBlindMs and maxBlindMs are how long it is left alone then: at first, and
	// after more failures.
	minBlindMs, maxBlindMs = 5_000, 60_000
	// maxLate is for how many waits in a row a broker may be behind what it has
	// fetched before its probes are taken for the word of somebody else, as of
	// another cluster's broker at the same address.
	maxLate = 3
)

// observedBroker is a registered broker and what its probes say.
type observedBroker struct {
	id       kafka.BrokerID
	epoch    kafka.BrokerEpoch
	unfenced bool // and it applies the log: only then replies wait for it
	// endpoints are those at which it can be probed, best first.
	endpoints []image.Endpoint

	answers  bool         // the newest probe was answered
	applied  kafka.Offset // the highest that an answer told, kafka.NoOffset before
	inFlight bool         // never more than one
	// overruled is true if what is in flight came too late to be believed.
	overruled bool
	dueMs     int64 // the next probe comes no sooner
	pauseMs   int64 // between the last answer and dueMs
	failures  int   // since it was last caught up
	noted     bool  // the log says that it does not answer
	late      int   // waits that ended without it, since then
	lateMs    int64 // when late was counted last
}

// endpoint is where the next probe goes: after a failure somewhere else.
func (b *observedBroker) endpoint() image.Endpoint { return b.endpoints[b.failures%len(b.endpoints)] }

// Security protocols as registrations name them (SecurityProtocol).
const (
	plaintext     = 0
	saslPlaintext = 2
)

// probeEndpoints are the endpoints of a broker that answer ApiVersions to
// whoever connects. PLAINTEXT comes first, since SASL_PLAINTEXT costs a
// connection for each answer; preferred, the inter-broker listener, before all.
func probeEndpoints(all []image.Endpoint, preferred string) []image.Endpoint {
	var out []image.Endpoint
	pick := func(want func(image.Endpoint) bool) {
		for _, e := range all {
			if want(e) {
				out = append(out, e)
			}
		}
	}
	pick(func(e image.Endpoint) bool {
		return e.Name == preferred && (e.SecurityProtocol == plaintext || e.SecurityProtocol == saslPlaintext)
	})
	pick(func(e image.Endpoint) bool { return e.Name != preferred && e.SecurityProtocol == plaintext })
	pick(func(e image.Endpoint) bool { return e.Name != preferred && e.SecurityProtocol == saslPlaintext })
	return out
}

// observedBrokers are the brokers of the committed image, by id.
type observedBrokers struct {
	list  []*observedBroker
	image *image.Image
	// preferred is the name of the listener to be probed, if brokers have it.
	preferred string
}

// changed follows the registrations. What is known of a broker ends with its
// broker epoch: the next process of that id begins at its own snapshot.
func (l *observedBrokers) changed(after *image.Image) {
	if l.image.SameBrokers(after) {
		return
	}
	l.image = after
	list := make([]*observedBroker, 0, len(l.list))
	for r := range after.Brokers() {
		b := l.find(r.ID, r.Epoch)
		if b == nil {
			b = &observedBroker{id: r.ID, epoch: r.Epoch, endpoints: probeEndpoints(r.Endpoints, l.preferred), applied: kafka.NoOffset}
		}
		// A broker in ZooKeeper mode follows control requests, not the log.
		b.unfenced = !r.Fenced && !r.IsMigratingZkBroker
		list = append(list, b)
	}
	l.list = list
}

// begin forgets what probes said: this controller has become active.
func (l *observedBrokers) begin() {
	for i, b := range l.list {
		l.list[i] = &observedBroker{id: b.id, epoch: b.epoch, unfenced: b.unfenced, endpoints: b.endpoints, applied: kafka.NoOffset}
	}
}

// find returns a broker's incarnation, nil if it is not registered.
func (l *observedBrokers) find(id kafka.BrokerID, epoch kafka.BrokerEpoch) *observedBroker {
	for _, b := range l.list {
		if b.id == id && b.epoch == epoch {
			return b
		}
	}
	return nil
}

// seenBy is the offset below which a broker counts as knowing the metadata. A
// broker has not applied what it has not fetched, whoever answers for it.
func (c *Core) seenBy(b *observedBroker) kafka.Offset {
	if b.id == c.local {
		return c.localEnd // it tells by itself (Applied)
	}
	p := c.replicas.progress[kafka.NodeID(b.id)]
	if b.answers {
		return min(b.applied+1, p.reached)
	}
	return p.passed
}

// seenByAll is the offset below which every unfenced broker knows the metadata;
// a broker that never fetched from this controller counts as 0. Without unfenced
// brokers there is nobody to wait for.
func (c *Core) seenByAll() kafka.Offset {
	lowest := kafka.Offset(1<<63 - 1)
	for _, b := range c.brokers.list {
		if b.unfenced {
			lowest = min(lowest, c.seenBy(b))
		}
	}
	return lowest
}

// wantsProbe says whether a broker is to be probed when its pause ends. A new
// one is, so that it is known whether it answers before a reply waits for it;
// later on only while a reply waits.
func (c *Core) wantsProbe(b *observedBroker) bool {
	switch {
	case !b.unfenced || b.inFlight || len(b.endpoints) == 0 || b.id == c.local:
		return false
	case b.answers:
		return c.parked.waitsBetween(b.applied+1, c.replicas.progress[kafka.NodeID(b.id)].reached)
	case b.failures < eagerProbes:
		return true
	}
	return len(c.parked.propagating) > 0
}

// probe asks for the probes that are due.
func (c *Core) probe() {
	if !c.probes() {
		return
	}
	for _, b := range c.brokers.list {
		if c.now >= b.dueMs && c.wantsProbe(b) {
			b.inFlight = true
			c.out.Probes = append(c.out.Probes, Probe{Broker: b.id, Epoch: b.epoch, Leader: c.epoch, Endpoint: b.endpoint()})
		}
	}
}

// probes says whether this core has brokers probed.
func (c *Core) probes() bool { return c.role == active && c.cfg.PropagationWaitMs > 0 }

// unprobed counts the brokers that go by their Fetches for want of an answer.
func (c *Core) unprobed() (n int) {
	if !c.probes() {
		return 0
	}
	for _, b := range c.brokers.list {
		if b.unfenced && !b.answers && b.id != c.local {
			n++
		}
	}
	return n
}

// nextProbe is when probe has something to do, 0 if only an event can tell.
func (c *Core) nextProbe() (next int64) {
	if !c.probes() {
		return 0
	}
	for _, b := range c.brokers.list {
		if (next == 0 || b.dueMs < next) && c.wantsProbe(b) {
			next = b.dueMs
		}
	}
	return next
}

// stepProbed learns the outcome of a probe.
func (c *Core) stepProbed(ev Probed) {
	b := c.brokers.find(ev.Broker, ev.Epoch)
	if b == nil || c.role != active || ev.Leader != c.epoch {
		return // of a broker or of a time that is over
	}
	b.inFlight = false
	if b.overruled {
		b.overruled = false
		return
	}
	if ev.Problem != "" {
		c.probeFailed(b, ev.Problem)
		return
	}
	reached := c.replicas.progress[kafka.NodeID(b.id)].reached
	if ev.Applied < c.end() { // else this loop has not read as far, and asks again
		if b.noted {
			c.note(false, "broker %d tells again which metadata it has applied", b.id)
		}
		c.changed = c.changed || !b.answers
		b.answers, b.noted, b.applied = true, false, max(b.applied, ev.Applied)
		if b.applied+1 >= reached {
			b.failures, b.late = 0, 0
		}
	}
	least := minProbePauseMs + int64(len(c.brokers.list))/brokersPerPauseMs
	if c.parked.waitsBetween(b.applied+1, reached) {
		b.pauseMs = min(max(2*b.pauseMs, least), max(maxProbePauseMs, least))
	} else {
		b.pauseMs = least
	}
	b.dueMs = c.now + b.pauseMs
}

// probeFailed goes back to the Fetch rule for a broker. It is tried for some
// seconds, at its other endpoints too, and then only now and then.
func (c *Core) probeFailed(b *observedBroker, why string) {
	b.failures++
	if !b.noted && (b.answers || b.failures >= eagerProbes) {
		b.noted = true
		c.note(false, "broker %d does not tell which metadata it has applied (%s): replies go by its Fetches", b.id, why)
	}
	c.changed = c.changed || b.answers
	b.answers = false
	b.dueMs = c.now + eagerPauseMs
	if late := b.failures - eagerProbes; late >= 0 {
		b.dueMs = c.now + min(maxBlindMs, int64(minBlindMs)<<min(late, 4))
	}
}

// noteLate counts the brokers without which a reply for need was given, though
// they have fetched what it waits for.
func (c *Core) noteLate(need kafka.Offset) {
	for _, b := range c.brokers.list {
		if !b.unfenced || !b.answers || b.applied+1 >= need || c.replicas.progress[kafka.NodeID(b.id)].reached < need || c.now < b.lateMs+c.cfg.PropagationWaitMs {
			continue // the replies of one wait count once
		}
		b.late, b.lateMs = b.late+1, c.now
		if b.late >= maxLate {
			b.overruled, b.failures = b.inFlight, max(b.failures, eagerProbes)
			c.probeFailed(b, "it stays behind what it has fetched")
		}
	}
}

package replica

import (
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
)

// session is a fetcher's side of a fetch session (FetchSessionHandler): what the
// leader remembers of the partitions, so that a fetch names only those that want
// something else, and an idle one none. It belongs to the fetcher's loop.
type session struct {
	id    int32
	epoch int32 // of the next fetch; 0 begins a session in place of id
	size  int   // lanes that the leader is to remember
	// changed are the lanes that may want something else than the session holds.
	changed []*lane
	// forgotten are partitions that the leader remembers and shall not.
	forgotten map[partitionKey]struct{}

	// req and topics are of the request that is being made, and are used again.
	req    kmsg.FetchRequest
	topics map[kafka.TopicID]int
}

func newSession() session {
	return session{forgotten: map[partitionKey]struct{}{}, topics: map[kafka.TopicID]int{}}
}

// touch notes that a lane may want something else.
func (s *session) touch(l *lane) {
	if !l.changed {
		l.changed = true
		s.changed = append(s.changed, l)
	}
}

// forget takes a lane out of the session.
func (s *session) forget(key partitionKey, l *lane) {
	if l.inSession {
		l.inSession = false
		s.size--
		s.forgotten[key] = struct{}{}
	}
}

// reset begins another session with the next fetch.
func (s *session) reset(lanes map[partitionKey]*lane) {
	s.epoch, s.size = 0, 0
	clear(s.forgotten)
	for _, l := range lanes {
		l.inSession = false
		s.touch(l)
	}
}

// answered notes that the leader has taken a fetch.
func (s *session) answered(id int32, lanes map[partitionKey]*lane) {
	switch {
	case id == 0: // it has no room for a session
		s.id = 0
		s.reset(lanes)
	case s.epoch == math.MaxInt32:
		s.epoch = 1
	default:
		s.id = id
		s.epoch++
	}
	clear(s.forgotten)
}

// request makes the next fetch; nil if there is nothing to ask for. wait is how
// long the leader may keep it, or how long there is nothing to ask for: until
// the first resting partition may be asked about again.
func (f *fetcher) request(epoch kafka.BrokerEpoch) (req *kmsg.FetchRequest, wait time.Duration) {
	s, rules := &f.session, &f.ps.rules
	req = &s.req
	req.ReplicaID, req.ReplicaState.ID, req.ReplicaState.Epoch = int32(f.ps.self), int32(f.ps.self), int64(epoch)
	req.MinBytes, req.MaxBytes = rules.MinBytes, rules.AnswerBytes
	req.Topics, req.ForgottenTopics = req.Topics[:0], req.ForgottenTopics[:0]
	clear(s.topics)
	for _, l := range s.changed {
		l.changed = false
		f.nameIn(req, l)
	}
	s.changed = s.changed[:0]
	if wait = f.nextRest(rules.MaxWait); s.size == 0 {
		s.reset(nil)
		return nil, wait
	}
	for key := range s.forgotten {
		t := kmsg.NewFetchRequestForgottenTopic()
		t.TopicID, t.Partitions = key.topic, []int32{int32(key.partition)}
		req.ForgottenTopics = append(req.ForgottenTopics, t)
	}
	if s.epoch == 0 {
		req.ForgottenTopics = nil
	}
	req.SessionID, req.SessionEpoch = s.id, s.epoch
	req.MaxWaitMillis = int32(wait.Milliseconds())
	return req, wait
}

// nameIn puts a lane into a fetch if it wants something else than the session
// holds, and takes it out of the session if it wants nothing.
func (f *fetcher) nameIn(req *kmsg.FetchRequest, l *lane) {
	s, key := &f.session, l.key()
	if f.lanes[key] != l || !l.restTo.IsZero() {
		return
	}
	q, ok := l.partition.asks()
	if !ok {
		s.forget(key, l)
		return
	}
	if wait := f.heldBack(l); wait > 0 {
		f.restFor(l, wait)
		return
	}
	if l.inSession && q == l.asked {
		return
	}
	if !l.inSession {
		s.size++
	}
	l.asked, l.inSession = q, true
	delete(s.forgotten, key)
	at, ok := s.topics[key.topic]
	if !ok {
		at = len(req.Topics)
		s.topics[key.topic] = at
		if at < cap(req.Topics) {
			req.Topics = req.Topics[:at+1]
		} else {
			req.Topics = append(req.Topics, kmsg.NewFetchRequestTopic())
		}
		t := &req.Topics[at]
		t.Topic, t.TopicID, t.Partitions = l.partition.name.Topic, key.topic, t.Partitions[:0]
	}
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.PartitionMaxBytes = int32(key.partition), f.ps.rules.MaxBytes
	p.FetchOffset, p.LogStartOffset = int64(q.Offset), int64(q.logStart)
	p.CurrentLeaderEpoch, p.LastFetchedEpoch = int32(q.LeaderEpoch), int32(q.LastEpoch)
	req.Topics[at].Partitions = append(req.Topics[at].Partitions, p)
}

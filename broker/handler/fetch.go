package handler

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/replica"
	"kvorum/broker/storage"
	"kvorum/internal/kafka"
	"kvorum/listener"
	"kvorum/protocol"
	"kvorum/protocol/errors"
)

// Fetch (key 1, versions 4 to 18; KafkaApis.handleFetchRequest).
//
// It waits until there are MinBytes, an error to tell, or the request's time is
// up. v5 adds log starts, v7 sessions (KIP-227: fetchsession.go), v9 leader
// epochs, v11 racks: a consumer may
// be sent to a replica in its own (KIP-392), and read from any, v12 tells a reader
// where its log diverges, v13 names topics by id, v15 followers say their
// broker epoch, v16 says who leads instead and where (KIP-951). Brokers see up
// to the log end, read_committed consumers up to the last stable offset, others
// up to the high watermark.
func (h *Handlers) fetch(ctx context.Context, c *call) (listener.Response, error) {
	req := c.Body.(*kmsg.FetchRequest)
	plan, code := h.sessions.begin(req, h.steady.Ms(h.cfg.Clock.Now()))
	if code != errors.None {
		res := req.ResponseKind().(*kmsg.FetchResponse)
		res.ErrorCode, res.Topics = int16(code), []kmsg.FetchResponseTopic{}
		return listener.Reply(res), nil
	}
	f := fetching{call: c, req: req, plan: plan, res: req.ResponseKind().(*kmsg.FetchResponse)}
	f.collect()
	if len(f.in) > 0 {
		f.results = h.cfg.Replicas.Fetch(ctx, f.options(), f.in, f.results)
	}
	if f.throttled() {
		replica.ReleaseAll(f.results)
		f.results = nil
		f.answerNothing()
	} else {
		f.answer()
	}
	body := new(protocol.Body)
	protocol.AppendFetch(body, f.res, f.records)
	return listener.RawReply(body, func() { replica.ReleaseAll(f.results) }).Of(f.res), nil
}

// follower is the broker that fetches, negative for a client.
func follower(req *kmsg.FetchRequest) int32 {
	if req.Version >= 15 {
		return req.ReplicaState.ID
	}
	return req.ReplicaID
}

// fetching is one Fetch under way.
type fetching struct {
	*call
	req  *kmsg.FetchRequest
	plan fetchContext
	res  *kmsg.FetchResponse
	// records are those of the response's partitions, in their order; they stay in
	// their files until the listener sends them.
	records []protocol.Source

	in      []replica.FetchPartition
	of      []*fetched // aligned with in
	results []replica.FetchResult
	refused []refusal
}

// refusal is a partition that is not even read.
type refusal struct {
	of   *fetched
	code errors.Code
}

func (f *fetching) options() replica.FetchOptions {
	o := replica.FetchOptions{
		Replica: replica.Consumer, BrokerEpoch: kafka.NoBrokerEpoch, Isolation: replica.Isolation(f.req.IsolationLevel),
		MaxBytes: min(int(f.req.MaxBytes), f.cfg.Broker.FetchMaxBytes),
		MaxWait:  time.Duration(max(0, f.req.MaxWaitMillis)) * time.Millisecond,
	}
	if id := follower(f.req); id >= 0 {
		o.Replica, o.BrokerEpoch = kafka.BrokerID(id), kafka.BrokerEpoch(f.req.ReplicaState.Epoch)
	}
	if o.Replica == replica.Consumer {
		o.Anywhere, o.Rack, o.Listener = f.req.Version >= 11, f.req.Rack, f.Listener
		o.MaxBytes = min(o.MaxBytes, f.FetchMost())
	}
	o.MinBytes = min(int(f.req.MinBytes), o.MaxBytes)
	return o
}

// throttled charges a consumer for what it is about to get. If it has had too much
// it gets nothing now, is told for how long to be silent, and asks again. Other
// brokers are not held up, neither by this nor by the request quota.
func (f *fetching) throttled() bool {
	if follower(f.req) >= 0 {
		f.Exempt()
		return false
	}
	bytes := 0
	for i := range f.results {
		bytes += f.results[i].Records.Len()
	}
	return f.ThrottleFetch(bytes) > 0
}

// answerNothing is the response without partitions; the session stays as it is,
// and one that was just begun is not told of, so that the next request begins
// another (FetchContext.getThrottledResponse).
func (f *fetching) answerNothing() {
	f.res.Topics = []kmsg.FetchResponseTopic{}
	s := f.plan.session
	if s == nil || !f.plan.incremental {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != f.plan.epoch {
		f.res.ErrorCode = int16(errors.InvalidFetchSessionEpoch)
		return
	}
	f.res.SessionID = s.id
}

// collect finds what is to be read and refuses the rest.
func (f *fetching) collect() {
	f.in, f.of = make([]replica.FetchPartition, 0, len(f.plan.parts)), make([]*fetched, 0, len(f.plan.parts))
	isFollower := follower(f.req) >= 0
	denied := isFollower && !f.mayCluster(kmsg.ACLOperationClusterAction)
	for _, p := range f.plan.parts {
		in := p.want
		if !p.key.id.IsZero() {
			t := f.image.Topic(p.key.id)
			if t == nil {
				f.refused = append(f.refused, refusal{p, errors.UnknownTopicID})
				continue
			}
			in.Topic = t.Name
		}
		switch {
		case denied, !isFollower && !f.mayTopic(kmsg.ACLOperationRead, in.Topic):
			f.refused = append(f.refused, refusal{p, errors.TopicAuthorizationFailed})
		default:
			f.in, f.of = append(f.in, in), append(f.of, p)
		}
	}
}

// answer writes the response. Where the session has been used by another request
// meanwhile, it says so and nothing else.
func (f *fetching) answer() {
	f.res.Topics = []kmsg.FetchResponseTopic{}
	s := f.plan.session
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if f.plan.incremental && s.epoch != f.plan.epoch {
			f.res.ErrorCode = int16(errors.InvalidFetchSessionEpoch)
			return
		}
		f.res.SessionID = s.id
	}
	for i := range f.results {
		f.count(&f.in[i], &f.results[i])
		f.put(f.of[i], f.partition(&f.in[i], &f.results[i]), &f.results[i].Records)
	}
	for _, r := range f.refused {
		f.put(r.of, emptyPartition(r.of.key.partition, r.code), nil)
	}
}

// count counts a partition's read for its topic. Bytes that followers get are
// counted by replica, for all topics together.
func (f *fetching) count(in *replica.FetchPartition, r *replica.FetchResult) {
	if r.Err != nil {
		if code := errors.CodeOf(r.Err); code == errors.UnknownTopicOrPartition || code == errors.UnknownTopicID {
			return
		}
	}
	t := f.topics.of(in.Topic, f.image)
	t.FetchRequests.Add(1)
	switch {
	case r.Err != nil:
		t.FailedFetchRequests.Add(1)
	case follower(f.req) < 0:
		t.BytesOut.Add(int64(r.Records.Len()))
	}
}

// put adds a partition to the response, unless it is no news to the session.
func (f *fetching) put(of *fetched, p kmsg.FetchResponseTopicPartition, records *storage.Slice) {
	bytes := 0
	if records != nil {
		bytes = records.Len()
	}
	if s := f.plan.session; s != nil && !s.news(of, &p, bytes) && f.plan.incremental {
		return
	}
	var source protocol.Source
	if bytes > 0 {
		source = records
	}
	f.records = append(f.records, source)
	n := len(f.res.Topics)
	if n == 0 || f.res.Topics[n-1].Topic != of.key.topic || f.res.Topics[n-1].TopicID != of.key.id {
		f.res.Topics = append(f.res.Topics, kmsg.FetchResponseTopic{Topic: of.key.topic, TopicID: of.key.id})
		n++
	}
	t := &f.res.Topics[n-1]
	t.Partitions = append(t.Partitions, p)
}

func emptyPartition(id kafka.PartitionID, code errors.Code) kmsg.FetchResponseTopicPartition {
	p := kmsg.NewFetchResponseTopicPartition()
	p.Partition, p.ErrorCode = int32(id), int16(code)
	p.HighWatermark, p.LastStableOffset, p.LogStartOffset, p.PreferredReadReplica = -1, -1, -1, -1
	switch code {
	case errors.UnknownTopicID, errors.UnknownTopicOrPartition, errors.TopicAuthorizationFailed:
		// What Apache's handler refuses itself has no transactions rather than null.
		p.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
	}
	return p
}

// partition is what was read of one partition, without the records.
func (f *fetching) partition(in *replica.FetchPartition, r *replica.FetchResult) kmsg.FetchResponseTopicPartition {
	if r.Err != nil {
		p := emptyPartition(in.Partition, errors.CodeOf(r.Err))
		f.pointTo(&p, r.Leader)
		return p
	}
	p := emptyPartition(in.Partition, errors.None)
	p.HighWatermark, p.LastStableOffset, p.LogStartOffset = int64(r.HighWatermark), int64(r.LastStable), int64(r.LogStart)
	p.PreferredReadReplica = int32(r.Preferred)
	if r.Diverging.Epoch != kafka.NoEpoch {
		p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = int32(r.Diverging.Epoch), int64(r.Diverging.Offset)
	}
	if f.req.IsolationLevel == int8(replica.ReadCommitted) && follower(f.req) < 0 {
		p.AbortedTransactions = make([]kmsg.FetchResponseTopicPartitionAbortedTransaction, 0, len(r.Aborted))
		for _, a := range r.Aborted {
			p.AbortedTransactions = append(p.AbortedTransactions, kmsg.FetchResponseTopicPartitionAbortedTransaction{ProducerID: int64(a.Producer), FirstOffset: int64(a.First)})
		}
	}
	return p
}

// pointTo says who leads, from v16 on.
func (f *fetching) pointTo(p *kmsg.FetchResponseTopicPartition, leader replica.CurrentLeader) {
	code := errors.Code(p.ErrorCode)
	if f.req.Version < 16 || code != errors.NotLeaderOrFollower && code != errors.FencedLeaderEpoch {
		return
	}
	p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = int32(leader.ID), int32(leader.Epoch)
	b, e, ok := f.alive(leader.ID)
	if !ok {
		return
	}
	for i := range f.res.Brokers {
		if f.res.Brokers[i].NodeID == int32(b.ID) {
			return
		}
	}
	f.res.Brokers = append(f.res.Brokers, kmsg.FetchResponseBroker{NodeID: int32(b.ID), Host: e.Host, Port: int32(e.Port), Rack: b.Rack})
}

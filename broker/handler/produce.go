package handler

import (
	"context"
	stderrors "errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/replica"
	"kvorum/internal/kafka"
	"kvorum/listener"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// adminClient is the client id that may write to internal topics
// (AdminUtils.ADMIN_CLIENT_ID).
const adminClient = "__admin_client"

// Produce (key 0, versions 3 to 13; KafkaApis.handleProduceRequest).
//
// Each partition is taken or refused on its own. acks -1 waits for the in-sync
// replicas up to the request's timeout, acks 1 for the leader alone. With acks 0
// there is no answer; after an error the connection is closed, so that the
// client looks for another leader. v5 adds the log start, v8 records' errors,
// v10 says who leads instead and where, v13 names topics by id. Before v7 zstd
// is refused. Transactions are not served: none is ever open, and batches of one
// are INVALID_TXN_STATE.
func (h *Handlers) produce(ctx context.Context, c *call) (listener.Response, error) {
	req := c.Body.(*kmsg.ProduceRequest)
	p := producing{call: c, req: req, res: req.ResponseKind().(*kmsg.ProduceResponse)}
	p.collect()
	p.results = h.cfg.Replicas.Produce(ctx, p.options(), p.in, p.results)
	if len(p.results) > 0 {
		c.Waited(p.results[0].Waited)
	}
	err := p.answer()
	switch {
	case req.Acks != 0:
		return listener.Reply(p.res), nil
	case err != nil:
		return listener.Response{}, fmt.Errorf("produce with acks=0: %w", err)
	default:
		return listener.NoReply(), nil
	}
}

// producing is one Produce under way. The response is laid out first, in the
// order of the request; at says which of its partitions each append is for.
type producing struct {
	*call
	req     *kmsg.ProduceRequest
	res     *kmsg.ProduceResponse
	in      []replica.ProducePartition
	at      []*kmsg.ProduceResponseTopicPartition
	results []replica.ProduceResult
	refused error // of what is not even tried
}

func (p *producing) options() replica.ProduceOptions {
	return replica.ProduceOptions{
		Acks: p.req.Acks, Timeout: time.Duration(max(0, p.req.TimeoutMillis)) * time.Millisecond,
		InternalTopics: p.ClientID != nil && *p.ClientID == adminClient,
		NowMs:          p.cfg.Clock.Now().UnixMilli(),
	}
}

// collect finds what is to be appended and refuses the rest.
func (p *producing) collect() {
	p.res.Topics = make([]kmsg.ProduceResponseTopic, len(p.req.Topics))
	for i := range p.req.Topics {
		asked, out := &p.req.Topics[i], &p.res.Topics[i]
		out.Topic, out.TopicID = asked.Topic, asked.TopicID
		out.Partitions = make([]kmsg.ProduceResponseTopicPartition, len(asked.Partitions))
		name, refused := p.topic(asked)
		for j := range asked.Partitions {
			err, unless := refused, error(nil)
			in, to := &asked.Partitions[j], &out.Partitions[j]
			to.Default()
			to.Partition, to.BaseOffset = in.Partition, -1
			if refused == nil {
				unless, err = p.check(in.Records)
			}
			if err != nil {
				p.refused = err
				to.ErrorCode = int16(errors.CodeOf(err)) // without a text, as Apache
				continue
			}
			p.in = append(p.in, replica.ProducePartition{
				TopicPartition: kafka.TopicPartition{Topic: name, Partition: kafka.PartitionID(in.Partition)},
				TopicID:        asked.TopicID, Records: in.Records, Refusal: unless,
			})
			p.at = append(p.at, to)
		}
	}
}

// topic is the topic's name, or why nothing can be written to it.
func (p *producing) topic(asked *kmsg.ProduceRequestTopic) (string, error) {
	name := asked.Topic
	if p.req.Version >= 13 {
		t := p.image.Topic(asked.TopicID)
		if t == nil {
			return "", errors.UnknownTopicID.Err()
		}
		name = t.Name
	}
	if !p.mayTopic(kmsg.ACLOperationWrite, name) {
		return "", errors.TopicAuthorizationFailed.Err()
	}
	return name, nil
}

// check refuses what is not one batch of format v2; what is in it the log
// validates. Records of transactions are refused by their leader: Apache, too, looks
// whether it leads before it looks for the transaction.
func (p *producing) check(records []byte) (byLeader, err error) {
	v, err := batch.SingleBatch(records, p.req.Version)
	if err == nil && v.Transactional() {
		byLeader = errors.InvalidTxnState.Err()
	}
	return byLeader, err
}

// answer fills in what became of the appends; the error is one of theirs, if one
// failed.
func (p *producing) answer() (failed error) {
	failed = p.refused
	for i := range p.results {
		r, to := &p.results[i], p.at[i]
		p.count(&p.in[i], r)
		if r.Err == nil {
			to.BaseOffset, to.LogAppendTime, to.LogStartOffset = int64(r.First), r.LogAppendTimeMs, int64(r.LogStart)
			continue
		}
		failed = r.Err
		p.fail(to, r.Err)
		if to.ErrorRecords != nil {
			to.LogStartOffset = p.logStart(p.in[i].TopicPartition)
		}
		if errors.CodeOf(r.Err) == errors.NotLeaderOrFollower {
			p.pointTo(to, r.Leader)
		}
	}
	return failed
}

// count counts a partition's append for its topic. What this broker does not host
// has no counters; what merely was not acknowledged in time is in the log.
func (p *producing) count(in *replica.ProducePartition, r *replica.ProduceResult) {
	code := errors.None
	if r.Err != nil {
		code = errors.CodeOf(r.Err)
	}
	if code == errors.UnknownTopicOrPartition || code == errors.UnknownTopicID || code == errors.InvalidTopicException {
		return
	}
	t := p.topics.of(in.Topic, p.image)
	t.ProduceRequests.Add(1)
	switch code {
	case errors.None, errors.RequestTimedOut, errors.NotEnoughReplicasAfterAppend:
		t.BytesIn.Add(int64(len(in.Records)))
		if !r.Duplicate && code == errors.None {
			t.MessagesIn.Add(int64(r.Last - r.First + 1))
		}
	case errors.MessageTooLarge, errors.RecordListTooLarge:
		t.BytesRejected.Add(int64(len(in.Records)))
		t.FailedProduceRequests.Add(1)
	default:
		t.FailedProduceRequests.Add(1)
	}
}

// fail says why records were not taken. Texts come with refused batches only, as
// Apache has it.
func (p *producing) fail(to *kmsg.ProduceResponseTopicPartition, err error) {
	code, text := errors.From(err)
	to.ErrorCode = int16(code)
	var refusal *batch.Refusal
	if !stderrors.As(err, &refusal) {
		return
	}
	if code == errors.InvalidRecord || code == errors.InvalidTimestamp {
		to.ErrorMessage = text // Apache tells no other
	}
	for _, r := range refusal.Records {
		to.ErrorRecords = append(to.ErrorRecords, kmsg.ProduceResponseTopicPartitionErrorRecord{RelativeOffset: r.Index, ErrorMessage: &r.Message})
	}
}

// logStart is where the log of a partition begins, -1 if it is gone.
func (p *producing) logStart(tp kafka.TopicPartition) int64 {
	found, err := p.cfg.Replicas.Lookup(tp)
	if err != nil {
		return int64(kafka.NoOffset)
	}
	return int64(found.Log().LogStart())
}

// pointTo says who leads, from v10 on (KIP-951).
func (p *producing) pointTo(to *kmsg.ProduceResponseTopicPartition, leader replica.CurrentLeader) {
	if p.req.Version < 10 {
		return
	}
	to.CurrentLeader.LeaderID, to.CurrentLeader.LeaderEpoch = int32(leader.ID), int32(leader.Epoch)
	b, e, ok := p.alive(leader.ID)
	if !ok {
		return
	}
	for i := range p.res.Brokers {
		if p.res.Brokers[i].NodeID == int32(b.ID) {
			return
		}
	}
	p.res.Brokers = append(p.res.Brokers, kmsg.ProduceResponseBroker{NodeID: int32(b.ID), Host: e.Host, Port: int32(e.Port), Rack: b.Rack})
}

package replica

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// source is a broker that leads: the test answers each request itself.
type source struct {
	t        *testing.T
	w        *world
	dialed   chan string
	requests chan kmsg.Request
	answers  chan kmsg.Response
	dialing  func() // if not nil, is called once, during the first Dial
}

// follows lets a world's fetchers reach a source.
func (w *world) follows(t *testing.T) *source {
	s := &source{t: t, w: w, dialed: make(chan string, 100), requests: make(chan kmsg.Request), answers: make(chan kmsg.Response)}
	w.ps.peers = s
	w.ps.rules = FetchRules{Fetchers: 1, MaxBytes: 1 << 20, AnswerBytes: 10 << 20, MinBytes: 1, MaxWait: 500 * time.Millisecond, Backoff: 50 * time.Millisecond, Timeout: patience}
	w.publish(&record.RegisterBrokerRecord{BrokerID: other, BrokerEpoch: epochOf(other), IncarnationID: kafka.UUID{2},
		EndPoints: []record.Endpoint{{Name: "INTERNAL", Host: "broker2", Port: 9092}}})
	w.run()
	return s
}

func (s *source) Endpoint() string { return "INTERNAL" }

func (s *source) Dial(_ context.Context, address string) (Link, error) {
	if f := s.dialing; f != nil {
		s.dialing = nil
		f()
	}
	s.dialed <- address
	return s, nil
}

func (s *source) Close() {}

func (s *source) Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	select {
	case s.requests <- sent(req):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case resp := <-s.answers:
		return resp, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// sent is a request as its receiver has it: the fetcher uses its own again.
func sent(req kmsg.Request) kmsg.Request {
	fetch, ok := req.(*kmsg.FetchRequest)
	if !ok {
		return req
	}
	fetch.SetVersion(17)
	out := kmsg.NewPtrFetchRequest()
	out.SetVersion(17)
	if err := out.ReadFrom(fetch.AppendTo(nil)); err != nil {
		panic(err)
	}
	return out
}

// next is the next fetch.
func (s *source) next() *kmsg.FetchRequest {
	s.t.Helper()
	select {
	case req := <-s.requests:
		return req.(*kmsg.FetchRequest)
	case <-time.After(patience):
		s.t.Fatal("nothing is fetched")
		return nil
	}
}

// asks is the next fetch, which is of one partition.
func (s *source) asks() (*kmsg.FetchRequest, kmsg.FetchRequestTopicPartition) {
	s.t.Helper()
	req := s.next()
	if len(req.Topics) != 1 || len(req.Topics[0].Partitions) != 1 {
		s.t.Fatalf("asked %+v", req)
	}
	return req, req.Topics[0].Partitions[0]
}

// tell answers a fetch in session 7; change is made to the answer of partition 0
// of the topic, and no change leaves the partition out.
func (s *source) tell(name string, change func(*kmsg.FetchResponseTopicPartition)) {
	resp := kmsg.NewPtrFetchResponse()
	resp.Version, resp.SessionID = 17, 7
	if change != nil {
		p := kmsg.NewFetchResponseTopicPartition()
		p.HighWatermark, p.LogStartOffset, p.DivergingEpoch.Epoch = 0, 0, -1
		change(&p)
		resp.Topics = append(resp.Topics, kmsg.FetchResponseTopic{TopicID: topicID(name), Partitions: []kmsg.FetchResponseTopicPartition{p}})
	}
	s.answers <- resp
}

// batchAt is a leader's batch of n records.
func batchAt(offset kafka.Offset, epoch kafka.LeaderEpoch, n int) []byte {
	data := someRecords(n)
	v, _, err := batch.Next(data)
	if err != nil {
		panic(err)
	}
	batch.Restamp(v, offset, epoch)
	return data
}

func (w *world) led(name string) *Partition {
	w.t.Helper()
	p, err := w.ps.Lookup(tp(name, 0))
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// An idle session names nothing; a partition that moved is named again; one that
// fails leaves the session for a while.
func TestAFollowerFetchesInASession(t *testing.T) {
	w := newWorld(t)
	s := w.follows(t)
	w.publish(topic("a"), partition("a", 0, other, self))
	req, p := s.asks()
	if req.SessionID != 0 || req.SessionEpoch != 0 || req.ReplicaState.ID != int32(self) || req.ReplicaState.Epoch != int64(epochOf(self)) || <-s.dialed != "broker2:9092" {
		t.Fatalf("asked %+v", req)
	}
	if p.FetchOffset != 0 || p.CurrentLeaderEpoch != 0 || p.LastFetchedEpoch != -1 {
		t.Fatalf("asked for %+v", p)
	}
	s.tell("a", func(p *kmsg.FetchResponseTopicPartition) {
		p.HighWatermark = 2
		// A leader cuts its answer at a number of bytes.
		p.RecordBatches = append(batchAt(0, 0, 3), batchAt(3, 0, 3)[:70]...)
	})
	req, p = s.asks()
	if req.SessionID != 7 || req.SessionEpoch != 1 || p.FetchOffset != 3 || p.LastFetchedEpoch != 0 {
		t.Fatalf("asked %+v", req)
	}
	if got := w.led("a").HighWatermark(); got != 2 {
		t.Fatalf("the high watermark is %d", got)
	}
	s.tell("a", nil)
	if req = s.next(); req.SessionEpoch != 2 || len(req.Topics) != 0 {
		t.Fatalf("an idle fetch is %+v", req)
	}
	s.tell("a", func(p *kmsg.FetchResponseTopicPartition) { p.ErrorCode = int16(errors.UnknownLeaderEpoch) })
	if req, p = s.asks(); req.SessionID != 7 || req.SessionEpoch != 0 || p.FetchOffset != 3 {
		t.Fatalf("after a rest, asked %+v", req)
	}
	resp := kmsg.NewPtrFetchResponse()
	resp.Version, resp.ErrorCode = 17, int16(errors.FetchSessionIDNotFound)
	s.answers <- resp
	if req, _ = s.asks(); req.SessionEpoch != 0 {
		t.Fatalf("after a lost session, asked %+v", req)
	}
	s.tell("a", nil)
	s.next()
}

// The leader's answers cut the log: divergence (KIP-101, KIP-279), a leader with a
// shorter log after an unclean election, and one that has deleted what comes next.
func TestAFollowerCutsItsLog(t *testing.T) {
	w := newWorld(t)
	s := w.follows(t)
	w.publish(topic("a"), partition("a", 0, other, self))
	s.asks()
	s.tell("a", func(p *kmsg.FetchResponseTopicPartition) {
		p.HighWatermark, p.RecordBatches = 3, append(batchAt(0, 0, 3), batchAt(3, 0, 3)...)
	})
	s.asks()
	s.tell("a", func(p *kmsg.FetchResponseTopicPartition) {
		p.HighWatermark, p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = -1, 0, 3
	})
	if _, p := s.asks(); p.FetchOffset != 3 {
		t.Fatalf("after a divergence, asked for %+v", p)
	}
	outside := func(start, end int64) {
		s.tell("a", func(p *kmsg.FetchResponseTopicPartition) {
			p.ErrorCode, p.HighWatermark, p.LogStartOffset = int16(errors.OffsetOutOfRange), -1, -1
		})
		for _, offset := range []int64{end, start} {
			req := (<-s.requests).(*kmsg.ListOffsetsRequest)
			if req.ReplicaID != int32(self) {
				t.Errorf("asked %+v", req)
			}
			resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
			to := kmsg.NewListOffsetsResponseTopic()
			p := kmsg.NewListOffsetsResponseTopicPartition()
			p.Offset = offset
			to.Partitions = append(to.Partitions, p)
			resp.Topics = append(resp.Topics, to)
			s.answers <- resp
		}
	}
	outside(0, 1)
	if _, p := s.asks(); p.FetchOffset != 0 { // the batch of 3 goes as a whole
		t.Fatalf("under a shorter leader, asked for %+v", p)
	}
	outside(10, 20)
	if _, p := s.asks(); p.FetchOffset != 10 || p.LogStartOffset != 10 {
		t.Fatalf("under a leader that begins later, asked for %+v", p)
	}
	// The leader's log begins inside of a batch.
	s.tell("a", func(p *kmsg.FetchResponseTopicPartition) {
		p.HighWatermark, p.LogStartOffset, p.RecordBatches = 12, 10, batchAt(9, 0, 3)
	})
	if _, p := s.asks(); p.FetchOffset != 12 || p.LogStartOffset != 10 {
		t.Fatalf("asked for %+v", p)
	}
	s.tell("a", nil)
	s.next()
}

// A leader that knows a newer epoch is not asked again before the image has one
// as well; then it is at once.
func TestAFencedFollowerWaitsForTheImage(t *testing.T) {
	w := newWorld(t)
	s := w.follows(t)
	w.publish(topic("a"), partition("a", 0, other, self), topic("b"), partition("b", 0, other, self))
	req := s.next()
	for len(req.Topics) != 2 { // one that is parked is ended for the other partition
		req = s.next()
	}
	s.tell("a", func(p *kmsg.FetchResponseTopicPartition) { p.ErrorCode = int16(errors.FencedLeaderEpoch) })
	req = s.next()
	if len(req.Topics) != 0 || len(req.ForgottenTopics) != 1 || req.ForgottenTopics[0].TopicID != topicID("a") {
		t.Fatalf("asked %+v", req)
	}
	// This fetch is parked at the leader; the election ends it.
	w.publish(elect("a", 0, other))
	req = s.next()
	if req.SessionEpoch != 0 || len(req.Topics) != 2 {
		t.Fatalf("asked %+v", req)
	}
	s.tell("a", nil)
	s.next()
}

// A partition that comes while a fetch is being made, without it, does not wait for
// that fetch to end at the leader.
func TestAPartitionDoesNotWaitForAFetchWithoutIt(t *testing.T) {
	w := newWorld(t)
	s := w.follows(t)
	more := make(chan struct{})
	s.dialing = func() { <-more }
	w.publish(topic("a"), partition("a", 0, other, self))
	w.eventually("the fetcher has begun", func() bool {
		f := w.ps.fetchers.all[fetcherKey{other, 0}]
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.posted) == 0
	})
	w.publish(topic("b"), partition("b", 0, other, self))
	close(more)
	for len(s.next().Topics) != 2 {
	}
}

// A follower that becomes the leader, or is gone, is fetched no more, and what was
// under way is not appended.
func TestAFetchUnderWayAtAnElectionIsDropped(t *testing.T) {
	w := newWorld(t)
	s := w.follows(t)
	w.publish(topic("a"), partition("a", 0, other, self))
	s.asks()
	w.publish(elect("a", 0, self))
	first := w.mustProduce("a", 1)
	s.tell("a", func(p *kmsg.FetchResponseTopicPartition) { p.HighWatermark, p.RecordBatches = 3, batchAt(0, 0, 3) })
	if next := w.mustProduce("a", 1); first != 0 || next != 1 {
		t.Fatalf("the leader's records are at %d and %d", first, next)
	}
}

// Without a registration nothing is fetched: the leader could take it for an
// earlier incarnation (KIP-903).
func TestNothingIsFetchedWithoutARegistration(t *testing.T) {
	w := newWorld(t)
	registered := make(chan kafka.BrokerEpoch, 100)
	w.ps.brokerEpoch = func() kafka.BrokerEpoch { return <-registered }
	for range 3 {
		registered <- kafka.NoBrokerEpoch
	}
	s := w.follows(t)
	w.publish(topic("a"), partition("a", 0, other, self))
	w.eventually("the fetcher looks for its registration", func() bool { return len(registered) == 0 })
	if len(s.dialed) != 0 {
		t.Fatal("it connects")
	}
	registered <- epochOf(self)
	s.asks()
	close(registered)
}

// TestPostBesideReceive: what is posted while the loop takes what was posted before
// is kept for the next time. It is worth most under the race detector.
func TestPostBesideReceive(t *testing.T) {
	w := newWorld(t)
	f := newFetcher(w.ps, fetcherKey{source: other})
	const posts = 1000
	var posting sync.WaitGroup
	posting.Go(func() {
		for i := range posts {
			f.post(&Partition{topicID: kafka.UUID{9}, name: kafka.TopicPartition{Topic: "t", Partition: kafka.PartitionID(i)}}, true)
		}
	})
	for len(f.lanes) < posts && !t.Failed() {
		f.receive()
	}
	posting.Wait()
}

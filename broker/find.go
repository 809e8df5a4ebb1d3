package broker

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/clock"
	"kvorum/internal/kafka"
)

// probeTimeout bounds the question to one controller who the leader is
// (controller.quorum.request.timeout.ms).
const probeTimeout = 2 * time.Second

// Controllers finds the active controller by asking: a Fetch of the metadata log
// at epoch 0 is answered by any controller, of any make, with the leader it knows
// (kraft-facts: leader discovery). One question is under way at a time; all who
// wait share its answer.
type Controllers struct {
	clientID  string
	clusterID string
	addresses []string                // where to ask, at least one
	voters    map[kafka.NodeID]string // controller.quorum.voters; may be empty

	mu      sync.Mutex
	known   *Leader
	highest kafka.LeaderEpoch // of all answers
	asking  chan struct{}     // closed when the round that is under way ends; nil if none is
}

// NewControllers returns a finder that asks these addresses. voters say where a
// leader is whose address an answer does not tell.
func NewControllers(clusterID, clientID string, addresses []string, voters map[kafka.NodeID]string) *Controllers {
	return &Controllers{clientID: clientID, clusterID: clusterID, addresses: addresses, voters: voters}
}

// Leader implements Finder.
func (f *Controllers) Leader(ctx context.Context) (Leader, error) {
	pause := retryPause
	for {
		known, round, mine := f.join()
		if known != nil {
			return *known, nil
		}
		if mine {
			f.ask(ctx, round)
		} else {
			select {
			case <-round:
			case <-ctx.Done():
				return Leader{}, ctx.Err()
			}
		}
		f.mu.Lock()
		known = f.known
		f.mu.Unlock()
		if known != nil {
			return *known, nil
		}
		if !clock.Rest(ctx, pause) {
			return Leader{}, ctx.Err()
		}
		pause = min(2*pause, maxRetryPause)
	}
}

// join returns the leader, or the round that is under way; mine says that the
// caller has to ask.
func (f *Controllers) join() (known *Leader, round chan struct{}, mine bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known != nil {
		return f.known, nil, false
	}
	if f.asking == nil {
		f.asking, mine = make(chan struct{}), true
	}
	return nil, f.asking, mine
}

// Stale implements Finder.
func (f *Controllers) Stale(l Leader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known != nil && *f.known == l {
		f.known = nil
	}
}

// Learned notes a leader that somebody else was told, such as the fetcher.
func (f *Controllers) Learned(l Leader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.learn(l)
}

// learn is Learned with mu held. An answer of an older epoch says nothing.
func (f *Controllers) learn(l Leader) {
	if l.Epoch < f.highest || l.Address == "" {
		return
	}
	f.highest, f.known = l.Epoch, &l
}

// ask asks all addresses at the same time and ends the round.
func (f *Controllers) ask(ctx context.Context, round chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var asked sync.WaitGroup
	for _, address := range f.addresses {
		asked.Go(func() {
			l, err := f.probe(ctx, address)
			if err != nil || l.ID < 0 {
				return // the next round asks again
			}
			f.Learned(l)
			if l.Address == address || len(f.addresses) == 1 {
				cancel() // the leader itself has spoken
			}
		})
	}
	asked.Wait()
	f.mu.Lock()
	f.asking = nil
	f.mu.Unlock()
	close(round)
}

// probe asks one controller who the leader is.
func (f *Controllers) probe(ctx context.Context, address string) (Leader, error) {
	c, err := dialConn(ctx, address, f.clientID)
	if err != nil {
		return Leader{}, err
	}
	defer c.close()
	body, err := c.do(ctx, f.question())
	if err != nil {
		return Leader{}, err
	}
	resp := body.(*kmsg.FetchResponse)
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return Leader{ID: kafka.NoNode}, nil
	}
	part := &resp.Topics[0].Partitions[0]
	return leaderOf(resp, part, f.voters), nil
}

// leaderOf reads the leader out of an answer to a Fetch of the metadata log.
func leaderOf(resp *kmsg.FetchResponse, part *kmsg.FetchResponseTopicPartition, voters map[kafka.NodeID]string) Leader {
	l := Leader{ID: kafka.NodeID(part.CurrentLeader.LeaderID), Epoch: kafka.LeaderEpoch(part.CurrentLeader.LeaderEpoch)}
	if l.Address = leaderEndpoint(resp.Brokers, l.ID); l.Address == "" {
		l.Address = voters[l.ID]
	}
	return l
}

// question is a Fetch that no controller answers with records: every claim has an
// epoch above 0.
func (f *Controllers) question() *kmsg.FetchRequest {
	req := newMetadataFetch(f.clusterID)
	req.ReplicaID, req.ReplicaState.ID = -1, -1
	return req
}

// newMetadataFetch is a Fetch of the metadata log from offset 0 at epoch 0.
func newMetadataFetch(clusterID string) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ClusterID = &clusterID
	req.MaxBytes, req.SessionEpoch = 1, -1
	req.ReplicaState.Epoch = -1
	part := kmsg.NewFetchRequestTopicPartition()
	part.CurrentLeaderEpoch, part.LastFetchedEpoch, part.LogStartOffset = 0, 0, -1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = kafka.MetadataTopic, kafka.MetadataTopicID
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	return req
}

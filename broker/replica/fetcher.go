package replica

import (
	"context"
	stderrors "errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// fetcher fetches the partitions that one other broker leads (Kafka's
// ReplicaFetcherThread): one loop, one connection, one fetch session (KIP-227),
// so that a fetch names only the partitions whose position has changed. What is
// asked for and what an answer means is decided by each partition's core.
type fetcher struct {
	ps     *Partitions
	source kafka.BrokerID
	logger *slog.Logger

	wake chan struct{} // one slot: posted has something

	mu     sync.Mutex
	posted map[*Partition]bool // true: to be fetched, false: no more
	// hurried ends the fetch under way, because it does not have what was posted.
	hurried context.CancelFunc
	hurry   clock.Timer // pending call of hurried

	// What follows belongs to the loop.
	link     Link
	session  session
	lanes    map[partitionKey]*lane
	resting  map[*lane]struct{} // lanes with a time before which they are not fetched
	failures int                // of the source, in a row
	hurryAt  time.Time          // before which no fetch is ended for what was posted
	sweepAt  time.Time          // when all lanes are looked at again
}

// lane is one partition at a fetcher.
type lane struct {
	partition *Partition
	// asked is what the session holds, where it does.
	asked     question
	inSession bool
	// changed says that the session may hold something else than the partition
	// wants.
	changed  bool
	restTo   time.Time // zero: it is fetched
	failures int       // in a row
}

func (l *lane) key() partitionKey {
	return partitionKey{l.partition.topicID, l.partition.name.Partition}
}

const (
	// hurryPause is the least time between two fetches that are ended early. A
	// session begins anew then and names every partition, and images may come by
	// the hundred each second.
	hurryPause = 100 * time.Millisecond
	// sweepPause is how often the fetcher looks for partitions whose log start has
	// moved without a fetch, by retention.
	sweepPause = time.Second
)

func newFetcher(ps *Partitions, key fetcherKey) *fetcher {
	return &fetcher{
		ps: ps, source: key.source, logger: ps.logger.With("source", key.source),
		wake: make(chan struct{}, 1), posted: map[*Partition]bool{}, session: newSession(), lanes: map[partitionKey]*lane{}, resting: map[*lane]struct{}{},
	}
}

// post tells the loop to fetch a partition from now on, or not to. A fetch that
// waits at the leader is ended for a new one.
func (f *fetcher) post(p *Partition, fetch bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.posted[p] = fetch
	if fetch {
		f.hurryUp()
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// hurryUp ends the fetch under way, if there is one, now or after a pause; under
// mu.
func (f *fetcher) hurryUp() {
	if f.hurried != nil && f.hurry == nil {
		f.hurry = f.ps.clock.AfterFunc(max(0, f.hurryAt.Sub(f.ps.clock.Now())), f.hurried)
	}
}

// run fetches until ctx ends.
func (f *fetcher) run(ctx context.Context) {
	defer f.disconnect()
	for ctx.Err() == nil {
		f.receive()
		if len(f.lanes) == 0 {
			f.disconnect()
			f.sleep(ctx, -1)
			continue
		}
		f.awaken()
		pause, err := f.turn(ctx)
		switch {
		case err == nil:
			f.failures = 0
		case stderrors.Is(err, errHurried):
			f.disconnect()
			continue
		case ctx.Err() != nil:
			return
		default:
			f.disconnect()
			if f.failures++; f.failures&(f.failures-1) == 0 { // 1, 2, 4, 8 ...
				f.logger.Warn("replicas cannot be fetched from their leader", "partitions", len(f.lanes), "failures", f.failures, "error", err)
			}
			pause = f.backoff(f.failures)
		}
		if pause != 0 {
			f.sleep(ctx, pause)
		}
	}
}

// receive takes what was posted.
func (f *fetcher) receive() {
	f.mu.Lock()
	posted := f.posted
	if len(posted) == 0 {
		f.mu.Unlock() // the map stays with who posts
		return
	}
	f.posted = map[*Partition]bool{}
	f.mu.Unlock()
	for p, fetch := range posted {
		key := partitionKey{p.topicID, p.name.Partition}
		l := f.lanes[key]
		switch {
		case fetch && l == nil:
			f.lanes[key] = &lane{partition: p}
			f.session.touch(f.lanes[key])
		case fetch:
			l.partition = p
			f.rouse(l)
			l.failures = 0
		case l != nil && l.partition == p:
			f.drop(key, l)
		}
	}
}

// drop stops fetching a partition.
func (f *fetcher) drop(key partitionKey, l *lane) {
	delete(f.lanes, key)
	delete(f.resting, l)
	f.session.forget(key, l)
}

// rouse lets a partition be asked about at the next fetch.
func (f *fetcher) rouse(l *lane) {
	l.restTo = time.Time{}
	delete(f.resting, l)
	f.session.touch(l)
}

// rest keeps a partition out of the fetches for a while.
func (f *fetcher) rest(l *lane) {
	l.failures++
	f.restFor(l, f.backoff(l.failures))
}

func (f *fetcher) restFor(l *lane, d time.Duration) {
	l.restTo = f.ps.clock.Now().Add(d)
	f.resting[l] = struct{}{}
	f.session.forget(l.key(), l)
}

// heldBack is for how long a partition is not fetched because enough was fetched
// for throttled replicas: not one in sync (ReplicaFetcherThread.
// shouldFollowerThrottle).
func (f *fetcher) heldBack(l *lane) time.Duration {
	wait := f.ps.fetching.exceeded(l.partition.name)
	if wait == 0 {
		return 0
	}
	if p := f.ps.image.Load().Partition(l.partition.topicID, l.partition.name.Partition); p == nil || slices.Contains(p.ISR, f.ps.self) {
		return 0
	}
	return wait
}

// awaken ends the rest of the partitions whose time has come, and now and then
// looks at all.
func (f *fetcher) awaken() {
	now := f.ps.clock.Now()
	for l := range f.resting {
		if !now.Before(l.restTo) {
			f.rouse(l)
		}
	}
	if now.Before(f.sweepAt) {
		return
	}
	f.sweepAt = now.Add(sweepPause)
	for _, l := range f.lanes {
		if l.restTo.IsZero() {
			f.session.touch(l)
		}
	}
}

// nextRest is how long the first of the resting partitions still rests, at most
// limit.
func (f *fetcher) nextRest(limit time.Duration) time.Duration {
	now := f.ps.clock.Now()
	for l := range f.resting {
		limit = min(limit, l.restTo.Sub(now))
	}
	return max(0, limit)
}

// backoff is how long to rest after some failures in a row.
func (f *fetcher) backoff(failures int) time.Duration {
	most := max(f.ps.rules.Backoff, time.Millisecond)
	d := min(most, max(most/50, time.Millisecond)<<min(failures-1, 20))
	return d/2 + rand.N(d/2+1)
}

// sleep waits until something is posted; at most d, unless that is negative.
func (f *fetcher) sleep(ctx context.Context, d time.Duration) {
	var after <-chan time.Time
	if d >= 0 {
		timer := f.ps.clock.NewTimer(d)
		defer timer.Stop()
		after = timer.C()
	}
	select {
	case <-f.wake:
	case <-after:
	case <-ctx.Done():
	}
}

// disconnect ends the connection and with it the session.
func (f *fetcher) disconnect() {
	if f.link != nil {
		f.link.Close()
		f.link = nil
	}
	f.session.reset(f.lanes)
}

// errUnknown says that the image has no address of the source.
var errUnknown = stderrors.New("the metadata has no address of the broker")

// connect makes the connection if there is none.
func (f *fetcher) connect(ctx context.Context) error {
	if f.link != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.ps.rules.Timeout)
	defer cancel()
	address, ok := f.ps.addressOf(f.source)
	if !ok {
		return errUnknown
	}
	var err error
	f.link, err = f.ps.peers.Dial(ctx, address)
	return err
}

// addressOf is where other brokers reach one.
func (ps *Partitions) addressOf(id kafka.BrokerID) (string, bool) {
	b := ps.image.Load().Broker(id)
	if b == nil {
		return "", false
	}
	for i := range b.Endpoints {
		if e := &b.Endpoints[i]; e.Name == ps.peers.Endpoint() {
			return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))), true
		}
	}
	return "", false
}

// errHurried says that a fetch was ended because of what was posted.
var errHurried = stderrors.New("there is more to be fetched")

// ask sends a request; hurry lets post end it.
func (f *fetcher) ask(ctx context.Context, req kmsg.Request, hurry bool) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, f.ps.rules.Timeout)
	defer cancel()
	if !hurry {
		return f.link.Do(ctx, req)
	}
	asking, stop := context.WithCancel(ctx)
	defer stop()
	f.mu.Lock()
	f.hurried = stop
	for _, fetch := range f.posted { // since the request was made
		if fetch {
			f.hurryUp()
			break
		}
	}
	f.mu.Unlock()
	resp, err := f.link.Do(asking, req)
	f.mu.Lock()
	f.hurried = nil
	if f.hurry != nil {
		f.hurry.Stop()
		f.hurry = nil
	}
	if err != nil && asking.Err() != nil && ctx.Err() == nil {
		f.hurryAt = f.ps.clock.Now().Add(hurryPause)
		err = errHurried
	}
	f.mu.Unlock()
	return resp, err
}

// turn makes one fetch and does what its answer asks for. The pause is how long
// there is nothing to do, 0 for none.
func (f *fetcher) turn(ctx context.Context) (pause time.Duration, err error) {
	epoch := f.ps.brokerEpoch()
	if epoch == kafka.NoBrokerEpoch {
		// A fetch that does not say which incarnation it is of could move the high
		// watermark for a seat in the ISR that an earlier one lost its records of
		// (KIP-903).
		return f.backoff(1), nil
	}
	if err := f.connect(ctx); err != nil {
		return 0, err
	}
	req, parked := f.request(epoch)
	if req == nil {
		return f.nextRest(parked), nil
	}
	resp, err := f.ask(ctx, req, true)
	if err != nil {
		return 0, err
	}
	answer, ok := resp.(*kmsg.FetchResponse)
	if !ok {
		return 0, fmt.Errorf("a %T in answer to a Fetch", resp)
	}
	switch code := errors.Code(answer.ErrorCode); code {
	case errors.None:
	case errors.FetchSessionIDNotFound, errors.InvalidFetchSessionEpoch, errors.FetchSessionTopicIDError:
		f.session.reset(f.lanes)
		return 0, nil
	default:
		return 0, fmt.Errorf("the fetch is refused: %w", code.Err())
	}
	f.session.answered(answer.SessionID, f.lanes)
	return 0, f.takeAll(ctx, answer)
}

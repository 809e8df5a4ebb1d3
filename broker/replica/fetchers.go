package replica

import (
	"context"
	"hash/fnv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
)

// FetchRules say how followers fetch; times and sizes are Kafka's keys.
type FetchRules struct {
	// Fetchers is num.replica.fetchers: how many fetchers, each with a connection
	// of its own, share the partitions that one broker leads, until SetFetchers.
	// One is enough but for machines with more cores than a leader and its
	// followers can use.
	Fetchers int
	// MaxBytes bounds the records of one partition in an answer
	// (replica.fetch.max.bytes), AnswerBytes those of all
	// (replica.fetch.response.max.bytes); a batch that is larger comes whole.
	MaxBytes, AnswerBytes int32
	// MinBytes is what the leader waits for, MaxWait how long (replica.fetch.min.
	// bytes, replica.fetch.wait.max.ms).
	MinBytes int32
	MaxWait  time.Duration
	// Backoff is the longest rest after a failure (replica.fetch.backoff.ms); it
	// begins at a fiftieth of it and doubles, with a random part.
	Backoff time.Duration
	// Timeout bounds one exchange with the leader (replica.socket.timeout.ms).
	Timeout time.Duration
}

// Peers reaches the other brokers.
type Peers interface {
	// Dial connects to the listener of a broker at which other brokers are
	// expected.
	Dial(ctx context.Context, address string) (Link, error)
	// Endpoint is the name of that listener.
	Endpoint() string
}

// Link is a connection to another broker with one request on it at a time.
type Link interface {
	// Do sends req at the newest version that both sides know, and returns its
	// answer, whose byte slices are good until the next Do. After an error, ctx's
	// too, the link is of no more use.
	Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error)
	Close()
}

// fetchers are what followers fetch with: for each broker that leads partitions
// of ours one fetcher, or num.replica.fetchers of them. They are as many as there
// have been brokers in the image.
type fetchers struct {
	ps *Partitions

	mu sync.Mutex
	// each is how many fetchers share the partitions of one source.
	each int
	all  map[fetcherKey]*fetcher
	// of is who fetches a partition.
	of map[*Partition]*fetcher
	// start runs a fetcher; nil before run and after it.
	start func(*fetcher)
}

type fetcherKey struct {
	source kafka.BrokerID
	index  int
}

func newFetchers(ps *Partitions) *fetchers {
	return &fetchers{ps: ps, each: ps.rules.Fetchers, all: map[fetcherKey]*fetcher{}, of: map[*Partition]*fetcher{}}
}

// run lets the fetchers work until ctx ends, and waits for them.
func (fs *fetchers) run(ctx context.Context) {
	var running sync.WaitGroup
	fs.mu.Lock()
	fs.start = func(f *fetcher) { running.Go(func() { f.run(ctx) }) }
	for _, f := range fs.all {
		fs.start(f)
	}
	fs.mu.Unlock()
	<-ctx.Done()
	fs.mu.Lock()
	fs.start = nil
	fs.mu.Unlock()
	running.Wait()
}

// assign makes a partition fetch from a broker, or from none (kafka.NoLeader). It
// begins at once, also where it has rested after an error: the image has changed.
func (fs *fetchers) assign(p *Partition, source kafka.BrokerID) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var next *fetcher
	if source >= 0 {
		next = fs.fetcher(fetcherKey{source, fs.index(p)})
	}
	if was := fs.of[p]; was != nil && was != next {
		was.post(p, false)
	}
	if next == nil {
		delete(fs.of, p)
		return
	}
	fs.of[p] = next
	next.post(p, true)
}

// SetFetchers changes num.replica.fetchers. Partitions that come to another fetcher
// go on there; an answer that the first one still waits for is judged by the
// partition's core, as after a change of the leader.
func (ps *Partitions) SetFetchers(n int) {
	fs := ps.fetchers
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if n == fs.each {
		return
	}
	fs.each = n
	for p, was := range fs.of {
		next := fs.fetcher(fetcherKey{was.source, fs.index(p)})
		if next == was {
			continue
		}
		was.post(p, false)
		fs.of[p] = next
		next.post(p, true)
	}
}

// index spreads the partitions of a source, under mu.
func (fs *fetchers) index(p *Partition) int {
	n := fs.each
	if n <= 1 {
		return 0
	}
	h := fnv.New32a()
	h.Write(p.topicID[:])
	return int((h.Sum32() + uint32(p.name.Partition)) % uint32(n))
}

// fetcher finds or makes a fetcher, under mu.
func (fs *fetchers) fetcher(key fetcherKey) *fetcher {
	f := fs.all[key]
	if f == nil {
		f = newFetcher(fs.ps, key)
		fs.all[key] = f
		if fs.start != nil {
			fs.start(f)
		}
	}
	return f
}

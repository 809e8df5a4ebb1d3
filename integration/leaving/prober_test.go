package leaving

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// probers is how many ask at once: a broker may hold one request for long, and answer
// the next client at once.
const probers = 3

// prober asks all the time whether a topic could be made, and keeps when it was told yes.
type prober struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu  sync.Mutex
	yes []time.Time
}

func startProber(t *testing.T, c *Cluster) *prober {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &prober{stop: cancel, yes: []time.Time{time.Now()}}
	for range probers {
		p.done.Go(func() {
			try(ctx, c, func(ctx context.Context, adm *kadm.Client) bool {
				responses, err := adm.ValidateCreateTopics(ctx, 1, 2, nil, "probed")
				if err == nil && responses.Error() == nil {
					p.note()
					return true
				}
				return false
			})
		})
	}
	t.Cleanup(p.end)
	return p
}

// try repeats a question, each time of at most a second, until the context ends. A client
// that got no good answer is replaced by a new one, which is behind nobody's request.
func try(ctx context.Context, c *Cluster, ask func(context.Context, *kadm.Client) (good bool)) {
	var seeds []string
	for _, b := range c.Brokers {
		seeds = append(seeds, b.Listener)
	}
	for ctx.Err() == nil {
		client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.MetadataMinAge(50*time.Millisecond), kgo.RetryTimeout(time.Second))
		if err != nil {
			panic(err) // the options are constants
		}
		adm := kadm.NewClient(client)
		adm.SetTimeoutMillis(1000)
		for good := true; good && ctx.Err() == nil; {
			asked, cancel := context.WithTimeout(ctx, time.Second)
			good = ask(asked, adm)
			cancel()
			time.Sleep(50 * time.Millisecond) // the pace
		}
		client.Close()
	}
}

func (p *prober) note() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.yes = append(p.yes, time.Now())
}

// gap is the longest time without a yes that ended after a moment, up to now.
func (p *prober) gap(since time.Time) (longest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, at := range p.yes[1:] {
		if at.After(since) {
			longest = max(longest, at.Sub(p.yes[i]))
		}
	}
	return max(longest, time.Since(p.yes[len(p.yes)-1]))
}

// answered waits for a yes after a moment.
func (p *prober) answered(t *testing.T, after time.Time) {
	t.Helper()
	waitUntil(t, "CreateTopics to be answered", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.ContainsFunc(p.yes[max(0, len(p.yes)-1):], after.Before)
	})
}

// end stops the questions.
func (p *prober) end() {
	p.stop()
	p.done.Wait()
}

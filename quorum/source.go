package quorum

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/replay"
)

// Source is the controller's committed images as a broker in the same process
// follows them: a combined node has one store and one image.
//
// It begins with the image that the node's log gave when it started, which may be
// old; Confirmed tells when that is over.
type Source struct {
	controller *Controller
	durable    bool
	requests   chan sourceRequest
	done       chan struct{}
	confirmed  chan struct{}

	followers []replay.Publisher // owned by Run
	last      *image.Image       // what they have seen
	end       kafka.Offset       // of the log that led to last
}

var _ replay.Source = (*Source)(nil)

type sourceRequest struct {
	add, remove replay.Publisher
	ready       chan<- struct{}
}

// NewSource returns a source of c's images for the broker of the same node, which
// Run must follow. Replies to changes wait until the broker's publishers have acted
// on them.
//
// With durable the log is fsynced up to an image before a publisher acts on it, as
// brokers need that serve from it after a kill while there is no majority: raft's
// log has all of it, but does not know how far it is committed.
func NewSource(c *Controller, durable bool) *Source {
	c.gathered.start()
	return &Source{
		controller: c, durable: durable, requests: make(chan sourceRequest), done: make(chan struct{}), confirmed: make(chan struct{}),
		last: image.Empty(),
	}
}

// Confirmed is closed when the images hold everything that was committed before:
// this controller is active, or its log was as long as that of the active one since
// the process started.
func (s *Source) Confirmed() <-chan struct{} { return s.confirmed }

// Image is the controller's newest committed image.
func (s *Source) Image() *image.Image { return s.controller.State().Image }

// AddPublisher implements replay.Source. There is an image to give when all is
// folded that the log held when Run began.
func (s *Source) AddPublisher(ctx context.Context, p replay.Publisher) error {
	ready := make(chan struct{})
	return s.ask(ctx, sourceRequest{add: p, ready: ready}, ready)
}

// RemovePublisher implements replay.Source.
func (s *Source) RemovePublisher(ctx context.Context, p replay.Publisher) error {
	ready := make(chan struct{})
	return s.ask(ctx, sourceRequest{remove: p, ready: ready}, ready)
}

func (s *Source) ask(ctx context.Context, r sourceRequest, ready <-chan struct{}) error {
	select {
	case s.requests <- r:
	case <-s.done:
		return replay.ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-ready:
		return nil
	case <-s.done:
		return replay.ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run gives each image, or the newest of several, to the publishers until ctx
// ends.
func (s *Source) Run(ctx context.Context) error {
	defer close(s.done)
	var waiting []sourceRequest // for the first image; each is a caller that waits
	began, confirmed := s.controller.log.Store().EndOffset(), false
	for {
		changed, told := s.controller.WaitState(), s.controller.waitTold()
		state := s.controller.State()
		if state.End >= began && state.Image.At().Offset >= 0 {
			if err := s.publish(s.news(state.Image)); err != nil {
				return err
			}
			for _, r := range waiting {
				s.begin(r)
			}
			waiting = nil
			s.end = state.End
			s.report()
			if !confirmed && s.controller.confirms(state) {
				confirmed = true
				close(s.confirmed)
			}
		}
		select {
		case <-changed:
		case <-told:
		case r := <-s.requests:
			switch {
			case r.add == nil:
				s.remove(r)
			case s.last.At().Offset < 0:
				waiting = append(waiting, r)
			default:
				s.begin(r)
				s.report()
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// report tells the controller how far the publishers are.
func (s *Source) report() {
	if len(s.followers) == 0 {
		return
	}
	select {
	case s.controller.events <- queued{event: Applied{Broker: kafka.BrokerID(s.controller.cfg.Core.Self), End: s.end}}:
	case <-s.controller.done:
	}
}

// news are the changes since the publishers were told, nil if there are none. They
// may reach beyond the state's image, whose publication is then on its way.
func (s *Source) news(im *image.Image) *image.Changes {
	changes := s.controller.gathered.take()
	switch {
	case changes != nil && changes.Old == s.last:
		return changes
	case changes != nil:
		return image.Diff(s.last, changes.New)
	case im.At().Offset > s.last.At().Offset: // from before the gathering began
		return image.Diff(s.last, im)
	}
	return nil
}

func (s *Source) publish(changes *image.Changes) error {
	if changes == nil {
		return nil
	}
	if s.durable {
		if err := s.controller.log.Store().Sync(); err != nil {
			return fmt.Errorf("keep the metadata log before the broker acts on it: %w", err)
		}
	}
	s.last = changes.New
	for _, p := range s.followers {
		p.Publish(changes, s.last, replay.Manifest{})
	}
	return nil
}

func (s *Source) begin(r sourceRequest) {
	r.add.Publish(image.Diff(image.Empty(), s.last), s.last, replay.Manifest{Kind: replay.FromSnapshot})
	s.followers = append(s.followers, r.add)
	close(r.ready)
}

func (s *Source) remove(r sourceRequest) {
	kept := s.followers[:0:0]
	for _, p := range s.followers {
		if p != r.remove {
			kept = append(kept, p)
		}
	}
	s.followers = kept
	close(r.ready)
}

// WaitLeader waits until this controller knows the active one, which may be
// itself, and returns where it listens, by the first of the controllers'
// listeners.
func (c *Controller) WaitLeader(ctx context.Context) (id kafka.NodeID, epoch kafka.LeaderEpoch, address string, err error) {
	for {
		changed := c.WaitState()
		state := c.State()
		if state.Leader != kafka.NoNode && (state.Leader != c.cfg.Core.Self || state.Active) {
			if e, ok := c.endpointOf(state.Leader, c.cfg.Core.Endpoints[0].Name); ok {
				return state.Leader, state.Epoch, net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))), nil
			}
		}
		select {
		case <-changed:
		case <-c.done:
			return kafka.NoNode, kafka.NoEpoch, "", replay.ErrStopped
		case <-ctx.Done():
			return kafka.NoNode, kafka.NoEpoch, "", ctx.Err()
		}
	}
}

// gatheredChanges is how the loop's changes get to a Source, which may be slower:
// what it has not taken yet is one change, in the size of what was touched.
type gatheredChanges struct {
	mu      sync.Mutex
	on      bool // somebody takes
	changes *image.Changes
}

func (g *gatheredChanges) start() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.on = true
}

// taken reports whether a Source takes the changes: whether a broker runs here.
func (g *gatheredChanges) taken() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.on
}

// add takes the changes over: nobody else may look at them.
func (g *gatheredChanges) add(list []*image.Changes) {
	if len(list) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.on {
		return
	}
	for _, c := range list {
		if g.changes == nil {
			g.changes = c
		} else {
			g.changes.Extend(c)
		}
	}
}

func (g *gatheredChanges) take() *image.Changes {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.changes
	g.changes = nil
	return c
}

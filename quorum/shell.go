package quorum

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/listener"
	"kvorum/protocol"
	wire "kvorum/protocol/errors"
	"kvorum/quorum/raft"
)

const (
	// eventQueue bounds the requests that wait for the loop. Each is a connection
	// that waits too, so that the bytes they hold are within the listener's budget.
	eventQueue = 1024
	// readChunk is how much of the committed log one step folds: enough to be fast
	// after a restart, small enough that requests are not kept waiting.
	readChunk = 1 << 20
	// defaultTimeout is for requests that bring no timeout of their own.
	defaultTimeout = 30 * time.Second
)

// Controller runs a Core on a Log, and serves it. Make it with New; Run until
// the context ends.
type Controller struct {
	cfg       ControllerConfig
	core      *Core
	log       raft.Log
	logger    *slog.Logger
	snapshots *snapshotCatalog
	prober    *prober

	// state is the loop's newest public state.
	state atomic.Pointer[State]
	// stateChanged is closed and replaced when state changes.
	stateChanged atomic.Pointer[chan struct{}]
	// gathered is what a Source has not seen yet.
	gathered gatheredChanges
	// told is closed when the active controller has told the end of its log for the
	// first time, toldEnd.
	told    chan struct{}
	toldEnd kafka.Offset

	events chan queued
	nextID atomic.Uint64
	// positions are the offsets of the registered brokers' last Fetches, by node.
	positions sync.Map
	// watched are the connections over which brokers registered or sent
	// heartbeats, by listener.ConnID: at most as many as are open.
	watched sync.Map
	dialer  *dialer

	steady clock.Steady

	// Owned by the loop.
	waiting map[uint64]chan<- Reply
	read    kafka.Offset // the committed log below this is in the core
	wake    *time.Timer
	members []raft.Member // as the core knows them

	// done is closed when the loop has ended, so that nobody waits for it.
	done chan struct{}
}

// ControllerConfig is what a controller is made of.
type ControllerConfig struct {
	Core      Config
	ClusterID string
	Log       raft.Log
	// SnapshotDir holds the .checkpoint files (__cluster_metadata-0).
	SnapshotDir string
	Snapshots   SnapshotConfig
	// Authorize answers for a principal whether it may do an operation; nil if no
	// authorizer is configured.
	Authorize Authorizer
	// Audit takes what was forwarded in Envelopes, which the listener cannot look
	// into; nil takes nothing.
	Audit *listener.Audit
	// Migration is told of everything that a migration from ZooKeeper depends on;
	// nil where there is none.
	Migration Migration
	// Own are the answers to kvorum's own requests, which the loop knows nothing of.
	Own    map[protocol.Key]OwnAnswer
	Logger *slog.Logger
}

// queued is an event on its way to the loop.
type queued struct {
	event Event
	reply chan<- Reply // for a Request or a MigrationBatch
	// ping, where it is not nil, is all there is: it is closed.
	ping chan<- struct{}
}

// New returns a controller that has loaded the newest snapshot and is ready to
// Run. It has read nothing of the log yet.
func New(cfg ControllerConfig) (*Controller, error) {
	c := &Controller{
		cfg:     cfg,
		core:    NewCore(cfg.Core),
		log:     cfg.Log,
		logger:  cfg.Logger,
		events:  make(chan queued, eventQueue),
		waiting: map[uint64]chan<- Reply{},
		told:    make(chan struct{}),
		done:    make(chan struct{}),
		steady:  clock.SteadyFrom(time.Now()),
	}
	c.prober = newProber(cfg.Log.Store().EndOffset, func(ctx context.Context, ev Probed) {
		select {
		case c.events <- queued{event: ev}:
		case <-ctx.Done():
		}
	})
	c.dialer = newDialer(func(ctx context.Context, ev Dialed) {
		select {
		case c.events <- queued{event: ev}:
		case <-ctx.Done():
		}
	})
	changed := make(chan struct{})
	c.stateChanged.Store(&changed)
	c.state.Store(c.core.state())
	var err error
	if c.snapshots, err = openSnapshots(cfg.SnapshotDir, cfg.Snapshots, cfg.Logger); err != nil {
		return nil, err
	}
	return c, nil
}

// State is the controller's newest state. Safe for concurrent use.
func (c *Controller) State() *State { return c.state.Load() }

// WaitState returns a channel that is closed when State changes next.
func (c *Controller) WaitState() <-chan struct{} { return *c.stateChanged.Load() }

// Run is the loop. It returns when ctx ends (nil), or when the committed log
// cannot be understood or read, which only an operator can mend.
func (c *Controller) Run(ctx context.Context) error {
	var background sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	defer background.Wait()
	defer stop()
	defer close(c.done)
	background.Go(func() { c.makeSnapshots(ctx) })
	background.Go(func() { c.followActive(ctx) })
	background.Go(func() { c.prober.run(ctx) })
	background.Go(func() { c.dialer.run(ctx) })

	if err := c.loadSnapshot(); err != nil {
		return err
	}
	c.wake = time.NewTimer(time.Hour)
	defer c.wake.Stop()
	for {
		changed := c.log.Store().WaitChanged()
		more, err := c.follow()
		if err != nil {
			return err
		}
		idle := changed
		if more {
			// There is more to fold, but requests are not to wait for all of it.
			idle = alreadyClosed
		}
		select {
		case q := <-c.events:
			err = c.handle(q)
		case l := <-c.log.Leadership():
			err = c.step(Leadership{Term: l.Term, Self: l.Self})
		case <-c.wake.C:
			if err = c.noteMembers(); err == nil {
				err = c.step(Tick{})
			}
		case <-idle:
		case <-ctx.Done():
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// alreadyClosed is a channel that is always ready.
var alreadyClosed = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// follow feeds the core what was committed since; more says that a next call has
// something left.
func (c *Controller) follow() (more bool, err error) {
	store := c.log.Store()
	end := store.EndOffset()
	if c.read >= end {
		return false, nil
	}
	if c.read < store.LogStart() {
		// The store was replaced by another controller's, which begins at a snapshot.
		if err := c.loadSnapshot(); err != nil {
			return false, err
		}
	}
	data, err := store.Read(c.read, readChunk)
	if err != nil {
		return false, fmt.Errorf("read the committed metadata log at offset %d: %w", c.read, err)
	}
	if err := c.step(Committed{Batches: data}); err != nil {
		return false, err
	}
	c.read = c.core.end()
	return c.read < end, nil
}

// noteMembers tells the core when the raft group's members have changed. An
// active controller has a tick several times a second; to others they do not
// matter.
func (c *Controller) noteMembers() error {
	members := c.log.Members()
	if slices.Equal(members, c.members) {
		return nil
	}
	c.members = members
	directories := make(map[kafka.NodeID]kafka.DirectoryID, len(members))
	for _, m := range members {
		directories[m.NodeID] = m.DirectoryID
	}
	return c.step(Membership{Directories: directories})
}

func (c *Controller) handle(q queued) error {
	if q.ping != nil {
		close(q.ping)
		return nil
	}
	switch ev := q.event.(type) {
	case Request:
		c.waiting[ev.ID] = q.reply
	case MigrationBatch:
		c.waiting[ev.ID] = q.reply
	case Cancelled:
		delete(c.waiting, ev.ID)
	}
	return c.step(q.event)
}

// step runs one event and its effects.
func (c *Controller) step(ev Event) error {
	out, err := c.core.Step(c.nowMs(), ev)
	for _, n := range out.Notes {
		if n.Error {
			c.logger.Error(n.Text)
		} else {
			c.logger.Info(n.Text)
		}
	}
	if err != nil {
		return fmt.Errorf("the committed metadata log cannot be applied: %w", err)
	}
	c.gathered.add(out.Changes) // before the state can be seen
	if out.State != nil {
		before := c.State()
		c.publish(out.State)
		c.tellMigration(before, out.State)
	}
	for _, r := range out.Replies {
		if ch, ok := c.waiting[r.ID]; ok {
			delete(c.waiting, r.ID)
			ch <- r // buffered: one reply each
		}
	}
	c.prober.ask(out.Probes)
	c.dialer.ask(out.Dials)
	if claim := out.Claim; claim != nil {
		c.log.Claim(claim.Term, claim.Batch, claim.BatchIfEmpty, func(o raft.Outcome, err error) {
			c.report(Claimed{Term: claim.Term, Accepted: err == nil && o.Accepted, Epoch: o.Epoch, End: o.End}, err)
		})
	}
	if a := out.Append; a != nil {
		c.log.Append(a.Epoch, a.Base, a.Batches, func(o raft.Outcome, err error) {
			c.report(Appended{Accepted: err == nil && o.Accepted}, err)
		})
	}
	if out.WakeAtMs > 0 {
		c.wake.Reset(max(0, time.Duration(out.WakeAtMs-c.nowMs())*time.Millisecond))
	}
	return nil
}

// nowMs is the core's clock: the wall clock at the start, and steady since.
// Sessions and deadlines go by it, so that a wall clock that is set, forward or
// back, fences no broker. Records carry it too; a cluster whose clock was wrong
// at the start is right again with the next controller.
func (c *Controller) nowMs() int64 {
	return c.steady.Ms(time.Now())
}

func (c *Controller) publish(s *State) {
	c.state.Store(s)
	changed := make(chan struct{})
	close(*c.stateChanged.Swap(&changed))
}

// report hands the outcome of a proposal to the loop. It may block for as long
// as the loop is behind, on a goroutine of the log that serves nothing else.
func (c *Controller) report(ev Event, err error) {
	if err != nil && !errors.Is(err, raft.ErrClosed) {
		c.logger.Warn("a proposal's outcome is not known", "error", err)
	}
	select {
	case c.events <- queued{event: ev}:
	case <-c.done:
	}
}

// submit gives a request to the loop and waits for its reply. The response is
// never nil.
func (c *Controller) submit(ctx context.Context, from origin, r *protocol.Request, timeout time.Duration) kmsg.Response {
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	id := c.nextID.Add(1)
	reply := make(chan Reply, 1)
	caller := c.caller(from)
	if r.ClientID != nil {
		caller.ClientID = *r.ClientID
	}
	ev := Request{ID: id, Caller: caller, Body: r.Body, Connection: uint64(from.conn), DeadlineMs: c.nowMs() + timeout.Milliseconds()}
	select {
	case c.events <- queued{event: ev, reply: reply}:
	case <-ctx.Done():
		return protocol.Failure(r, wire.New(wire.RequestTimedOut, "the controller was too busy to look at the request"))
	case <-c.done:
		return protocol.Failure(r, wire.New(wire.NotController, "this controller is shutting down"))
	}
	select {
	case answer := <-reply:
		if answer.Err != nil {
			return protocol.Failure(r, answer.Err)
		}
		return answer.Response
	case <-c.done:
		return protocol.Failure(r, wire.New(wire.NotController, "this controller is shutting down"))
	case <-ctx.Done():
		select {
		case c.events <- queued{event: Cancelled{ID: id}}:
		default: // the reply goes into its buffered channel and is forgotten
		}
		return protocol.Failure(r, wire.New(wire.RequestTimedOut, "the client is gone"))
	}
}

// noteFetched tells the loop how far a replica is. A position that is lost in a
// full queue is told again by the next Fetch.
//
// arriving asks to answer the Fetch at once, with or without records. A broker
// asks for the next records when it has the last ones, and applies them
// meanwhile on another thread; so the first Fetch past a record comes a moment
// before a client finds its topic there. The next one gave that thread a turn,
// and takes longer when the broker is busy, as the thread does.
func (c *Controller) noteFetched(replica kafka.NodeID, part *kmsg.FetchRequestTopicPartition) (arriving bool) {
	state := c.state.Load()
	if replica < 0 || !state.Active {
		return false
	}
	ev := Fetched{Replica: replica, Directory: part.ReplicaDirectoryID, Offset: kafka.Offset(part.FetchOffset)}
	if c.cfg.Core.PropagationWaitMs > 0 && state.Image.Broker(kafka.BrokerID(replica)) != nil {
		before, known := c.positions.Swap(replica, ev.Offset)
		ev.Arriving = !known || before != ev.Offset
	}
	select {
	case c.events <- queued{event: ev}:
	default:
	}
	return ev.Arriving
}

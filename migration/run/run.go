package run

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"

	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/migration/zk"
)

// Config is what a Runner is made of.
type Config struct {
	Node kafka.NodeID
	// ClusterID is the metadata log's. Nothing is claimed of a ZooKeeper whose
	// /cluster/id is another.
	ClusterID string
	ZooKeeper zk.Config
	// Secret is the brokers' password.encoder.secret, "" if they have none.
	Secret string
	// Listener is inter.broker.listener.name: where brokers in ZooKeeper mode are told.
	Listener string
	// OnCommand says that ZooKeeper is not claimed before Start is called.
	OnCommand bool
	// Dial connects to a broker's listener, as zkbroker.Config.Dial.
	Dial func(ctx context.Context, at image.Endpoint) (net.Conn, error)
	// Append commits one batch of records as they are, as the leader of an epoch: all
	// or none, in order. It returns the offset of the last one when they are committed
	// and Committed has been or will be called with them. An error while the epoch
	// leads is final: nothing of the batch comes later. ctx ends with the leadership.
	Append func(ctx context.Context, e kafka.LeaderEpoch, batch []record.Message) (kafka.Offset, error)
	// Log may be nil.
	Log *slog.Logger
	// Clock is the machine's if nil.
	Clock clock.Clock
}

func (c *Config) validate() error {
	if _, _, err := zk.ParseConnect(c.ZooKeeper.Connect); err != nil {
		return err
	}
	switch {
	case c.Listener == "":
		return errors.New("inter.broker.listener.name is not set: set it to the listener on which brokers in ZooKeeper mode speak to each other")
	case c.ClusterID == "":
		return errors.New("run a migration: the cluster id is not known")
	case c.Append == nil:
		panic("run: a Config without Append")
	}
	return nil
}

// Committed is how far the metadata log has come.
type Committed struct {
	// Image is everything that is published: what is before an open transaction, else
	// everything that is committed.
	Image *image.Image
	// Offset is the last one that is committed.
	Offset kafka.Offset
	// Open says that a metadata transaction is open.
	Open bool
	// Unready are controllers of the quorum that have not registered as ready.
	Unready []kafka.NodeID
}

// Runner runs the part of one controller in a migration. Its methods may be called
// by any goroutine; Elected, Deposed, Committed and Resume never wait.
type Runner struct {
	config Config
	cancel context.CancelFunc
	done   chan struct{}
	wake   chan struct{} // something is in the inbox; holds one

	mu      sync.Mutex
	role    *role // the newest leadership, until the loop has taken it
	resume  bool
	start   bool // Start was called
	back    bool // RollBack was called
	backs   int  // how often
	newest  Committed
	changed chan struct{} // closed when newest is replaced
	moved   chan struct{} // closed when the loop has done something
	current *term         // whose Status it is
	status  Status
}

// role is a leadership that has begun or ended.
type role struct {
	leads bool
	epoch kafka.LeaderEpoch
}

// New starts a runner that does not lead. Nothing is read or written before
// Elected.
func New(c Config) (*Runner, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = clock.System
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Runner{
		config: c, cancel: cancel, done: make(chan struct{}), wake: make(chan struct{}, 1), changed: make(chan struct{}), moved: make(chan struct{}),
		newest: Committed{Offset: kafka.NoOffset},
		status: Status{Written: kafka.NoOffset},
	}
	go r.run(ctx)
	return r, nil
}

// Elected says that this controller leads at an epoch. Everything of the epochs
// before has been given to Committed.
func (r *Runner) Elected(e kafka.LeaderEpoch) { r.put(func() { r.role = &role{true, e} }) }

// Deposed says that this controller leads no longer: what is under way is broken
// off.
func (r *Runner) Deposed() { r.put(func() { r.role = &role{} }) }

// Resume lets a stopped migration look again where things stand, when a person has
// put in order what Status.Reason names. It does nothing unless it is stopped.
func (r *Runner) Resume() { r.put(func() { r.resume = true }) }

// Committed gives the newest of the metadata log, on every controller. An older one
// than the last is ignored.
func (r *Runner) Committed(s Committed) {
	r.put(func() {
		if s.Offset < r.newest.Offset {
			return
		}
		r.newest = s
		close(r.changed)
		r.changed = make(chan struct{})
	})
}

// ZooKeeper is Config.ZooKeeper's zookeeper.connect.
func (r *Runner) ZooKeeper() string { return r.config.ZooKeeper.Connect }

// ClusterID is Config.ClusterID.
func (r *Runner) ClusterID() string { return r.config.ClusterID }

// put changes the inbox and wakes the loop.
func (r *Runner) put(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	select {
	case r.wake <- struct{}{}:
	default: // it has not taken what came before
	}
}

// committed is the newest of the log, and what is closed when there is a newer.
func (r *Runner) committed() (Committed, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.newest, r.changed
}

// Close breaks off what is under way and waits until no goroutine is left.
func (r *Runner) Close() {
	r.cancel()
	<-r.done
}

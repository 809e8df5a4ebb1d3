package replay

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/snapshot"
)

// Publisher acts on new images. Publish is called by one goroutine at a time,
// in the order of the log, and may take its time: the log waits for it. The
// first call has everything as changes from the empty image. A publisher keeps
// its own faults to itself; there is nobody to give them to. Publishers are
// told apart by ==, so they are pointers.
type Publisher interface {
	// Name is for messages, such as "replica manager".
	Name() string
	// Publish is told what changed and what is now. All three are immutable.
	Publish(c *image.Changes, im *image.Image, m Manifest)
}

// Source is where the followers of the cluster's state get it from: on a
// controller the loader of its own store, on a broker that of its fetcher's, and
// in a combined node one for both.
type Source interface {
	// Image is the last published image, the empty one before the first. It is
	// there for readers just before publishers are told.
	Image() *image.Image
	// AddPublisher makes p follow from here on. It returns when p has been given
	// the first image, which waits until there is one, or with ctx's error.
	AddPublisher(ctx context.Context, p Publisher) error
	// RemovePublisher returns when p will not be called any more.
	RemovePublisher(ctx context.Context, p Publisher) error
}

// Log is the committed log that a Loader follows: *metadatalog.Store.
type Log interface {
	LogStart() kafka.Offset
	EndOffset() kafka.Offset
	// Read returns whole batches from the one at from on, nothing at the end.
	Read(from kafka.Offset, maxBytes int) ([]byte, error)
	// WaitChanged returns a channel that is closed when EndOffset changes.
	WaitChanged() <-chan struct{}
}

// Options are a Loader's.
type Options struct {
	// Log is followed to its end, and from there as it grows.
	Log Log
	// Snapshots are beside the log. The newest is read when the log begins after
	// the offset that is needed; nil if there are none.
	Snapshots *snapshot.Dir
	// Observe is told of control records; may be nil.
	Observe Observer
	// Publishers are the first ones, in the order in which they are called.
	Publishers []Publisher
}

// readBytes is how much of the log is replayed between two publications. It
// bounds what a step holds in memory beside the images; a batch of the metadata
// log may be larger by itself (8 MiB).
const readBytes = 1 << 20

// Loader follows a log with a Replayer and calls publishers. Until it has been
// at the log's end once it publishes nothing: the state of long ago would make
// publishers act on what is no more.
type Loader struct {
	options Options
	replay  *Replayer
	image   atomic.Pointer[image.Image]

	requests   chan request
	publishers []follower // owned by Run
	caughtUp   bool       // the log's end was reached once
	done       chan struct{}
}

var _ Source = (*Loader)(nil)

// follower is a publisher and whether it has had its first image.
type follower struct {
	Publisher
	started bool
	ready   chan<- struct{} // closed with the first image; may be nil
}

// request asks Run to add or to remove a publisher.
type request struct {
	add, remove Publisher
	ready       chan<- struct{}
}

// ErrStopped is what a Loader's methods give after Run has ended.
var ErrStopped = errors.New("the metadata loader has stopped")

// NewLoader returns a loader that Run starts.
func NewLoader(o Options) *Loader {
	l := &Loader{options: o, replay: New(o.Observe), requests: make(chan request), done: make(chan struct{})}
	for _, p := range o.Publishers {
		l.publishers = append(l.publishers, follower{Publisher: p})
	}
	l.image.Store(l.replay.Image())
	return l
}

// Image is the last published image; any goroutine may ask.
func (l *Loader) Image() *image.Image { return l.image.Load() }

// AddPublisher makes p follow; see Source.
func (l *Loader) AddPublisher(ctx context.Context, p Publisher) error {
	ready := make(chan struct{})
	return l.ask(ctx, request{add: p, ready: ready}, ready)
}

// RemovePublisher ends what AddPublisher began; see Source.
func (l *Loader) RemovePublisher(ctx context.Context, p Publisher) error {
	ready := make(chan struct{})
	return l.ask(ctx, request{remove: p, ready: ready}, ready)
}

func (l *Loader) ask(ctx context.Context, r request, ready <-chan struct{}) error {
	select {
	case l.requests <- r:
	case <-l.done:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-ready:
		return nil
	case <-l.done:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run follows the log until ctx ends, which gives nil, or until the log cannot
// be applied: then the error names the offset, and the last published image
// stays what it is. It is called once, in a goroutine that the caller owns.
func (l *Loader) Run(ctx context.Context) error {
	defer close(l.done)
	for {
		changed := l.options.Log.WaitChanged() // before the read, so that no change is missed
		if err := l.catchUp(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case r := <-l.requests:
			l.serve(r)
		}
	}
}

// catchUp replays to the log's end.
func (l *Loader) catchUp(ctx context.Context) error {
	for ctx.Err() == nil {
		if l.replay.NextOffset() < l.options.Log.LogStart() {
			if err := l.loadSnapshot(); err != nil {
				return err
			}
			continue
		}
		end := l.options.Log.EndOffset()
		if end < l.replay.NextOffset() {
			return fmt.Errorf("replay the metadata log: it ends at offset %d, but was replayed up to %d: a committed record is lost",
				end, l.replay.NextOffset())
		}
		data, err := l.options.Log.Read(l.replay.NextOffset(), readBytes)
		if err != nil {
			if l.replay.NextOffset() < l.options.Log.LogStart() {
				continue // the log's start moved between the two looks
			}
			return fmt.Errorf("replay the metadata log: %w", err)
		}
		if len(data) == 0 {
			l.caughtUp = true
			l.startPublishers()
			return nil
		}
		steps, err := l.replay.Feed(data)
		l.publish(steps)
		if err != nil {
			return err
		}
	}
	return nil
}

// loadSnapshot reads the newest snapshot that reaches the log's start. A
// damaged one is passed over for an older one that does.
func (l *Loader) loadSnapshot() error {
	start := l.options.Log.LogStart()
	var list []snapshot.Info
	if l.options.Snapshots != nil {
		list = l.options.Snapshots.List()
	}
	var damage error
	for _, info := range list { // newest first
		if info.ID.Offset < start {
			break
		}
		step, err := l.readSnapshot(info.ID)
		if err == nil {
			l.publish([]Published{step})
			return nil
		}
		if !errors.Is(err, snapshot.ErrDamaged) {
			return err
		}
		damage = errors.Join(damage, err)
	}
	if damage != nil {
		return fmt.Errorf("the metadata log begins at offset %d, and no snapshot of what was before can be read: %w", start, damage)
	}
	return fmt.Errorf("the metadata log begins at offset %d, and there is no snapshot that reaches it (%d are there): copy one from another controller",
		start, len(list))
}

func (l *Loader) readSnapshot(id kafka.EpochOffset) (Published, error) {
	file, err := l.options.Snapshots.Open(id)
	if err != nil {
		return Published{}, err
	}
	defer file.Close() // it was only read
	return l.replay.LoadReader(id, file)
}

// publish gives steps to those publishers that have begun.
func (l *Loader) publish(steps []Published) {
	for _, s := range steps {
		if l.caughtUp {
			l.image.Store(s.Image)
		}
		for _, p := range l.publishers {
			if p.started {
				p.Publish(s.Changes, s.Image, s.Manifest)
			}
		}
	}
}

// startPublishers gives the first image to those that have had none, once there
// is an image to give.
func (l *Loader) startPublishers() {
	im := l.replay.Image()
	if im.At().Offset < 0 || !l.caughtUp {
		return
	}
	l.image.Store(im)
	for i := range l.publishers {
		p := &l.publishers[i]
		if p.started {
			continue
		}
		p.started = true
		p.Publish(image.Diff(image.Empty(), im), im, Manifest{Kind: FromSnapshot})
		if p.ready != nil {
			close(p.ready)
			p.ready = nil
		}
	}
}

// serve answers AddPublisher and RemovePublisher.
func (l *Loader) serve(r request) {
	if r.add != nil {
		l.publishers = append(l.publishers, follower{Publisher: r.add, ready: r.ready})
		l.startPublishers()
		return
	}
	kept := l.publishers[:0:0]
	for _, p := range l.publishers {
		switch {
		case p.Publisher != r.remove:
			kept = append(kept, p)
		case p.ready != nil:
			close(p.ready)
		}
	}
	l.publishers = kept
	close(r.ready)
}

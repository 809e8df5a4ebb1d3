package zkbroker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/migration/zkbroker/control"
)

// DefaultTimeout is how long a broker may take for one request
// (controller.socket.timeout.ms).
const DefaultTimeout = 30 * time.Second

// ErrDeposed is in the chain when a broker has seen a higher /controller_epoch than
// ours: another controller has claimed ZooKeeper.
var ErrDeposed = errors.New("the broker knows a controller of a higher epoch")

// Config is one claim of ZooKeeper by one controller. A new claim needs a new
// Sender.
type Config struct {
	control.Head
	// Timeout bounds the making of a connection and each request; 0 is DefaultTimeout.
	Timeout time.Duration
	// Dial connects to a broker's listener. nil is TCP, which fails on listeners that
	// want TLS or SASL and says so.
	Dial func(ctx context.Context, at image.Endpoint) (net.Conn, error)
	// Deposed, if not nil, is called once, by a goroutine of the sender, when a broker
	// answers that there is a newer controller. It must not call Close.
	Deposed func(error)
	// Log gets what brokers refuse; nil for nobody.
	Log *slog.Logger
}

func (c *Config) validate() error {
	if c.Listener == "" {
		return errors.New("tell brokers in ZooKeeper mode: the controller's inter.broker.listener.name is not set, so it is not known where they listen for it")
	}
	if c.ControllerEpoch <= 0 {
		return fmt.Errorf("tell brokers in ZooKeeper mode: %d is no /controller_epoch of a claim", c.ControllerEpoch)
	}
	return nil
}

// Sender tells brokers. Its methods may be called by several goroutines; whoever
// made it closes it.
type Sender struct {
	config Config
	images mailbox
	cancel context.CancelFunc
	done   chan struct{}
	once   sync.Once // Config.Deposed

	mu     sync.Mutex
	newest kafka.Offset // of the published images
	links  map[kafka.BrokerID]*link
}

// New starts a sender that knows no image yet.
func New(c Config) (*Sender, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Dial == nil {
		c.Dial = dialPlain
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sender{config: c, images: newMailbox(), cancel: cancel, done: make(chan struct{}), newest: -1, links: map[kafka.BrokerID]*link{}}
	go s.run(ctx)
	return s, nil
}

// Publish gives an image to tell of, and returns at once. Only the newest is kept:
// a broker that is slow is told of several changes together. Images must come in
// the order of their offsets; an older one is ignored. A published image must be
// the whole truth: what is not in it, brokers delete.
func (s *Sender) Publish(im *image.Image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if im.At().Offset < s.newest {
		return
	}
	s.newest = im.At().Offset
	s.images.put(im)
}

// Close stops telling and waits until no goroutine of the sender is left. Requests
// that are on their way are broken off.
func (s *Sender) Close() {
	s.cancel()
	<-s.done
}

// Status is how far a broker has been told.
type Status struct {
	Broker  kafka.BrokerID
	Epoch   kafka.BrokerEpoch // of its registration
	Address string
	// Told is the offset of the newest image that the broker has acknowledged, -1
	// before the first.
	Told kafka.Offset
	// Lag is by how many offsets Told is behind what was published last.
	Lag int64
	// Requests is the number of requests that were answered.
	Requests int64
	// Refused is the number of partitions for which an answer had an error.
	Refused int64
	// Err is why the last attempt failed, nil after one that did not.
	Err error
}

// Status tells of every broker that is kept told, by id.
func (s *Sender) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Status
	for _, id := range slices.Sorted(maps.Keys(s.links)) {
		st := s.links[id].report()
		if s.newest >= 0 {
			st.Lag = int64(s.newest - max(st.Told, -1))
		}
		out = append(out, st)
	}
	return out
}

// run owns the set of links: one for each broker that is to be told.
func (s *Sender) run(ctx context.Context) {
	defer close(s.done)
	for ctx.Err() == nil {
		select {
		case <-s.images.wake:
			s.tell(ctx, s.images.take())
		case <-ctx.Done():
		}
	}
	for id := range s.links {
		s.drop(id)
	}
}

// tell gives an image to every link, after it has ended those of brokers that are
// gone, and begun those of new ones. A broker that has registered again is another.
func (s *Sender) tell(ctx context.Context, im *image.Image) {
	for id, l := range s.links {
		if b := im.Broker(id); b == nil || !control.Target(b) || b.Epoch != l.broker.Epoch {
			s.drop(id)
		}
	}
	for b := range im.Brokers() {
		if !control.Target(b) {
			continue
		}
		if s.links[b.ID] == nil {
			s.begin(ctx, b)
		}
		s.links[b.ID].images.put(im)
	}
}

func (s *Sender) begin(ctx context.Context, b *image.Broker) {
	ctx, cancel := context.WithCancel(ctx)
	l := &link{sender: s, broker: b, images: newMailbox(), cancel: cancel, done: make(chan struct{})}
	l.status = Status{Broker: b.ID, Epoch: b.Epoch, Told: -1}
	s.mu.Lock()
	s.links[b.ID] = l
	s.mu.Unlock()
	go l.run(ctx)
}

// drop ends a link and waits for it.
func (s *Sender) drop(id kafka.BrokerID) {
	l := s.links[id]
	l.cancel()
	<-l.done
	s.mu.Lock()
	delete(s.links, id)
	s.mu.Unlock()
}

// deposed passes on that there is a newer controller.
func (s *Sender) deposed(err error) {
	if s.config.Deposed != nil {
		s.once.Do(func() { s.config.Deposed(err) })
	}
}

// mailbox holds the newest image that its reader has not taken yet: a bounded queue
// of one, in which a newer image replaces an older, because it has all that the
// older had.
type mailbox struct {
	mu   *sync.Mutex
	held **image.Image
	wake chan struct{}
}

func newMailbox() mailbox {
	return mailbox{mu: new(sync.Mutex), held: new(*image.Image), wake: make(chan struct{}, 1)}
}

func (m mailbox) put(im *image.Image) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*m.held = im
	select {
	case m.wake <- struct{}{}:
	default: // the reader has not woken yet
	}
}

// take returns the newest image; there is one after a wake.
func (m mailbox) take() *image.Image {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.held
}

package zkbroker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/migration/zkbroker/control"
	wire "kvorum/protocol/errors"
)

const (
	// minPause and maxPause bound the rest after a failure. The broker of a failed
	// request is restarting, which takes seconds, or is fenced soon.
	minPause = 50 * time.Millisecond
	maxPause = time.Second
	// maxLogged bounds the partitions that one answer's log line names.
	maxLogged = 10
)

// link keeps one registration of one broker told. Its goroutine owns everything but
// status.
type link struct {
	sender *Sender
	broker *image.Broker
	images mailbox
	cancel context.CancelFunc
	done   chan struct{}

	conn *conn        // nil without a connection
	told *image.Image // what the broker has acknowledged, nil for nothing

	mu     sync.Mutex
	status Status
}

// run tells the broker until ctx ends, or until there is a newer controller.
func (l *link) run(ctx context.Context) {
	defer close(l.done)
	defer l.hangUp()
	for {
		select {
		case <-l.images.wake:
		case <-ctx.Done():
			return
		}
		if !l.reach(ctx) {
			return
		}
	}
}

// reach tries until the broker has the newest image, and returns false if it never
// will. What fails is made anew from what the broker has acknowledged last and from
// what is newest by then: the requests say how things are, so that a broker may get
// one twice.
func (l *link) reach(ctx context.Context) bool {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		im := l.images.take()
		err := l.tell(ctx, im)
		if ctx.Err() != nil {
			return false
		}
		l.note(func(s *Status) { s.Err = err })
		if err == nil {
			return true
		}
		l.hangUp()
		l.log().Warn("a broker in ZooKeeper mode could not be told", "offset", im.At().Offset, "err", err)
		if errors.Is(err, ErrDeposed) {
			l.sender.deposed(err)
			<-ctx.Done() // the status stays to be seen
			return false
		}
		if !clock.Rest(ctx, pause) {
			return false
		}
	}
}

// tell sends what the broker needs to have im.
func (l *link) tell(ctx context.Context, im *image.Image) error {
	var requests []kmsg.Request
	if l.told == nil {
		requests = control.Full(l.sender.config.Head, im, l.broker)
	} else {
		requests = control.Changed(l.sender.config.Head, image.Diff(l.told, im), l.broker)
	}
	for _, r := range requests {
		if err := l.send(ctx, im, r); err != nil {
			return fmt.Errorf("tell broker %d of the metadata up to offset %d: %w", l.broker.ID, im.At().Offset, err)
		}
	}
	l.told = im
	l.note(func(s *Status) { s.Told = im.At().Offset })
	return nil
}

// send sends one request and looks at the answer.
func (l *link) send(ctx context.Context, im *image.Image, r kmsg.Request) error {
	config := &l.sender.config
	ctx, cancel := context.WithTimeout(ctx, config.Timeout)
	defer cancel()
	if l.conn == nil {
		at, ok := control.Endpoint(im.Broker(l.broker.ID), config.Listener)
		if !ok {
			return fmt.Errorf("it has no listener %s, which is the controller's inter.broker.listener.name", config.Listener)
		}
		address := net.JoinHostPort(at.Host, strconv.Itoa(int(at.Port)))
		l.note(func(s *Status) { s.Address = address })
		socket, err := config.Dial(ctx, at)
		if err != nil {
			return err
		}
		l.conn = &conn{socket: socket, address: address, clientID: strconv.Itoa(int(config.Controller))}
	}
	answer, err := l.conn.exchange(ctx, r)
	if err != nil {
		return err
	}
	refused, err := l.judge(r, answer)
	l.note(func(s *Status) { s.Requests++; s.Refused += int64(refused) })
	return err
}

// judge reads an answer: the number of partitions that the broker refused, and the
// error of the whole. A partition that is refused is not sent again, as Apache's
// controllers do not either: the broker has something newer, or its disk failed,
// and says so by other ways.
func (l *link) judge(r kmsg.Request, answer kmsg.Response) (refused int, err error) {
	var code int16
	refuse := func(topic string, id int32, code int16) {
		if code == 0 {
			return
		}
		if refused++; refused <= maxLogged {
			l.log().Warn("a broker in ZooKeeper mode refused a partition", "request", kmsg.NameForKey(r.Key()), "topic", topic, "partition", id, "err", wire.Code(code).Err())
		}
	}
	switch a := answer.(type) {
	case *kmsg.UpdateMetadataResponse:
		code = a.ErrorCode
	case *kmsg.StopReplicaResponse:
		code = a.ErrorCode
		for _, p := range a.Partitions {
			refuse(p.Topic, p.Partition, p.ErrorCode)
		}
	case *kmsg.LeaderAndISRResponse:
		code = a.ErrorCode
		for _, t := range a.Topics {
			for _, p := range t.Partitions {
				refuse(kafka.UUID(t.TopicID).String(), p.Partition, p.ErrorCode)
			}
		}
	}
	switch wire.Code(code) {
	case wire.None:
		return refused, nil
	case wire.StaleControllerEpoch:
		return refused, fmt.Errorf("%s: %w: %w", kmsg.NameForKey(r.Key()), ErrDeposed, wire.Code(code).Err())
	}
	return refused, fmt.Errorf("%s: %w", kmsg.NameForKey(r.Key()), wire.Code(code).Err())
}

func (l *link) hangUp() {
	if l.conn != nil {
		l.conn.close()
		l.conn = nil
	}
}

func (l *link) log() *slog.Logger { return l.sender.config.Log.With("broker", l.broker.ID) }

func (l *link) note(change func(*Status)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.status)
}

func (l *link) report() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

package broker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

const (
	// idsPatience is how long a producer waits for ids before it is told to ask
	// again.
	idsPatience = 2 * time.Second
	// idsPause is the rest after a request for a block that failed.
	idsPause = 50 * time.Millisecond
)

// producerIDs hands out producer ids from blocks that the controllers give, none
// of them twice in the life of the cluster (RPCProducerIdManager). It has one
// block ahead, so that producers go on while the controllers are away.
type producerIDs struct {
	client *Client
	self   kafka.BrokerID
	epoch  func() kafka.BrokerEpoch
	logger *slog.Logger

	wake chan struct{} // one slot: a block is wanted

	mu      sync.Mutex
	blocks  []idBlock     // at most two
	changed chan struct{} // closed when a block has come
}

// idBlock is a range of ids that are not handed out yet.
type idBlock struct{ next, end kafka.ProducerID }

func newProducerIDs(client *Client, self kafka.BrokerID, epoch func() kafka.BrokerEpoch, logger *slog.Logger) *producerIDs {
	return &producerIDs{client: client, self: self, epoch: epoch, logger: logger, wake: make(chan struct{}, 1), changed: make(chan struct{})}
}

// Next implements handler.ProducerIDs. COORDINATOR_LOAD_IN_PROGRESS says that
// there is no id now.
func (m *producerIDs) Next(ctx context.Context) (kafka.ProducerID, error) {
	ctx, cancel := context.WithTimeout(ctx, idsPatience)
	defer cancel()
	for {
		id, ok, changed := m.take()
		if ok {
			return id, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return -1, errors.New(errors.CoordinatorLoadInProgress, "the controllers have not given this broker a block of producer ids")
		}
	}
}

func (m *producerIDs) take() (id kafka.ProducerID, ok bool, changed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.blocks) > 0 {
		b := &m.blocks[0]
		id, ok = b.next, true
		if b.next++; b.next == b.end {
			m.blocks = m.blocks[1:]
		}
	}
	if len(m.blocks) < 2 {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
	return id, ok, m.changed
}

// run fetches blocks when they are wanted, until ctx ends.
func (m *producerIDs) run(ctx context.Context) {
	for {
		select {
		case <-m.wake:
		case <-ctx.Done():
			return
		}
		for m.wanting() && ctx.Err() == nil {
			if err := m.fetch(ctx); err != nil {
				m.logger.Warn("no block of producer ids", "error", err)
				clock.Rest(ctx, idsPause)
			}
		}
	}
}

func (m *producerIDs) wanting() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.blocks) < 2
}

func (m *producerIDs) fetch(ctx context.Context) error {
	req := kmsg.NewPtrAllocateProducerIDsRequest()
	req.BrokerID, req.BrokerEpoch = int32(m.self), int64(m.epoch())
	body, err := m.client.Do(ctx, req)
	if err != nil {
		return err
	}
	resp := body.(*kmsg.AllocateProducerIDsResponse)
	if err := errors.Code(resp.ErrorCode).Err(); err != nil {
		return err
	}
	if resp.ProducerIDStart < 0 || resp.ProducerIDLen <= 0 {
		return fmt.Errorf("the controllers gave a block of %d producer ids from %d on", resp.ProducerIDLen, resp.ProducerIDStart)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	first := kafka.ProducerID(resp.ProducerIDStart)
	m.blocks = append(m.blocks, idBlock{first, first + kafka.ProducerID(resp.ProducerIDLen)})
	close(m.changed)
	m.changed = make(chan struct{})
	return nil
}

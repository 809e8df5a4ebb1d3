package broker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// registrar runs a lifecycle: it keeps its time, sends its requests and tells
// everybody its state. The goroutine of run owns the core.
type registrar struct {
	core   *lifecycle
	client *Client
	logger *slog.Logger
	// registration is the request of this process; heartbeatTimeout bounds one
	// heartbeat.
	registration     *kmsg.BrokerRegistrationRequest
	memories         *memories // nil: nothing is kept
	heartbeatTimeout time.Duration

	events chan any
	done   chan struct{}

	// heard is when an active controller has last answered, turned when the loop has
	// last done something; nil for never. They are for the metrics.
	heard, turned atomic.Pointer[time.Time]

	state   atomic.Int32 // State
	epoch   atomic.Int64 // kafka.BrokerEpoch
	mu      sync.Mutex
	changed chan struct{} // closed at the next change of state
}

func newRegistrar(cfg lifecycleConfig, client *Client, registration *kmsg.BrokerRegistrationRequest, timeout time.Duration, logger *slog.Logger) *registrar {
	r := &registrar{
		core: newLifecycle(cfg), client: client, logger: logger, registration: registration, heartbeatTimeout: timeout,
		// The senders are the loop's own request, the publisher, the directories and
		// whoever stops the broker; each waits for room.
		events: make(chan any, 16), done: make(chan struct{}), changed: make(chan struct{}),
	}
	r.epoch.Store(int64(kafka.NoBrokerEpoch))
	return r
}

// tell gives the loop an event, unless it has ended.
func (r *registrar) tell(ev any) {
	select {
	case r.events <- ev:
	case <-r.done:
	}
}

// State is where the broker stands.
func (r *registrar) State() State { return State(r.state.Load()) }

// Epoch is the broker epoch, NoBrokerEpoch before the registration.
func (r *registrar) Epoch() kafka.BrokerEpoch { return kafka.BrokerEpoch(r.epoch.Load()) }

func (r *registrar) heardAt() time.Time  { return at(&r.heard) }
func (r *registrar) turnedAt() time.Time { return at(&r.turned) }

func at(t *atomic.Pointer[time.Time]) time.Time {
	if p := t.Load(); p != nil {
		return *p
	}
	return time.Time{}
}

// mark notes that something has happened now.
func mark(t *atomic.Pointer[time.Time]) {
	now := time.Now() // with its monotonic reading
	t.Store(&now)
}

// wait returns when the state is reached or passed, or with ctx's error.
func (r *registrar) wait(ctx context.Context, s State) error {
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		if r.State() >= s {
			return nil
		}
		select {
		case <-changed:
		case <-r.done:
			return fmt.Errorf("the broker's lifecycle ended in state %s", r.State())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// run is the loop; it ends when the broker may stop (nil), with the error that
// ends the broker, or when ctx ends, which is no way to stop a broker but to
// abandon it.
func (r *registrar) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var requests sync.WaitGroup
	defer requests.Wait()
	defer stop()
	defer close(r.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	started := time.Now()
	var ev any = lifecycleTick{} // what begins it comes as an event
	for {
		out := r.core.step(time.Since(started).Milliseconds(), ev)
		if out.note != "" {
			r.logger.Info(out.note, "state", r.core.state)
		}
		r.publish()
		mark(&r.turned)
		if out.failed != nil {
			return out.failed
		}
		if r.core.state == ShuttingDown {
			return nil
		}
		if out.register {
			requests.Go(func() { r.register(ctx) })
		}
		if h := out.heartbeat; h != nil {
			requests.Go(func() { r.send(ctx, h) })
		}
		if out.wakeAtMs != 0 {
			timer.Reset(time.Duration(out.wakeAtMs)*time.Millisecond - time.Since(started))
		}
		select {
		case ev = <-r.events:
		case <-timer.C:
			ev = lifecycleTick{}
		case <-ctx.Done():
			return nil
		}
	}
}

// publish makes the core's state everybody's.
func (r *registrar) publish() {
	r.epoch.Store(int64(r.core.epoch))
	if State(r.state.Swap(int32(r.core.state))) == r.core.state {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *registrar) register(ctx context.Context) {
	timed, cancel := context.WithTimeout(ctx, r.heartbeatTimeout)
	defer cancel()
	req := *r.registration
	body, err := r.client.Do(timed, &req)
	if err != nil {
		r.tell(registered{err: err})
		return
	}
	mark(&r.heard)
	resp := body.(*kmsg.BrokerRegistrationResponse)
	if r.memories != nil && resp.ErrorCode == 0 {
		if err := r.memories.registered(kafka.BrokerEpoch(resp.BrokerEpoch)); err != nil {
			r.logger.Error("the registration is not kept; after a kill this broker will not be who it is now", "error", err)
		}
	}
	r.tell(registered{epoch: kafka.BrokerEpoch(resp.BrokerEpoch), code: errors.Code(resp.ErrorCode)})
}

func (r *registrar) send(ctx context.Context, h *heartbeat) {
	timed, cancel := context.WithTimeout(ctx, r.heartbeatTimeout)
	defer cancel()
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.BrokerID, req.BrokerEpoch, req.CurrentMetadataOffset = r.registration.BrokerID, int64(h.epoch), int64(h.offset)
	req.WantFence, req.WantShutdown = h.wantFence, h.wantShutDown
	for _, id := range h.offline {
		req.OfflineLogDirs = append(req.OfflineLogDirs, id)
	}
	body, err := r.ask(timed, req)
	if err != nil {
		r.tell(heartbeatAnswered{err: err})
		return
	}
	mark(&r.heard)
	resp := body.(*kmsg.BrokerHeartbeatResponse)
	r.tell(heartbeatAnswered{
		caughtUp: resp.IsCaughtUp, fenced: resp.IsFenced, shouldShutDown: resp.ShouldShutdown, code: errors.Code(resp.ErrorCode),
	})
}

// ask sends a heartbeat. That a controller is asked for leave to stop is noted before
// it can hear that, and not where there is none: who asked nobody may go on as who it
// is after its next start.
func (r *registrar) ask(ctx context.Context, req *kmsg.BrokerHeartbeatRequest) (kmsg.Response, error) {
	if !req.WantShutdown || r.memories == nil {
		return r.client.Do(ctx, req)
	}
	return r.client.DoNoted(ctx, req, r.memories.leaving)
}

// newRegistration is how this process registers (BrokerRegistration v4).
func newRegistration(cfg *Config, incarnation kafka.UUID, endpoints []image.Endpoint, directories []kafka.DirectoryID, previous kafka.BrokerEpoch) *kmsg.BrokerRegistrationRequest {
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.BrokerID, req.ClusterID, req.IncarnationID = int32(cfg.Node.ID), cfg.ClusterID, incarnation
	req.PreviousBrokerEpoch = int64(previous)
	if rack := cfg.Node.Broker.Rack; rack != "" {
		req.Rack = &rack
	}
	for _, e := range endpoints {
		l := kmsg.NewBrokerRegistrationRequestListener()
		l.Name, l.Host, l.Port, l.SecurityProtocol = e.Name, e.Host, e.Port, e.SecurityProtocol
		req.Listeners = append(req.Listeners, l)
	}
	for _, s := range image.SupportedFeatures() {
		f := kmsg.NewBrokerRegistrationRequestFeature()
		f.Name, f.MinSupportedVersion, f.MaxSupportedVersion = s.Name, s.MinSupportedVersion, s.MaxSupportedVersion
		req.Features = append(req.Features, f)
	}
	for _, id := range directories {
		req.LogDirs = append(req.LogDirs, id)
	}
	return req
}

// advertised are the endpoints that the broker registers, the inter-broker
// listener's name included. port says what a listener that asked for any port
// got.
func advertised(b *config.Broker, hostname string, port func(name string) uint16) []image.Endpoint {
	var out []image.Endpoint
	for _, l := range b.Listeners {
		e := image.Endpoint{Name: l.Name, Host: l.Advertised.Host, Port: l.Advertised.Port}
		if e.Host == "" {
			e.Host = hostname
		}
		if e.Port == 0 {
			e.Port = port(l.Name)
		}
		out = append(out, e)
	}
	return out
}

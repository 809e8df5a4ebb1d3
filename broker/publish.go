package broker

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"kvorum/internal/kafka"
	"kvorum/listener/quota"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/replay"
)

// publisher makes the broker what each image says, in Kafka's order
// (BrokerMetadataPublisher.onMetadataUpdate): replicas before the coordinators
// that write to them, configs and quotas after both.
//
// Clients see an image when everything has acted on it: what Metadata answers,
// this broker can already do.
type publisher struct {
	broker *Broker
	// image is the newest one that was acted on.
	image atomic.Pointer[image.Image]

	// acting is held by who acts on an image.
	acting sync.Mutex

	mu      sync.Mutex
	changed chan struct{} // closed at the next image
}

var _ replay.Publisher = (*publisher)(nil)

func newPublisher(b *Broker) *publisher {
	p := &publisher{broker: b, changed: make(chan struct{})}
	p.image.Store(image.Empty())
	return p
}

// Name implements replay.Publisher.
func (p *publisher) Name() string { return "broker" }

// Publish implements replay.Publisher.
func (p *publisher) Publish(c *image.Changes, im *image.Image, _ replay.Manifest) {
	p.acting.Lock()
	defer p.acting.Unlock()
	b := p.broker
	b.replicas.Publish(c, im)
	b.autoCreate.deleted(c, time.Now())
	b.electCoordinators(c)
	p.configs(c, im)
	p.quotas(c, im)
	p.image.Store(im)
	p.mu.Lock()
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	p.broker.registrar.tell(imagePublished{im.At().Offset})
}

// confirm says that the controllers have confirmed the newest image: what was left
// undone without that is done.
func (p *publisher) confirm() {
	p.acting.Lock()
	defer p.acting.Unlock()
	p.broker.replicas.Confirm()
	p.broker.electLeft(p.image.Load())
}

// configs puts the broker's own configs into force where they changed.
func (p *publisher) configs(c *image.Changes, im *image.Image) {
	self := strconv.Itoa(int(p.broker.cfg.Node.ID))
	for change := range c.Configs() {
		r := change.Either()
		if r.Resource.Type == image.ResourceBroker && (r.Resource.Name == "" || r.Resource.Name == self) {
			layers := p.broker.layersOf(im)
			p.broker.layers.Store(layers)
			p.broker.follow(layers)
			return
		}
	}
}

// quotas puts the image's client quotas into force where they changed.
func (p *publisher) quotas(c *image.Changes, im *image.Image) {
	for range c.ClientQuotas() {
		p.broker.quotas.Publish(quota.FromImage(im))
		return
	}
}

// wait returns the first image from now on that satisfies ok, or ctx's error.
func (p *publisher) wait(ctx context.Context, ok func(*image.Image) bool) error {
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if ok(p.image.Load()) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waitUnfenced waits until the image has this run of the broker as one that may
// lead, so that the first client finds it in the metadata.
func (p *publisher) waitUnfenced(ctx context.Context) error {
	self := kafka.BrokerID(p.broker.cfg.Node.ID)
	return p.wait(ctx, func(im *image.Image) bool {
		r := im.Broker(self)
		return r != nil && r.Epoch == p.broker.registrar.Epoch() && !r.Fenced
	})
}

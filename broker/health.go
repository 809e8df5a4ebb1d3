package broker

import (
	"time"

	"kvorum/internal/kafka"
)

// Health is what a broker says of itself.
type Health struct {
	State string `json:"state"`
	// Alive is whether its loop turns; NotReady says why it does not serve all that
	// it should, and is empty for a broker that does.
	Alive    bool     `json:"alive"`
	NotReady []string `json:"not_ready,omitempty"`
	Fenced   bool     `json:"fenced"`
	// Offset is the last of the metadata log that the broker acts on.
	Offset kafka.Offset `json:"metadata_offset"`
	// SecondsSinceController is how long no active controller has answered a
	// heartbeat; -1: none has yet.
	SecondsSinceController float64 `json:"seconds_since_controller"`
	OfflineDirectories     int     `json:"offline_log_directories"`
	// Unconfirmed says that the broker has started without any controller, serves from
	// its own copy of the metadata log, and has found none since.
	Unconfirmed bool `json:"unconfirmed_metadata"`
}

// stalled is after how long a loop that has not turned is held for dead: it has
// something to do each broker.heartbeat.interval.ms, 2 s by default.
const stalled = 60 * time.Second

// Health is the broker's health now. Safe for concurrent use.
func (b *Broker) Health() Health {
	im := b.publisher.image.Load()
	h := Health{State: b.State().String(), Offset: im.At().Offset, Fenced: true, OfflineDirectories: len(b.cfg.Node.LogDirs) - len(b.dirs.Online())}
	if own := im.Broker(kafka.BrokerID(b.cfg.Node.ID)); own != nil && own.Epoch == b.registrar.Epoch() {
		h.Fenced = own.Fenced
	}
	turned, heard := b.registrar.turnedAt(), b.registrar.heardAt()
	h.Alive = turned.IsZero() || time.Since(turned) < stalled // it has not begun, or goes on
	h.SecondsSinceController = -1
	if !heard.IsZero() {
		h.SecondsSinceController = time.Since(heard).Seconds()
	}
	h.Unconfirmed = b.replicas.Unconfirmed()
	switch state := b.State(); {
	case state != Running:
		h.NotReady = append(h.NotReady, "the broker is "+h.State)
		if why := b.waits.Load(); why != nil && heard.IsZero() {
			h.NotReady = append(h.NotReady, "no controller has answered yet, and it does not serve without one: "+*why)
		}
	case h.Fenced:
		h.NotReady = append(h.NotReady, "the controllers hold the broker fenced")
	}
	if !h.Alive {
		h.NotReady = append(h.NotReady, "the broker's loop stands still")
	}
	return h
}

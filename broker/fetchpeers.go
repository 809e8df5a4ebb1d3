package broker

import (
	"net"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/peerlog"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// Where no controller answers, the other brokers may know more of the metadata log
// than this one: each keeps what is committed, and nothing else. So after each round
// of controllers in vain they are asked, one after the other, for what follows the
// log here (docs/design/0008-serving-without-quorum.md).
//
// What a peer says is taken as what was committed, and as nothing more: it leads
// nobody, so that neither the epoch of its answer nor its high watermark tells how
// far the controllers are, and a log that was filled by peers is not confirmed.

// peerTurn is where the round of questions to the peers is.
type peerTurn struct {
	addresses []string
	failures  int // controllers that did not answer since the last round
	left      int // peers to ask in this round
	next      int
	asked     bool // the request that is under way went to a peer
	over      bool // a round has ended
}

// setPeers says where the other brokers are. It is called between two steps.
func (c *fetchCore) setPeers(addresses []string) { c.peers.addresses = addresses }

// peersOver reports whether all that the peers have to give has been taken once, or
// there are none.
func (c *fetchCore) peersOver() bool { return c.peers.over || len(c.peers.addresses) == 0 }

// controllerFailed counts a controller that did not answer; after as many as there
// are it is the peers' turn.
func (p *peerTurn) controllerFailed(controllers int) {
	if p.failures++; p.failures < controllers || len(p.addresses) == 0 {
		return
	}
	p.failures, p.left = 0, len(p.addresses)
}

// askPeer makes the request to the peer whose turn it is, if it is one's.
func (c *fetchCore) askPeer(out *fetchEffects) bool {
	p := &c.peers
	if p.left == 0 || len(p.addresses) == 0 || c.download != nil {
		return false
	}
	// What an Apache leader sent above its high watermark may never be committed.
	c.stored(c.end, c.lastEpoch)
	p.asked = true
	out.address = p.addresses[p.next%len(p.addresses)]
	out.fetch, out.peer = c.fetchRequest(), true
	out.fetch.MaxWaitMillis = 0
	return true
}

// stepPeer takes a peer's answer. The same one is asked again as long as it has
// something to give.
func (c *fetchCore) stepPeer(nowMs int64, ev fetchAnswered, out *fetchEffects) {
	p := &c.peers
	p.asked, c.dueMs = false, nowMs
	if ev.err == nil {
		out.store = c.fromPeer(ev.resp)
	}
	if out.store != nil {
		return
	}
	p.next++
	if p.left--; p.left == 0 {
		p.over = true
	}
}

// fromPeer is what a peer's answer adds to the stored log, nil for nothing.
func (c *fetchCore) fromPeer(resp *kmsg.FetchResponse) []byte {
	data, after := peerlog.Take(resp, kafka.EpochOffset{Offset: c.end, Epoch: c.lastEpoch})
	if data != nil {
		c.epoch = max(c.epoch, after.Epoch)
	}
	return data
}

// peerAddresses are the listeners of the other brokers that an image knows, by the
// name of the listener.
func peerAddresses(im *image.Image, self kafka.BrokerID, listener string) (out []string) {
	for b := range im.Brokers() {
		if b.ID == self {
			continue
		}
		for _, e := range b.Endpoints {
			if e.Name == listener {
				out = append(out, net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))))
			}
		}
	}
	return out
}

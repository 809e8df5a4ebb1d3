package group

import (
	"bytes"
	"encoding/binary"

	"github.com/tidwall/btree"
)

// consumerType is the protocol type of consumers, whose metadata has a known
// form (ConsumerProtocol.PROTOCOL_TYPE).
const consumerType = "consumer"

// supports reports whether a member with these protocols may be in the group:
// it names the group's type and one protocol that all members know.
func (g *group) supports(protocolType string, protocols []protocol) bool {
	if g.phase == Empty {
		return protocolType != "" && len(protocols) > 0
	}
	if g.protocolType != protocolType {
		return false
	}
	if g.members.Len() == 0 {
		return len(protocols) > 0 // the last members have gone while others are on their way
	}
	for _, p := range protocols {
		if g.allKnow(p.name) {
			return true
		}
	}
	return false
}

// allKnow reports whether every member knows a protocol.
func (g *group) allKnow(name string) bool {
	n, _ := g.known.Get(name)
	return n == g.members.Len()
}

// countProtocols adds by to the members that know each of the protocols.
func (g *group) countProtocols(protocols []protocol, by int) {
	for i, p := range protocols {
		if named(protocols[:i], p.name) {
			continue
		}
		n, _ := g.known.Get(p.name)
		if n += by; n == 0 {
			g.known.Delete(p.name)
		} else {
			g.known.Set(p.name, n)
		}
	}
}

func named(protocols []protocol, name string) bool {
	for _, p := range protocols {
		if p.name == name {
			return true
		}
	}
	return false
}

// choose elects the group's protocol: each member votes for the first of its
// protocols that all know, and most votes win; of equals the first by name, so
// that a replay chooses the same.
func (g *group) choose() *string {
	votes := make(map[string]int)
	g.members.Scan(func(_ string, m *member) bool {
		for _, p := range m.protocols {
			if g.allKnow(p.name) {
				votes[p.name]++
				break
			}
		}
		return true
	})
	var best *string
	for name, n := range votes {
		if best == nil || n > votes[*best] || n == votes[*best] && name < *best {
			best = &name
		}
	}
	return best
}

// metadata is what the member sent for a protocol; nil without one.
func (m *member) metadata(name *string) []byte {
	if name != nil {
		for _, p := range m.protocols {
			if p.name == *name {
				return p.metadata
			}
		}
	}
	return nil
}

// offersSame reports whether the member would join with what it joined with.
func (m *member) offersSame(protocols []protocol) bool {
	if len(protocols) != len(m.protocols) {
		return false
	}
	for i, p := range protocols {
		if p.name != m.protocols[i].name || !bytes.Equal(p.metadata, m.protocols[i].metadata) {
			return false
		}
	}
	return true
}

// subscribe works out the topics that the members subscribe to; not known when
// the group is not of consumers or one subscription cannot be read
// (ClassicGroup.computeSubscribedTopics).
func (g *group) subscribe() {
	g.topics, g.reads = btree.Set[string]{}, g.protocolType == consumerType
	if !g.reads || g.members.Len() == 0 {
		return
	}
	g.members.Scan(func(_ string, m *member) bool {
		g.reads = g.protocol != nil && eachTopic(m.metadata(g.protocol), g.topics.Insert)
		return g.reads
	})
	if !g.reads {
		g.topics = btree.Set[string]{}
	}
}

// subscribed reports whether the group reads the topic as far as is known; of
// consumers whose topics are not known it is taken to be so.
func (g *group) subscribed(topic string) bool {
	if g.reads {
		return g.topics.Contains(topic)
	}
	return g.protocolType == consumerType
}

// eachTopic walks the topics of a ConsumerProtocolSubscription: an i16 version
// and an array of strings, which begin every version. The walk takes no more
// steps than there are bytes. It reports whether the bytes are such a thing.
func eachTopic(b []byte, f func(string)) bool {
	if len(b) < 6 {
		return false
	}
	n := int32(binary.BigEndian.Uint32(b[2:]))
	if int16(binary.BigEndian.Uint16(b)) < 0 || n < 0 {
		return false
	}
	for b = b[6:]; n > 0; n-- {
		if len(b) < 2 {
			return false
		}
		length := int(int16(binary.BigEndian.Uint16(b)))
		if length < 0 || len(b) < 2+length {
			return false
		}
		f(string(b[2 : 2+length]))
		b = b[2+length:]
	}
	return true
}

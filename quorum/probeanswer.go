package quorum

import (
	"encoding/binary"
	"errors"
	"fmt"

	"kvorum/internal/kafka"
	wire "kvorum/protocol/errors"
)

// probeVersion is the version of ApiVersions that probes use: the first with
// finalized_features_epoch (KIP-584), which every broker of a KRaft cluster has.
const probeVersion = 3

// tagFeaturesEpoch is the tag of finalized_features_epoch in the response.
const tagFeaturesEpoch = 1

var errShortProbe = errors.New("the answer to ApiVersions is cut off")

// readProbe finds the finalized features epoch in a response frame of
// ApiVersions v3 (without its length). A broker at any address is asked, so that
// nothing in the frame is believed: what is skipped is skipped within its bounds,
// and each step consumes some of it.
func readProbe(frame []byte, id int32) (kafka.Offset, error) {
	r := probeReader{rest: frame}
	if got := int32(binary.BigEndian.Uint32(r.take(4))); r.short == nil && got != id {
		return 0, fmt.Errorf("the answer to ApiVersions belongs to request %d, not %d", got, id)
	}
	// The header of this one response has no tags, at any version (KIP-511).
	if code := wire.Code(binary.BigEndian.Uint16(r.take(2))); r.short == nil && code != wire.None {
		return 0, fmt.Errorf("ApiVersions is answered %s", code)
	}
	for keys := r.uvarint(); keys > 1 && r.short == nil; keys-- {
		r.take(6) // key, least and highest version
		r.skipTags()
	}
	r.take(4) // throttle time
	for tags := r.uvarint(); tags > 0 && r.short == nil; tags-- {
		tag, value := r.uvarint(), r.take(r.uvarint())
		if tag != tagFeaturesEpoch || r.short != nil {
			continue
		}
		if len(value) != 8 {
			return 0, fmt.Errorf("finalized_features_epoch has %d bytes", len(value))
		}
		if epoch := int64(binary.BigEndian.Uint64(value)); epoch >= 0 {
			return kafka.Offset(epoch), nil
		}
		break
	}
	if r.short != nil {
		return 0, r.short
	}
	return 0, errors.New("the answer to ApiVersions has no finalized_features_epoch: this is no broker of a KRaft cluster")
}

// probeReader reads a frame; after its end it gives zeroes.
type probeReader struct {
	rest  []byte
	short error
}

var zeroes [8]byte

func (r *probeReader) take(n uint64) []byte {
	if r.short == nil && n <= uint64(len(r.rest)) {
		out := r.rest[:n]
		r.rest = r.rest[n:]
		return out
	}
	r.short = errShortProbe
	return zeroes[:]
}

func (r *probeReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if r.short != nil || n <= 0 {
		r.short = errShortProbe
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *probeReader) skipTags() {
	for tags := r.uvarint(); tags > 0 && r.short == nil; tags-- {
		r.uvarint()
		r.take(r.uvarint())
	}
}

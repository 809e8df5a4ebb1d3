package protocol

import (
	"fmt"
	"regexp"
	"sort"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// The keys that a listener answers itself, and that of the requests whose frames
// it uses again.
const (
	KeyProduce          Key = 0
	KeySASLHandshake    Key = 17
	KeyAPIVersions      Key = 18
	KeySASLAuthenticate Key = 36
)

// Handlers binds the APIs of one listener to handlers of type H. What is
// announced is what is bound, so a listener cannot promise what it does not do.
// Bind everything first; afterwards Handlers is only read and needs no lock.
type Handlers[H any] struct {
	kind  ListenerSet
	bound map[Key]binding[H]
}

type binding[H any] struct {
	min, max int16
	handler  H
}

// NewHandlers makes the bindings of a listener of this kind.
func NewHandlers[H any](kind ListenerSet) *Handlers[H] {
	return &Handlers[H]{kind: kind, bound: make(map[Key]binding[H])}
}

// Kind is what the listener is.
func (h *Handlers[H]) Kind() ListenerSet { return h.kind }

// Bind binds every version of the table to handler. It panics on an API that the
// table does not serve on this kind of listener, and on a second handler.
func (h *Handlers[H]) Bind(k Key, handler H) {
	api, ok := Lookup(k)
	if !ok {
		panic(fmt.Sprintf("protocol: Bind of unknown key %d", int16(k)))
	}
	h.BindVersions(k, api.Min, api.Max, handler)
}

// BindVersions binds versions minVersion to maxVersion only; no others are
// announced or served.
func (h *Handlers[H]) BindVersions(k Key, minVersion, maxVersion int16, handler H) {
	api, ok := Lookup(k)
	if !ok || api.Listeners&h.kind == 0 || k == KeyAPIVersions {
		panic(fmt.Sprintf("protocol: %s is not for a handler on this listener (kind %b)", k, h.kind))
	}
	if minVersion > maxVersion || !api.Served(minVersion) || !api.Served(maxVersion) {
		panic(fmt.Sprintf("protocol: %s versions %d-%d are outside of %d-%d", k, minVersion, maxVersion, api.Min, api.Max))
	}
	if _, twice := h.bound[k]; twice {
		panic(fmt.Sprintf("protocol: %s is bound twice", k))
	}
	h.bound[k] = binding[H]{min: minVersion, max: maxVersion, handler: handler}
}

// Lookup finds the handler. The error is UNSUPPORTED_VERSION where the API or
// this version of it is not bound.
func (h *Handlers[H]) Lookup(k Key, version int16) (handler H, err error) {
	b, ok := h.bound[k]
	if !ok {
		return handler, errors.New(errors.UnsupportedVersion, "%s is not served on this listener", k)
	}
	if version < b.min || version > b.max {
		return handler, errors.New(errors.UnsupportedVersion, "%s version %d is not served, only %d to %d", k, version, b.min, b.max)
	}
	return b.handler, nil
}

// Unbound returns the APIs that Apache serves on this kind of listener and that
// have no handler: with it, a test of the listener's owner proves that nothing
// was forgotten. ApiVersions and SASL are the listener's own.
func (h *Handlers[H]) Unbound() (missing []Key) {
	for i := range table {
		api := &table[i]
		_, ok := h.bound[api.Key]
		own := api.Key == KeyAPIVersions || api.Key == KeySASLHandshake || api.Key == KeySASLAuthenticate
		if !ok && !own && api.Listeners&h.kind != 0 && api.Max >= api.Min {
			missing = append(missing, api.Key)
		}
	}
	return missing
}

// Features is what ApiVersions says about feature levels, given by the owner of
// the image. Epoch is the metadata offset of Finalized, -1 where unknown.
type Features struct {
	Supported []SupportedFeature
	Finalized []FinalizedFeature
	Epoch     int64
	// ZkMigrationReady is asked for by ZooKeeper-mode controllers of 3.x.
	ZkMigrationReady bool
}

// SupportedFeature is the range of levels that this node can run.
type SupportedFeature struct {
	Name     string
	Min, Max int16
}

// FinalizedFeature is the level that the cluster runs.
type FinalizedFeature struct {
	Name  string
	Level int16
}

// software is what a client may call itself (ApiVersionsRequest.isValid).
var software = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

// APIVersions answers ApiVersions for this listener. From version 3 on the
// request must name its software, else the answer is INVALID_REQUEST.
func (h *Handlers[H]) APIVersions(req *kmsg.ApiVersionsRequest, f Features) *kmsg.ApiVersionsResponse {
	resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
	if req.Version >= 3 && (!software.MatchString(req.ClientSoftwareName) || !software.MatchString(req.ClientSoftwareVersion)) {
		resp.ErrorCode = int16(errors.InvalidRequest)
		return resp
	}
	resp.ApiKeys = h.announced()
	if req.Version < 3 {
		return resp
	}
	for _, s := range f.Supported {
		if s.Min == 0 && req.Version <= 3 {
			continue // old clients die of a minimum of 0 (KAFKA-17011)
		}
		k := kmsg.NewApiVersionsResponseSupportedFeature()
		k.Name, k.MinVersion, k.MaxVersion = s.Name, s.Min, s.Max
		resp.SupportedFeatures = append(resp.SupportedFeatures, k)
	}
	for _, s := range f.Finalized {
		k := kmsg.NewApiVersionsResponseFinalizedFeature()
		k.Name, k.MinVersionLevel, k.MaxVersionLevel = s.Name, s.Level, s.Level
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, k)
	}
	resp.FinalizedFeaturesEpoch = f.Epoch
	resp.ZkMigrationReady = f.ZkMigrationReady
	return resp
}

// announced lists what is bound, and ApiVersions itself, by key. kvorum's own
// requests are for nodes, which know them without being told.
func (h *Handlers[H]) announced() []kmsg.ApiVersionsResponseApiKey {
	keys := make([]kmsg.ApiVersionsResponseApiKey, 0, len(h.bound)+1)
	for k, b := range h.bound {
		if k >= FirstOwnKey {
			continue
		}
		api, _ := Lookup(k)
		a := kmsg.NewApiVersionsResponseApiKey()
		a.ApiKey, a.MinVersion, a.MaxVersion = int16(k), b.min, b.max
		if b.min == api.Min {
			a.MinVersion = api.AnnouncedMin
		}
		keys = append(keys, a)
	}
	keys = append(keys, ownVersions())
	sort.Slice(keys, func(i, j int) bool { return keys[i].ApiKey < keys[j].ApiKey })
	return keys
}

func ownVersions() kmsg.ApiVersionsResponseApiKey {
	api, _ := Lookup(KeyAPIVersions)
	a := kmsg.NewApiVersionsResponseApiKey()
	a.ApiKey, a.MinVersion, a.MaxVersion = int16(KeyAPIVersions), api.Min, api.Max
	return a
}

// APIVersionsFallback answers an ApiVersions request of a version we do not
// know: in version 0, UNSUPPORTED_VERSION and the range of ApiVersions, so that
// the client can ask again (KIP-511).
func APIVersionsFallback() *kmsg.ApiVersionsResponse {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.Version = 0
	resp.ErrorCode = int16(errors.UnsupportedVersion)
	resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{ownVersions()}
	return resp
}

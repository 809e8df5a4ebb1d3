// Package protocol is Kafka's wire edge over kmsg: frames and headers, the one
// table of APIs, the Envelope, and what a listener announces. Bytes come in from
// package listener, are checked against the shape of the request (so that a
// hostile frame costs no more memory than Checked.Cost says), become a Request,
// and are bound to handlers by Handlers. It does no I/O and keeps no state.
package protocol

import (
	"fmt"
	"reflect"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Key is Kafka's API key.
type Key int16

// FirstOwnKey begins the keys of kvorum's own requests (migration, maintenance,
// peer copy). They are Kafka-framed, stand in the same table, are served on
// controller and inter-broker listeners only, and are hidden from the
// ApiVersions of everybody else.
const FirstOwnKey Key = 20000

// String returns the API's name.
func (k Key) String() string {
	if api, ok := Lookup(k); ok {
		return api.Name
	}
	return fmt.Sprintf("API(%d)", int16(k))
}

// ListenerSet says on which kinds of listener an API is served, or which kinds
// one listener is: a broker's only listener is both Broker and InterBroker.
type ListenerSet uint8

// The kinds of listener. Apache's "broker" APIs are served on both kinds of
// broker listener; what is for nodes only has no Broker bit.
const (
	Broker      ListenerSet = 1 << iota // clients of a broker
	Controller                          // a controller's listener (controller.listener.names)
	InterBroker                         // inter.broker.listener.name
)

// Rule says who may send a request. A rule with an Operation is checked by the
// listener's owner before the handler runs; one with a Reason leaves it to the
// handler, and says why. Every API has one of the two on every listener it is
// served on (a test proves it), so an API without authorization cannot exist.
type Rule struct {
	Resource  kmsg.ACLResourceType
	Operation kmsg.ACLOperation
	Reason    string
}

// API is one row of the table.
type API struct {
	Key  Key
	Name string
	// Min and Max are the served versions; Max below Min means that no version
	// is served (the ZooKeeper-mode control requests).
	Min, Max int16
	// AnnouncedMin is what ApiVersions says where it is not Min.
	AnnouncedMin int16
	Listeners    ListenerSet
	// FrameLimit is the largest request in bytes, header included.
	FrameLimit int
	// OnBroker and OnController authorize the request by kind of listener.
	OnBroker, OnController Rule
	// Forwardable requests may come inside an Envelope (ApiKeys.forwardable).
	Forwardable bool

	firstFlexible int16
	shapes        []shape // by version
	structSize    int     // the largest struct that decoding puts into an array
}

// Frame limits in bytes. A frame is held in memory whole, so each limit is the
// memory that one connection can claim with it.
const (
	// MinFrame is the smallest request: key, version and correlation id.
	MinFrame = 8
	// FramePreAuth bounds every request before a client has authenticated, and
	// the requests that have a handful of fields at most.
	FramePreAuth = 64 << 10
	// FrameNode is for requests that grow with one node: its listeners,
	// directories and features, or one group member's metadata.
	FrameNode = 1 << 20
	// FrameCluster is for requests that grow with the cluster: 100,000
	// partitions of an AlterPartition are 6 MiB.
	FrameCluster = 16 << 20
	// FrameRecords is for requests that carry records: Kafka's default of
	// socket.request.max.bytes.
	FrameRecords = 100 << 20
)

// Lookup finds the row of a key.
func Lookup(k Key) (*API, bool) {
	switch {
	case k >= 0 && int(k) < len(table):
		return &table[k], true
	case k >= FirstOwnKey && int(k-FirstOwnKey) < len(own):
		return &own[k-FirstOwnKey], true
	}
	return nil, false
}

// APIs calls yield with every row of Kafka's, by key. It is an iter.Seq.
func APIs(yield func(*API) bool) {
	for i := range table {
		if !yield(&table[i]) {
			return
		}
	}
}

// Served reports whether version can be decoded and is served.
func (a *API) Served(version int16) bool { return version >= a.Min && version <= a.Max }

// Rule returns who may send the request on a listener of this kind.
func (a *API) Rule(kind ListenerSet) Rule {
	if kind&Controller != 0 {
		return a.OnController
	}
	return a.OnBroker
}

// flexible reports whether a version has tagged fields (KIP-482).
func (a *API) flexible(version int16) bool { return version >= a.firstFlexible }

// Amplification is how many bytes decoding may allocate for one byte of a
// request, at most and without unknown tags: 20 to 113 by API, for a frame that
// is nothing but the smallest elements. Checked.Cost is the bound of one frame,
// and near 3 for honest ones; this one is for sizing budgets.
func (a *API) Amplification() int {
	worst := 1
	for _, s := range a.shapes {
		worst = max(worst, s.amplification(a.structSize))
	}
	return worst
}

func (s shape) amplification(structSize int) int {
	worst := 1
	for i := range s {
		f := &s[i]
		for _, tag := range f.tags {
			worst = max(worst, tag.amplification(structSize))
		}
		if f.inner == nil {
			continue
		}
		elem := (&checker{structSize: structSize}).elementSize(f.inner)
		for i := range f.inner { // what the empty strings and arrays of an element cost
			switch f.inner[i].kind {
			case 's', 'c':
				elem += costString
			case '[', '<', '(':
				elem += costArray
			}
		}
		worst = max(worst, (elem+elem/4)/f.inner.minBytes()+1, f.inner.amplification(structSize))
	}
	return worst
}

// bind fills what follows from the key: kmsg's type, the shapes and the sizes.
func (a *API) bind(shapes map[int16]shape) {
	req := NewRequest(a.Key)
	if req == nil {
		panic(fmt.Sprintf("protocol: there is no request for key %d", a.Key))
	}
	a.structSize = largestStruct(reflect.TypeOf(req).Elem())
	a.firstFlexible = req.MaxVersion() + 1
	for v := int16(0); v <= req.MaxVersion(); v++ {
		if req.SetVersion(v); req.IsFlexible() {
			a.firstFlexible = v
			break
		}
	}
	a.shapes = make([]shape, a.Max+1)
	for v := a.Min; v <= a.Max; v++ {
		s, ok := shapes[v]
		if !ok || s.flexible() != a.flexible(v) {
			panic(fmt.Sprintf("protocol: no fitting shape for %s version %d", a.Name, v))
		}
		a.shapes[v] = s
	}
}

// largestStruct is the size of the largest struct that t holds in a slice or
// behind a pointer, at any depth.
func largestStruct(t reflect.Type) int {
	size := 0
	for i := range t.NumField() {
		f := t.Field(i).Type
		for f.Kind() == reflect.Slice || f.Kind() == reflect.Pointer {
			f = f.Elem()
		}
		if f.Kind() != reflect.Struct || !t.Field(i).IsExported() {
			continue
		}
		size = max(size, int(f.Size()), largestStruct(f))
	}
	return size
}

package listener

import (
	"context"
	"net/netip"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/listener/quota"
	"kvorum/protocol"
)

// Handler answers one request. It runs on the goroutine of its connection and
// may block for as long as it likes (a long poll, a reply that waits for its
// records to commit): other connections go on, and later requests of the same
// connection wait, as Kafka mutes a channel with a request in flight.
//
// ctx ends when the connection does, or after Config.RequestTimeout. It says
// that nobody waits for the answer, not that the request is to be undone.
//
// An error means that there is no answer: it is logged and the connection is
// closed. What a client should be told is an error code in the response.
type Handler func(ctx context.Context, r *Request) (Response, error)

// ConnID numbers the connections of a process from 1.
type ConnID uint64

// Request is a decoded request and where it came from. Its Body holds pieces of
// the frame: the byte strings of the body are not copied. A handler may keep
// them, as the listener uses neither again, but not those of a Produce request:
// its frame is used again for another once its response has been written, so
// that records at full speed do not become garbage at full speed.
type Request struct {
	*protocol.Request
	Principal protocol.Principal
	Client    netip.AddrPort
	Listener  string // Config.Name
	Conn      ConnID
	Received  time.Time // when the last byte of the frame had come

	quotas   *quota.Quotas // nil limits nothing
	throttle time.Duration
	exempt   bool
	audited  bool
	remote   time.Duration
	parked   time.Duration
}

// Waited says that the handler has waited for others for so long: replicas, the
// controllers, other members.
func (r *Request) Waited(d time.Duration) { r.remote += d }

// AuditedByController says that the active controller has answered all of the request,
// and so audits it: this node's audit says nothing.
func (r *Request) AuditedByController() { r.audited = true }

// Parked says the same of a wait that the request itself has asked for, as a
// Fetch does for records that are not there yet.
func (r *Request) Parked(d time.Duration) {
	r.remote += d
	r.parked += d
}

// Response is a handler's answer: a message to encode, or a body that is encoded
// already, or nothing.
type Response struct {
	body    kmsg.Response
	raw     *protocol.Body
	of      kmsg.Response // what raw was encoded from; for the metrics
	release func()
	silent  bool
}

// Reply answers with a message; its version becomes the request's.
func Reply(body kmsg.Response) Response { return Response{body: body} }

// RawReply answers with a body that is encoded for the request's version. Its
// large sources write themselves into the connection, so that a plain TCP one
// gets them from the file without a copy. release (or nil) is called once, when
// the bytes have been written or never will be: until then body and sources must
// not change. A source that fails, or is not as long as it said, ends the
// connection, as the response has begun.
func RawReply(body *protocol.Body, release func()) Response {
	return Response{raw: body, release: release}
}

// Of says what message a body was encoded from, so that its errors are counted.
func (r Response) Of(body kmsg.Response) Response {
	r.of = body
	return r
}

// message is what the response says, nil where nobody knows.
func (r *Response) message() kmsg.Response {
	if r.body != nil {
		return r.body
	}
	return r.of
}

// NoReply answers nothing, as Produce with acks=0 wants it.
func NoReply() Response { return Response{silent: true} }

// done gives back what the response holds.
func (r *Response) done() {
	if r.release != nil {
		r.release()
		r.release = nil
	}
}

// Authenticator logs one connection in. Step gets SaslHandshake and
// SaslAuthenticate requests, nothing else; it returns the principal once it is
// known, and until then the connection may send only these and ApiVersions, in
// frames of at most 64 KiB, within Config.AuthTimeout. An error closes the
// connection after the response, if there is one, has been sent.
type Authenticator interface {
	Step(ctx context.Context, r *Request) (Response, *protocol.Principal, error)
}

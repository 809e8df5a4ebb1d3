package protocol

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// Header is a request's header (RequestHeader v0, v1 and v2).
type Header struct {
	Key           Key
	Version       int16
	CorrelationID int32
	ClientID      *string
}

// Request is one decoded request. Body holds pieces of the frame (record
// batches and other bytes are not copied), so the frame lives as long as Body.
type Request struct {
	Header
	API  *API
	Body kmsg.Request
}

// Checked is a request whose header is read and whose body was found to be
// backed by bytes, but is not decoded yet.
type Checked struct {
	Header
	API *API
	// Cost bounds what Decode allocates, in bytes, and OpenEnvelope after it.
	// Charge it first.
	Cost int
	body []byte
}

// FixedHeader reads what every request begins with, at least MinFrame bytes.
func FixedHeader(frame []byte) (Header, error) {
	if len(frame) < MinFrame {
		return Header{}, errors.New(errors.InvalidRequest, "a request of %d bytes has no header", len(frame))
	}
	return Header{
		Key:           Key(binary.BigEndian.Uint16(frame)),
		Version:       int16(binary.BigEndian.Uint16(frame[2:])),
		CorrelationID: int32(binary.BigEndian.Uint32(frame[4:])),
	}, nil
}

// Check reads the header of a request (without its length prefix) and walks the
// body. The error is a wire error: UNSUPPORTED_VERSION for an API or version
// that is not in the table, INVALID_REQUEST for anything that does not parse.
// Check allocates nothing that the frame could make grow but the client id.
func Check(frame []byte) (Checked, error) {
	h, err := FixedHeader(frame)
	if err != nil {
		return Checked{}, err
	}
	api, ok := Lookup(h.Key)
	if !ok {
		return Checked{Header: h}, errors.New(errors.UnsupportedVersion, "unknown API key %d", int16(h.Key))
	}
	if !api.Served(h.Version) {
		return Checked{Header: h, API: api}, errors.New(errors.UnsupportedVersion,
			"%s version %d is not served, only %d to %d", api.Name, h.Version, api.Min, api.Max)
	}
	body, err := h.readRest(api, frame)
	if err != nil {
		return Checked{Header: h, API: api}, err
	}
	cost, err := check(api.shapes[h.Version], api.structSize, body)
	if err != nil {
		return Checked{Header: h, API: api}, errors.New(errors.InvalidRequest,
			"%s version %d: %v", api.Name, h.Version, err)
	}
	if h.Key == keyEnvelope {
		cost += innerCost(body)
	}
	return Checked{Header: h, API: api, Cost: cost, body: body}, nil
}

// headerTags is the end of a flexible header: no tag is defined for it.
var headerTags = shape{{kind: 'T', min: 1}}

// readRest reads the client id and the header's tags, and returns the body.
func (h *Header) readRest(api *API, frame []byte) ([]byte, error) {
	rest := frame[MinFrame:]
	if api.Key == keyControlledShutdown && h.Version == 0 {
		return rest, nil // the one request with header v0
	}
	if len(rest) < 2 {
		return nil, errors.New(errors.InvalidRequest, "the header of %s ends before its client id", api.Name)
	}
	n := int(int16(binary.BigEndian.Uint16(rest)))
	if rest = rest[2:]; n > len(rest) {
		return nil, errors.New(errors.InvalidRequest, "the client id of %s has %d bytes, only %d are there", api.Name, n, len(rest))
	}
	if n >= 0 {
		id := string(rest[:n])
		h.ClientID, rest = &id, rest[n:]
	}
	if !api.flexible(h.Version) {
		return rest, nil
	}
	c := checker{src: rest}
	if err := c.walk(headerTags); err != nil {
		return nil, errors.New(errors.InvalidRequest, "the tags in the header of %s: %v", api.Name, err)
	}
	return rest[c.at:], nil
}

const (
	keyControlledShutdown Key = 7
	keyEnvelope           Key = 58
)

// Decode decodes the body. It fails only where kmsg and the shape disagree,
// which would be a mistake of ours; it never panics on what a peer sent.
func (c Checked) Decode() (*Request, error) {
	body := NewRequest(c.Key)
	body.SetVersion(c.Version)
	if err := body.ReadFrom(c.body); err != nil {
		return nil, errors.New(errors.InvalidRequest, "%s version %d: %v", c.API.Name, c.Version, err)
	}
	return &Request{Header: c.Header, API: c.API, Body: body}, nil
}

// Decode checks and decodes a request without its length prefix, for callers
// that charge no budget.
func Decode(frame []byte) (*Request, error) {
	c, err := Check(frame)
	if err != nil {
		return nil, err
	}
	return c.Decode()
}

// Response makes the empty response that fits r; its version is r's.
func (r *Request) Response() kmsg.Response { return r.Body.ResponseKind() }

// AppendRequest appends a whole request frame with its length prefix. The
// version is body's.
func AppendRequest(dst []byte, correlationID int32, clientID *string, body kmsg.Request) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(body.Key()))
	dst = binary.BigEndian.AppendUint16(dst, uint16(body.GetVersion()))
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlationID))
	if Key(body.Key()) != keyControlledShutdown || body.GetVersion() != 0 {
		if clientID == nil {
			dst = append(dst, 0xff, 0xff)
		} else {
			dst = binary.BigEndian.AppendUint16(dst, uint16(len(*clientID)))
			dst = append(dst, *clientID...)
		}
		if body.IsFlexible() {
			dst = append(dst, 0) // no header tags
		}
	}
	return putLength(body.AppendTo(dst), start)
}

// AppendResponse appends a whole response frame with its length prefix. The
// version is body's, which must be the request's.
func AppendResponse(dst []byte, correlationID int32, body kmsg.Response) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	return putLength(appendResponse(dst, correlationID, body), start)
}

// appendResponse appends header and body without a length prefix.
func appendResponse(dst []byte, correlationID int32, body kmsg.Response) []byte {
	return body.AppendTo(appendResponseHeader(dst, correlationID, Key(body.Key()), body.IsFlexible()))
}

// AppendResponseHead appends the length prefix and the header of a response to
// r whose body of bodyBytes is encoded already (a Fetch that sends the store's
// own bytes).
func AppendResponseHead(dst []byte, r *Request, bodyBytes int) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = appendResponseHeader(dst, r.CorrelationID, r.Key, r.API.flexible(r.Version))
	binary.BigEndian.PutUint32(dst[start:], frameLength(len(dst)-start-4+bodyBytes))
	return dst
}

// appendResponseHeader writes header v1 for flexible versions, else v0. The
// answer to ApiVersions always has v0: its sender cannot know better yet.
func appendResponseHeader(dst []byte, correlationID int32, key Key, flexible bool) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlationID))
	if flexible && key != KeyAPIVersions {
		dst = append(dst, 0)
	}
	return dst
}

func putLength(frame []byte, start int) []byte {
	binary.BigEndian.PutUint32(frame[start:], frameLength(len(frame)-start-4))
	return frame
}

// frameLength is the length prefix; a frame of 2 GiB cannot be said in it, and
// whoever builds a response has bounded it far below.
func frameLength(n int) uint32 {
	if n > math.MaxInt32 {
		panic(fmt.Sprintf("protocol: a frame of %d bytes", n))
	}
	return uint32(n)
}

// ReadResponse splits a response frame (without its length prefix) and decodes
// its body into resp, whose version is the request's. It is for clients inside
// the cluster: kmsg trusts the counts of a response, so the peer must be trusted.
func ReadResponse(frame []byte, resp kmsg.Response) (correlationID int32, err error) {
	if len(frame) < 4 {
		return 0, fmt.Errorf("response of %d bytes to %s has no header", len(frame), Key(resp.Key()))
	}
	correlationID = int32(binary.BigEndian.Uint32(frame))
	body := frame[4:]
	if resp.IsFlexible() && Key(resp.Key()) != KeyAPIVersions {
		c := checker{src: body}
		if err := c.walk(headerTags); err != nil {
			return correlationID, fmt.Errorf("header of the response to %s: %w", Key(resp.Key()), err)
		}
		body = body[c.at:]
	}
	if err := resp.ReadFrom(body); err != nil {
		return correlationID, fmt.Errorf("response to %s version %d: %w", Key(resp.Key()), resp.GetVersion(), err)
	}
	return correlationID, nil
}

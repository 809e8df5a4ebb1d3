package protocol

import (
	"encoding/binary"
	"net/netip"
	"reflect"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// Principal is who sends a request (KafkaPrincipal).
type Principal struct {
	Type, Name string
	// TokenAuthenticated is set for a client that logged in with a delegation token.
	TokenAuthenticated bool
}

// Anonymous is everybody on a listener without authentication.
var Anonymous = Principal{Type: "User", Name: "ANONYMOUS"}

// String is the form of super.users and ACLs, User:alice.
func (p Principal) String() string { return p.Type + ":" + p.Name }

// Enveloped is what an Envelope carries: a client's request, who sent it to the
// forwarding broker, and from where.
type Enveloped struct {
	Request   *Request
	Principal Principal
	Client    netip.Addr
}

// OpenEnvelope decodes the request inside an Envelope (KIP-590). served says
// whether the listener has the inner API and version bound. The error is what
// the Envelope's response carries, as EnvelopeUtils has it:
// PRINCIPAL_DESERIALIZATION_FAILURE, INVALID_REQUEST for the envelope's own
// faults and APIs that are not forwardable, UNSUPPORTED_VERSION for an inner
// request that does not parse.
func OpenEnvelope(env *kmsg.EnvelopeRequest, served func(Key, int16) error) (Enveloped, error) {
	var e Enveloped
	var err error
	if e.Principal, err = decodePrincipal(env.RequestPrincipal); err != nil {
		return e, err
	}
	var ok bool
	if e.Client, ok = netip.AddrFromSlice(env.ClientHostAddress); !ok {
		return e, errors.New(errors.InvalidRequest, "a client address of %d bytes", len(env.ClientHostAddress))
	}
	inner, err := Check(env.RequestData)
	if inner.API == nil {
		return e, errors.New(errors.InvalidRequest, "the header inside the envelope: %v", err)
	}
	if !inner.API.Forwardable {
		return e, errors.New(errors.InvalidRequest, "%s is not eligible for forwarding", inner.API.Name)
	}
	if err == nil {
		err = served(inner.Key, inner.Version)
	}
	if err == nil {
		e.Request, err = inner.Decode()
	}
	if err != nil {
		return e, errors.New(errors.UnsupportedVersion, "the request inside the envelope: %v", err)
	}
	return e, nil
}

// innerCost bounds what decoding the request inside an Envelope allocates; body
// is the Envelope's and has passed the check. Only what may be forwarded counts:
// OpenEnvelope decodes nothing else, an Envelope in an Envelope least of all.
func innerCost(body []byte) int {
	c := checker{src: body}
	n, _ := c.compactLength() // checked
	frame := body[c.at : c.at+n]
	h, err := FixedHeader(frame)
	if err != nil {
		return 0
	}
	if api, ok := Lookup(h.Key); !ok || !api.Forwardable {
		return 0
	}
	inner, err := Check(frame)
	if err != nil {
		return 0
	}
	return inner.Cost
}

// SealEnvelope puts the response to the inner request into an Envelope's. If it
// says NOT_CONTROLLER anywhere, so does the envelope, which makes the broker
// look for the controller again and repeat the request.
func SealEnvelope(inner *Request, body kmsg.Response) *kmsg.EnvelopeResponse {
	resp := kmsg.NewPtrEnvelopeResponse()
	if hasError(reflect.ValueOf(body), errors.NotController) {
		resp.ErrorCode = int16(errors.NotController)
		return resp
	}
	body.SetVersion(inner.Version)
	resp.ResponseData = appendResponse(nil, inner.CorrelationID, body)
	return resp
}

// FailEnvelope is the answer to an Envelope that could not be opened.
func FailEnvelope(err error) *kmsg.EnvelopeResponse {
	resp := kmsg.NewPtrEnvelopeResponse()
	resp.ErrorCode = int16(errors.CodeOf(err))
	return resp
}

// hasError looks for a field ErrorCode that is code, at any depth.
func hasError(v reflect.Value, code errors.Code) bool {
	switch v.Kind() {
	case reflect.Pointer:
		return !v.IsNil() && hasError(v.Elem(), code)
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Struct {
			return false
		}
		for i := range v.Len() {
			if hasError(v.Index(i), code) {
				return true
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.Name == "ErrorCode" && f.Type.Kind() == reflect.Int16 {
				if v.Field(i).Int() == int64(code) {
					return true
				}
			} else if f.IsExported() && hasError(v.Field(i), code) {
				return true
			}
		}
	}
	return false
}

// principalShape is DefaultPrincipalData v0: type, name, token authenticated.
var principalShape = shape{{kind: 'c', min: 1}, {kind: 'c', min: 1}, {kind: '1', min: 1, fixed: true}, {kind: 'T', min: 1}}

// decodePrincipal reads what DefaultKafkaPrincipalBuilder.serialize writes: an
// int16 version and DefaultPrincipalData.
func decodePrincipal(data []byte) (Principal, error) {
	fail := func(why string) (Principal, error) {
		return Principal{}, errors.New(errors.PrincipalDeserializationFailure, "the principal inside the envelope: %s", why)
	}
	if len(data) < 2 {
		return fail("no version")
	}
	if version := binary.BigEndian.Uint16(data); version != 0 {
		return fail("unknown version")
	}
	if _, err := check(principalShape, 0, data[2:]); err != nil {
		return fail(err.Error())
	}
	c := checker{src: data[2:]}
	var p Principal
	for _, s := range []*string{&p.Type, &p.Name} {
		n, _ := c.compactLength() // checked above
		*s = string(c.src[c.at : c.at+n])
		c.at += n
	}
	p.TokenAuthenticated = c.src[c.at] != 0
	return p, nil
}

// AppendPrincipal writes a principal as decodePrincipal reads it.
func AppendPrincipal(dst []byte, p Principal) []byte {
	dst = append(dst, 0, 0)
	for _, s := range []string{p.Type, p.Name} {
		dst = binary.AppendUvarint(dst, uint64(len(s))+1)
		dst = append(dst, s...)
	}
	token := byte(0)
	if p.TokenAuthenticated {
		token = 1
	}
	return append(dst, token, 0)
}

package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"kvorum/internal/kafka"
)

// Endpoint is an address as it was written; the host may be a name, an
// address, or empty where an address to listen on is meant (all interfaces).
type Endpoint struct {
	Host string
	Port uint16
}

// String writes host:port, with brackets around an IPv6 address.
func (e Endpoint) String() string {
	if strings.ContainsRune(e.Host, ':') {
		return "[" + e.Host + "]:" + strconv.Itoa(int(e.Port))
	}
	return e.Host + ":" + strconv.Itoa(int(e.Port))
}

// Loopback reports whether only this machine can reach the address.
func (e Endpoint) Loopback() bool {
	if e.Host == "localhost" || e.Host == "::1" {
		return true
	}
	return loopback4.MatchString(e.Host)
}

// loopback4 is 127.0.0.0/8; a name such as 127.example.com is not.
var loopback4 = regexp.MustCompile(`^127(\.[0-9]{1,3}){3}$`)

// ParseEndpoint reads host:port or [v6]:port.
func ParseEndpoint(s string) (Endpoint, error) {
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return Endpoint{}, fmt.Errorf("%q is not of the form host:port", s)
	}
	host, port := s[:colon], s[colon+1:]
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	} else if strings.ContainsRune(host, ':') {
		return Endpoint{}, fmt.Errorf("%q: an IPv6 address needs brackets, as in [::1]:9093", s)
	}
	if strings.ContainsAny(host, " /@[]") {
		return Endpoint{}, fmt.Errorf("%q has no valid host", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return Endpoint{}, fmt.Errorf("%q has no port from 0 to 65535", s)
	}
	return Endpoint{Host: host, Port: uint16(n)}, nil
}

// Voter is one entry of controller.quorum.voters or kvorum.raft.voters.
type Voter struct {
	ID kafka.NodeID
	Endpoint
}

// String writes id@host:port.
func (v Voter) String() string { return strconv.Itoa(int(v.ID)) + "@" + v.Endpoint.String() }

// parseVoter reads id@host:port.
func parseVoter(s string) (Voter, error) {
	id, address, ok := strings.Cut(s, "@")
	if !ok {
		return Voter{}, fmt.Errorf("%q is not of the form id@host:port", s)
	}
	n, err := strconv.ParseInt(id, 10, 32)
	if err != nil || n < 0 {
		return Voter{}, fmt.Errorf("%q does not begin with a node id", s)
	}
	e, err := ParseEndpoint(address)
	if err == nil && e.Host == "" {
		err = fmt.Errorf("%q has no host", s)
	}
	return Voter{ID: kafka.NodeID(n), Endpoint: e}, err
}

// votersValid is QuorumConfig.ControllerQuorumVotersValidator; an empty list
// is allowed because the bootstrap servers may be given instead.
type votersValid struct{}

func (votersValid) check(name string, v Value) *Error {
	for _, entry := range v.List {
		if _, err := parseVoter(entry); err != nil {
			return invalid("Invalid configuration value for %s. Each entry should be in the form `{id}@{host}:{port}`.", name)
		}
	}
	return nil
}

func (votersValid) String() string { return "non-empty list" }

// bootstrapValid is QuorumConfig.ControllerQuorumBootstrapServersValidator.
type bootstrapValid struct{}

func (bootstrapValid) check(name string, v Value) *Error {
	for _, entry := range v.List {
		if e, err := ParseEndpoint(entry); err != nil || e.Host == "" {
			return invalid("Failed to parse host name from %s for the configuration %s. Each entry should be in the form \"{host}:{port}\"", entry, name)
		}
	}
	return nil
}

func (bootstrapValid) String() string { return "non-empty list" }

// addressValid is one host:port to listen on, or nothing.
type addressValid struct{}

func (addressValid) check(name string, v Value) *Error {
	if v.Text == "" {
		return nil
	}
	if _, err := ParseEndpoint(v.Text); err != nil {
		return invalidValue(name, v.Text, err.Error())
	}
	return nil
}

func (addressValid) String() string { return "host:port" }

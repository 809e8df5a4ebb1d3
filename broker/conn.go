package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol"
	wire "kvorum/protocol/errors"
)

// maxControllerResponse bounds one answer of a controller: the largest are a
// Fetch and a FetchSnapshot of 8 MiB, and admin answers that list every partition
// of the cluster.
const maxControllerResponse = 128 << 20

// versionRange is what a peer serves of one API.
type versionRange struct{ min, max int16 }

// conn is one connection to a controller, or to another broker, with one request
// on it at a time.
type conn struct {
	socket      net.Conn
	peer        string // "controller" or "broker", for errors
	address     string
	clientID    string
	versions    map[int16]versionRange
	correlation int32
	// reuses says that a response is done with before the next request: then its
	// byte slices lie in frame, which is used again, as is out.
	reuses     bool
	out, frame []byte
}

// errNoVersion says that the peer serves no version of an API that we speak.
var errNoVersion = errors.New("the peer serves no version of it that this broker speaks")

// dialConn connects and asks which versions the peer serves, as Apache's brokers
// do on each connection. ctx bounds both.
func dialConn(ctx context.Context, address, clientID string) (*conn, error) {
	return dialPeer(ctx, "controller", address, clientID)
}

func dialPeer(ctx context.Context, peer, address, clientID string) (*conn, error) {
	socket, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s %s: %w", peer, address, err)
	}
	c := &conn{socket: socket, peer: peer, address: address, clientID: clientID}
	if err := c.negotiate(ctx); err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	return c, nil
}

func (c *conn) negotiate(ctx context.Context) error {
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = 3, "kvorum", "4.3"
	body, err := c.exchange(ctx, req)
	if err != nil {
		return err
	}
	resp := body.(*kmsg.ApiVersionsResponse)
	if resp.ErrorCode != 0 {
		return fmt.Errorf("%s %s refuses ApiVersions: %w", c.peer, c.address, wire.Code(resp.ErrorCode).Err())
	}
	c.versions = make(map[int16]versionRange, len(resp.ApiKeys))
	for _, k := range resp.ApiKeys {
		c.versions[k.ApiKey] = versionRange{k.MinVersion, k.MaxVersion}
	}
	return nil
}

// do sends req at the newest version that both sides know and reads its answer.
// After an error the connection is of no more use.
func (c *conn) do(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	served, ok := c.versions[req.Key()]
	api, _ := protocol.Lookup(protocol.Key(req.Key()))
	version := min(served.max, req.MaxVersion())
	if api != nil {
		version = min(version, api.Max)
	}
	if !ok || version < served.min {
		return nil, fmt.Errorf("%s to %s %s: %w", kmsg.NameForKey(req.Key()), c.peer, c.address, errNoVersion)
	}
	req.SetVersion(version)
	return c.exchange(ctx, req)
}

// exchange sends one request at its version and reads the answer. The end of
// ctx interrupts it.
func (c *conn) exchange(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline() // zero is none
	if err := c.socket.SetDeadline(deadline); err != nil {
		return nil, err
	}
	interrupt := context.AfterFunc(ctx, func() {
		c.socket.SetDeadline(time.Unix(1, 0)) // a closed socket is interrupted already
	})
	defer interrupt()
	resp, err := c.roundTrip(req)
	if err != nil {
		if cause := ctx.Err(); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("%s to %s %s: %w", kmsg.NameForKey(req.Key()), c.peer, c.address, err)
	}
	return resp, nil
}

func (c *conn) roundTrip(req kmsg.Request) (kmsg.Response, error) {
	c.correlation++
	c.out = protocol.AppendRequest(c.out[:0], c.correlation, &c.clientID, req)
	if _, err := c.socket.Write(c.out); err != nil {
		return nil, err
	}
	if !c.reuses {
		c.out = nil
	}
	resp := req.ResponseKind()
	frame, err := protocol.ReadAnswer(c.socket, maxControllerResponse, c.frame, c.correlation, resp)
	if c.reuses {
		c.frame = frame
	}
	return resp, err
}

func (c *conn) close() { c.socket.Close() } // nothing of ours is buffered in it

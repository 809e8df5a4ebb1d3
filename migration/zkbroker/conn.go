package zkbroker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/image"
	"kvorum/migration/zkbroker/control"
	"kvorum/protocol"
)

// maxAnswer bounds one answer: a LeaderAndIsr of 100,000 partitions of one broker is
// answered with 1 MB.
const maxAnswer = 64 << 20

// plaintext is SecurityProtocol.PLAINTEXT.
const plaintext = 0

// dialPlain connects by TCP.
func dialPlain(ctx context.Context, at image.Endpoint) (net.Conn, error) {
	if at.SecurityProtocol != plaintext {
		return nil, fmt.Errorf("its listener %s is not PLAINTEXT, and kvorum speaks nothing else to brokers in ZooKeeper mode yet", at.Name)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(at.Host, strconv.Itoa(int(at.Port))))
}

// CanSpeak says why a broker in ZooKeeper mode could not be told anything by the
// connections that this package makes, nil if it can.
func CanSpeak(b *image.Broker, listener string) error {
	at, ok := control.Endpoint(b, listener)
	switch {
	case !ok:
		return fmt.Errorf("broker %d has no listener %s, which is the controllers' inter.broker.listener.name", b.ID, listener)
	case at.SecurityProtocol != plaintext:
		return fmt.Errorf("broker %d's listener %s is not PLAINTEXT, and the controllers speak nothing else to brokers in ZooKeeper mode: "+
			"give every broker a PLAINTEXT listener on a network that you trust, and its name to the controllers as inter.broker.listener.name", b.ID, listener)
	}
	return nil
}

// conn is a connection to a broker with one request on it at a time. The versions
// are fixed, so there is no ApiVersions, as from Apache's controllers.
type conn struct {
	socket      net.Conn
	address     string
	clientID    string // our node id
	correlation int32  // of the next request
}

// exchange sends a request and reads its answer. The end of ctx interrupts it; after
// an error the connection is of no more use.
func (c *conn) exchange(ctx context.Context, r kmsg.Request) (kmsg.Response, error) {
	deadline, _ := ctx.Deadline() // zero is none
	if err := c.socket.SetDeadline(deadline); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() {
		c.socket.SetDeadline(time.Unix(1, 0)) // a closed socket is interrupted already
	})()
	answer, err := c.roundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("%s to %s: %w", kmsg.NameForKey(r.Key()), c.address, errors.Join(ctx.Err(), err))
	}
	return answer, nil
}

func (c *conn) roundTrip(r kmsg.Request) (kmsg.Response, error) {
	correlation := c.correlation
	c.correlation++
	if _, err := c.socket.Write(protocol.AppendRequest(nil, correlation, &c.clientID, r)); err != nil {
		return nil, err
	}
	answer := r.ResponseKind()
	_, err := protocol.ReadAnswer(c.socket, maxAnswer, nil, correlation, answer)
	return answer, err
}

func (c *conn) close() { c.socket.Close() } // nothing of ours is buffered in it

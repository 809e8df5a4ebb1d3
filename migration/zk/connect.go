package zk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	client "github.com/go-zookeeper/zk"
)

// maxAnswer bounds one answer of ZooKeeper: the names of 100,000 topics are about
// 4 MiB, a node's data is 1 MiB at most unless servers were told otherwise.
const maxAnswer = 64 << 20

// DefaultSessionTimeout is Kafka's zookeeper.session.timeout.ms.
const DefaultSessionTimeout = 18 * time.Second

// Config says which ZooKeeper and how.
type Config struct {
	// Connect is Kafka's zookeeper.connect: HOST:PORT separated by commas, and a
	// chroot behind the last if the cluster has one, as in a:2181,b:2181/kafka.
	Connect string
	// SessionTimeout is proposed to ZooKeeper; 0 is DefaultSessionTimeout.
	SessionTimeout time.Duration
	// TLS, if not nil, is used for every connection.
	TLS *tls.Config
	// Digest, if not "", is USER:PASSWORD of ZooKeeper's digest scheme.
	Digest string
	// Log gets what the connection has to say; nil for nobody.
	Log *slog.Logger
}

// Client is a session with ZooKeeper. Its methods may be called by several
// goroutines. Whoever opened it closes it.
type Client struct {
	conn   *client.Conn
	chroot string
	events <-chan client.Event
	closed atomic.Bool // Close was called
}

// ParseConnect splits zookeeper.connect into servers and chroot ("" for none).
func ParseConnect(connect string) (servers []string, chroot string, err error) {
	hosts, path, found := strings.Cut(connect, "/")
	if found && path != "" {
		chroot = "/" + strings.TrimSuffix(path, "/")
		if strings.Contains(chroot, "//") {
			return nil, "", fmt.Errorf("zookeeper.connect %q has the bad chroot %q", connect, chroot)
		}
	}
	for server := range strings.SplitSeq(hosts, ",") {
		server = strings.TrimSpace(server)
		if _, _, err := net.SplitHostPort(server); err != nil {
			return nil, "", fmt.Errorf("zookeeper.connect %q: %q is not HOST:PORT", connect, server)
		}
		servers = append(servers, server)
	}
	return servers, chroot, nil
}

// Open connects and waits for the session, until ctx ends.
func Open(ctx context.Context, c Config) (*Client, error) {
	servers, chroot, err := ParseConnect(c.Connect)
	if err != nil {
		return nil, err
	}
	if c.SessionTimeout == 0 {
		c.SessionTimeout = DefaultSessionTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	conn, events, err := client.Connect(servers, c.SessionTimeout,
		client.WithDialer(dialer(c.TLS)), client.WithLogger(logger{c.Log}), client.WithLogInfo(false), client.WithMaxBufferSize(maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("connect to ZooKeeper at %s: %w", c.Connect, err)
	}
	z := &Client{conn: conn, chroot: chroot, events: events}
	if err := z.begin(ctx, c.Digest); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to ZooKeeper at %s: %w", c.Connect, err)
	}
	return z, nil
}

// begin waits for the session, and shows who we are.
func (z *Client) begin(ctx context.Context, digest string) error {
	for z.conn.State() != client.StateHasSession {
		select {
		case e := <-z.events:
			if e.State == client.StateAuthFailed {
				return errors.New("ZooKeeper refused the authentication")
			}
		case <-ctx.Done():
			return fmt.Errorf("no session yet: %w", context.Cause(ctx))
		}
	}
	if digest == "" {
		return nil
	}
	defer z.closeWhenDone(ctx)()
	if err := z.conn.AddAuth("digest", []byte(digest)); err != nil {
		return fmt.Errorf("authenticate with the digest scheme: %w", err)
	}
	return nil
}

// Close ends the session and waits a second at most for ZooKeeper to know.
func (z *Client) Close() {
	z.closed.Store(true)
	z.conn.Close()
}

// closeWhenDone makes every request fail when ctx ends: the library's requests
// know no context. The session is then gone, and so is the use of the client.
func (z *Client) closeWhenDone(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, z.conn.Close)
}

// path puts the chroot before a path of Kafka's.
func (z *Client) path(p string) string {
	if p == "/" && z.chroot != "" {
		return z.chroot
	}
	return z.chroot + p
}

// dialer opens connections, with TLS if there is a configuration. Without a server
// name of its own the certificate is checked against the host that is dialled.
func dialer(c *tls.Config) client.Dialer {
	return func(network, address string, timeout time.Duration) (net.Conn, error) {
		d := &net.Dialer{Timeout: timeout}
		if c == nil {
			return d.Dial(network, address)
		}
		return tls.DialWithDialer(d, network, address, c)
	}
}

// logger gives the library's lines to slog. They repeat while no server answers,
// and what matters to us comes back as an error.
type logger struct{ log *slog.Logger }

// Printf is what the library calls.
func (l logger) Printf(format string, args ...any) { l.log.Debug(fmt.Sprintf(format, args...)) }

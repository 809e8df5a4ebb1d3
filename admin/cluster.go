package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Access says how a cluster is reached.
type Access struct {
	// Brokers are asked first, HOST:PORT; they name the others.
	Brokers []string
	// Timeout bounds one answer, retries included.
	Timeout time.Duration
}

// clientID is what brokers know the command line by, in quotas and request logs.
const clientID = "kvorum-cli"

// Cluster is the way to the brokers of a cluster.
//
// kafka-go does what it reaches: topics (Topics). franz-go does the rest, for want
// in kafka-go of the requests (DeleteRecords, DescribeLogDirs, the group states of
// ListGroups), of an idempotent producer, or of following leaders and coordinators
// that move (offsets and groups).
type Cluster struct {
	access Access
	client *kgo.Client
	admin  *kadm.Client
}

// Connect opens the way to a cluster and sees that somebody answers.
func Connect(ctx context.Context, a Access) (*Cluster, error) {
	if len(a.Brokers) == 0 {
		return nil, errors.New("no brokers are named: use --brokers HOST:PORT")
	}
	client, err := kgo.NewClient(a.options()...)
	if err != nil {
		return nil, err
	}
	c := &Cluster{access: a, client: client, admin: kadm.NewClient(client)}
	ctx, cancel := c.within(ctx)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("no broker answers at %s: %w: is it running, and is the address right (--brokers)?", strings.Join(a.Brokers, ","), err)
	}
	c.admin.SetTimeoutMillis(int32(min(a.Timeout.Milliseconds(), 1<<31-1)))
	return c, nil
}

// options are those of every franz-go client.
func (a Access) options(more ...kgo.Opt) []kgo.Opt {
	return append([]kgo.Opt{
		kgo.SeedBrokers(a.Brokers...), kgo.ClientID(clientID), kgo.DialTimeout(a.Timeout), kgo.RetryTimeout(a.Timeout),
		// A topic that was just made must be seen at once by who asks a second time.
		kgo.MetadataMinAge(100 * time.Millisecond),
	}, more...)
}

// Close ends what Connect began.
func (c *Cluster) Close() { c.client.Close() }

// within bounds one answer.
func (c *Cluster) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.access.Timeout)
}

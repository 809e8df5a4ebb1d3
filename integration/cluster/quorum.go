// Package cluster starts whole clusters as processes: a quorum of controllers,
// of kvorum's or of Apache's make, and Apache brokers on it. What a test does
// with a cluster does not depend on the make of its controllers, so that one
// story runs on both and must tell the same.
package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvorum/integration/loopback"
	"kvorum/integration/peer"
	"kvorum/internal/kafka"
)

// Controller is one controller's process, of either make.
type Controller interface {
	Start(t testing.TB)
	WaitReady(ctx context.Context, t testing.TB)
	Kill()
	Pause()
	Resume()
	Stop(t testing.TB)
	Running() bool
}

// Quorum is a formatted quorum of controllers with the ids 1, 2, 3 and so on, unless
// its options say otherwise.
type Quorum struct {
	ClusterID   string
	Addresses   []string // of the controllers' Kafka listeners, in the order of ids
	Controllers []Controller
	release     string
	options     Options
}

// Place is where a node of kvorum's runs.
type Place struct {
	Host string   // its address; every node's ports are the same
	Wrap []string // the command that runs another one there
}

// Options say how a quorum is made.
type Options struct {
	Size           int               // 1, 3 or 5
	FirstID        int32             // of the controllers; 0 for 1
	ClusterID      string            // "" for one that is drawn
	ReleaseVersion string            // of --release-version; "" for the maker's default
	Binary         string            // another kvorum than this tree's; "" for this tree's
	Properties     map[string]string // added to each server.properties
	// Static makes Apache's controllers a static quorum (controller.quorum.voters,
	// kraft.version 0), as those of a migration from ZooKeeper have to be.
	Static bool
	// Places are those of the controllers and then of the brokers of kvorum's; none for
	// ports of 127.0.0.1 that are drawn.
	Places []Place
}

// The ports of nodes that have places.
const (
	clientPort     = 9092
	controllerPort = 9093
	raftPort       = 9094
)

// id is that of a controller.
func (o Options) id(i int) int32 { return max(1, o.FirstID) + int32(i) }

// addresses are those of n nodes, from a place on.
func (o Options) addresses(t testing.TB, first, n, port int) []string {
	t.Helper()
	if o.Places == nil {
		return loopback.Addresses(t, n)
	}
	var out []string
	for _, p := range o.Places[first : first+n] {
		out = append(out, fmt.Sprintf("%s:%d", p.Host, port))
	}
	return out
}

// wrap is the command that runs another one at a place.
func (o Options) wrap(place int) []string {
	if o.Places == nil {
		return nil
	}
	return o.Places[place].Wrap
}

// plan draws what must be known before the first controller is formatted.
func plan(t testing.TB, o Options) (q *Quorum, initial string) {
	t.Helper()
	q = &Quorum{ClusterID: o.ClusterID, Addresses: o.addresses(t, 0, o.Size, controllerPort), release: o.ReleaseVersion, options: o}
	if q.ClusterID == "" {
		q.ClusterID = randomID(t)
	}
	var voters []string
	for i, address := range q.Addresses {
		voters = append(voters, fmt.Sprintf("%d@%s:%s", o.id(i), address, randomID(t)))
	}
	return q, strings.Join(voters, ",")
}

func randomID(t testing.TB) string {
	t.Helper()
	id, err := kafka.RandomUUID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}

// StartApache formats and starts a quorum of Apache controllers.
func StartApache(ctx context.Context, t testing.TB, kit *peer.Kit, d *peer.Driver, o Options) *Quorum {
	t.Helper()
	q := FormatApache(ctx, t, kit, d, o)
	q.Start(ctx, t)
	return q
}

// FormatApache formats a quorum of Apache controllers.
func FormatApache(ctx context.Context, t testing.TB, kit *peer.Kit, d *peer.Driver, o Options) *Quorum {
	t.Helper()
	q, initial := plan(t, o)
	if o.Static {
		properties := map[string]string{"controller.quorum.voters": q.Voters()}
		maps.Copy(properties, o.Properties)
		o.Properties = properties
	}
	dir := t.TempDir()
	for i, address := range q.Addresses {
		n := &peer.Node{
			Kit: kit, ID: o.id(i), ClusterID: q.ClusterID, Dir: filepath.Join(dir, fmt.Sprintf("controller-%d", i+1)),
			Controller: address, Bootstrap: q.Addresses, InitialControllers: initial,
			ReleaseVersion: o.ReleaseVersion, Properties: o.Properties,
		}
		n.Format(ctx, t, d)
		q.Controllers = append(q.Controllers, n)
	}
	return q
}

// Start starts every controller, then waits for all.
func (q *Quorum) Start(ctx context.Context, t testing.TB) {
	t.Helper()
	for _, c := range q.Controllers {
		c.Start(t)
	}
	for _, c := range q.Controllers {
		c.WaitReady(ctx, t)
	}
}

// activePatience bounds the wait for an election.
const activePatience = time.Minute

// Active returns the index of the controller that says that it leads. It waits
// for one.
func (q *Quorum) Active(ctx context.Context, t testing.TB) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, activePatience)
	defer cancel()
	var all error
	for ctx.Err() == nil {
		all = nil
		for i, c := range q.Controllers {
			if !c.Running() {
				continue
			}
			leads, err := peer.Leads(ctx, q.Addresses[i])
			if leads {
				return i
			}
			all = errors.Join(all, err)
		}
		time.Sleep(10 * time.Millisecond) // between two rounds of questions
	}
	t.Fatalf("no controller is active after %v: %v", activePatience, all)
	return -1
}

// Brokers formats and starts one Apache broker for each kit, with the ids 11, 12,
// 13 and so on, and waits until each sees all.
func (q *Quorum) Brokers(ctx context.Context, t testing.TB, d *peer.Driver, properties map[string]string, kits ...*peer.Kit) []*peer.Node {
	t.Helper()
	brokers := q.FormatBrokers(ctx, t, d, properties, kits...)
	for _, n := range brokers {
		n.Start(t)
	}
	for _, n := range brokers {
		n.WaitReady(ctx, t)
		peer.WaitReady(ctx, t, n.String(), n.Process(), func(ctx context.Context) error {
			ids, err := peer.Brokers(ctx, n.Listener)
			if err == nil && len(ids) != len(kits) {
				err = fmt.Errorf("it sees the brokers %v and not all %d", ids, len(kits))
			}
			return err
		})
	}
	return brokers
}

// FormatBrokers formats one Apache broker for each kit. The properties are added
// to each server.properties. The directories are formatted at the quorum's
// release version: a 3.9 broker does not start on one that a newer tool formatted
// at its own.
func (q *Quorum) FormatBrokers(ctx context.Context, t testing.TB, d *peer.Driver, properties map[string]string, kits ...*peer.Kit) []*peer.Node {
	t.Helper()
	dir := t.TempDir()
	var brokers []*peer.Node
	for i, kit := range kits {
		replication := fmt.Sprint(min(len(kits), 3))
		p := map[string]string{
			"offsets.topic.replication.factor":         replication,
			"transaction.state.log.replication.factor": replication,
			"transaction.state.log.min.isr":            fmt.Sprint(max(1, min(len(kits), 3)-1)),
		}
		maps.Copy(p, properties)
		n := &peer.Node{
			Kit: kit, ID: int32(11 + i), ClusterID: q.ClusterID, Dir: filepath.Join(dir, fmt.Sprintf("broker-%d", 11+i)),
			Listener: loopback.Address(t), Bootstrap: q.Addresses, ReleaseVersion: q.release, Properties: p,
		}
		n.Format(ctx, t, d)
		brokers = append(brokers, n)
	}
	return brokers
}

// Voters is what brokers of before KIP-853 have as controller.quorum.voters.
func (q *Quorum) Voters() string {
	var voters []string
	for i, address := range q.Addresses {
		voters = append(voters, fmt.Sprintf("%d@%s", q.options.id(i), address))
	}
	return strings.Join(voters, ",")
}

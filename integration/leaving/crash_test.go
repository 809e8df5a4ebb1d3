package leaving

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"kvorum/integration/loopback"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
	"kvorum/migration/driver"
	"kvorum/migration/run"
	"kvorum/migration/znode"
)

// wipe removes everything below a path but the chroot.
func (z *bareZooKeeper) wipe(t *testing.T, path string) {
	t.Helper()
	children, _, err := z.raw.Children(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range children {
		z.wipe(t, path+"/"+c)
	}
	if path != "/kafka" {
		if err := z.raw.Delete(path, -1); err != nil {
			t.Fatal(err)
		}
	}
}

// point is where a controller dies: before the n-th write of a kind is carried out,
// or after it, before the controller hears of it. n counts from 1.
type point struct {
	kind  string // "append" to the log, or "multi" of ZooKeeper
	n     int
	after bool
}

func (p point) String() string {
	return fmt.Sprintf("%s the %s %d", map[bool]string{true: "after", false: "before"}[p.after], p.kind, p.n)
}

// death lets a controller die at a point, and counts the points on the way.
type death struct {
	mu      sync.Mutex
	at      point
	appends int // twice the number of batches: before and after
	multis  int
	dead    chan struct{}
	isDead  bool
}

// append is asked before and after each batch.
func (d *death) append() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.appends++
	n, after := (d.appends+1)/2, d.appends%2 == 0
	if d.at.kind == "append" && d.at.n == n && d.at.after == after {
		d.die()
	}
	return d.isDead
}

func (d *death) die() {
	if !d.isDead {
		d.isDead = true
		close(d.dead)
	}
}

// multi is asked before each transaction; answer says that its answer is to be lost.
func (d *death) multi() (dead, answer bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.multis++
	here := d.at.kind == "multi" && d.at.n == d.multis
	if here && !d.at.after {
		d.die()
	}
	return d.isDead, here
}

func (d *death) lost() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.die()
}

func (d *death) happened() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.isDead
}

// gate stands between one controller and ZooKeeper, and knows where a transaction
// begins. While shut, and when the controller has died, nothing comes through.
type gate struct {
	death   *death
	address string
	target  string
	wait    sync.WaitGroup

	mu     sync.Mutex
	opened bool // again, for a controller that does not know that it is dead
	conns  []net.Conn
}

// Of ZooKeeper's protocol: a frame is its length, xid and type; the type of a
// transaction.
const (
	header    = 8
	multiType = 14
)

func startGate(t *testing.T, target string, d *death) *gate {
	t.Helper()
	g := &gate{death: d, address: loopback.Address(t), target: target}
	l, err := net.Listen("tcp", g.address)
	if err != nil {
		t.Fatal(err)
	}
	g.wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.wait.Go(func() { g.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); g.cut(); g.wait.Wait() })
	return g
}

func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.conns {
		c.Close()
	}
	g.conns = nil
}

// reopen lets a controller through that is dead for everybody else.
func (g *gate) reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = true
}

func (g *gate) shut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.opened && g.death.happened()
}

func (g *gate) serve(c net.Conn) {
	defer c.Close()
	server, err := net.Dial("tcp", g.target)
	if err != nil || g.shut() {
		return
	}
	defer server.Close()
	g.mu.Lock()
	g.conns = append(g.conns, c, server)
	g.mu.Unlock()
	lose := make(chan uint32, 1) // the xid whose answer is to be lost
	g.wait.Go(func() {
		defer g.cut()
		var lost uint32
		for first := true; ; first = false {
			frame, err := readFrame(server)
			if err != nil {
				return
			}
			select {
			case lost = <-lose:
			default:
			}
			if !first && lost != 0 && binary.BigEndian.Uint32(frame[4:]) == lost {
				g.death.lost()
			}
			if _, err := c.Write(frame); err != nil || g.shut() {
				return
			}
		}
	})
	for first := true; ; first = false {
		frame, err := readFrame(c)
		if err != nil {
			return
		}
		if !first && len(frame) >= 4+header && binary.BigEndian.Uint32(frame[8:]) == multiType && !g.death.happened() {
			dead, answer := g.death.multi()
			if dead {
				g.cut()
				return
			}
			if answer {
				lose <- binary.BigEndian.Uint32(frame[4:])
			}
		}
		if g.shut() {
			return
		}
		if _, err := server.Write(frame); err != nil {
			return
		}
	}
}

// readFrame reads a length and what it counts.
func readFrame(r io.Reader) ([]byte, error) {
	frame := make([]byte, 4)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, err
	}
	frame = append(frame, make([]byte, binary.BigEndian.Uint32(frame)&0xffffff)...)
	_, err := io.ReadFull(r, frame[4:])
	return frame, err
}

// changes are what happens in the cluster after the copy.
func changes() [][]record.Record {
	id, text := kafka.TopicID{15: 77}, "7"
	user := "crash"
	return [][]record.Record{
		{&record.TopicRecord{Name: "later", TopicID: id}, &record.PartitionRecord{TopicID: id, Replicas: []kafka.BrokerID{1}, ISR: []kafka.BrokerID{1}, Leader: 1}},
		{&record.ConfigRecord{ResourceType: 2, ResourceName: "later", Name: "retention.ms", Value: &text},
			&record.ClientQuotaRecord{Entity: []record.QuotaEntity{{EntityType: "user", EntityName: &user}}, Key: "producer_byte_rate", Value: 7}},
		{&record.RemoveTopicRecord{TopicID: id}, &record.ConfigRecord{ResourceType: 2, ResourceName: "later", Name: "retention.ms"}},
	}
}

// life is what one controller does of a migration, until it is over or the
// controller has died. It returns the changes that have not been made.
func (l *metadataLog) life(t *testing.T, r *run.Runner, d *death, todo [][]record.Record) [][]record.Record {
	t.Helper()
	for {
		waitStatus(t, r, "dual write of everything, or its death", func(s run.Status) bool {
			return d != nil && d.happened() || s.State == driver.DualWrite && s.Written == l.image().At().Offset
		})
		if d != nil && d.happened() || len(todo) == 0 {
			return todo
		}
		l.add(todo[0]...)
		todo = todo[1:]
	}
}

// TestControllerDiesAnywhere: a controller dies before and after its writes, to the
// log and to ZooKeeper, from the claim to the last change in dual write. The
// next one completes the migration with one copy, everything is in ZooKeeper, and the
// first, which does not know that it is dead, can do nothing any more.
func TestControllerDiesAnywhere(t *testing.T) {
	z := startZooKeeper(t.Context(), t)
	server, _, _ := strings.Cut(z.connect, "/")
	migrate := func(t *testing.T, at point) *death {
		ctx := t.Context()
		z.wipe(t, "/kafka")
		loadRecorded(t, z, "before")
		d := &death{at: at, dead: make(chan struct{})}
		g := startGate(t, server, d)
		l := newLog(t)
		l.dies = d.append
		first := l.runner(t, 3001, g.address+"/kafka")
		l.elect(first)
		todo := l.life(t, first, d, changes())
		if !d.happened() {
			return d
		}
		l.mu.Lock()
		l.dies, l.leader = nil, nil // nobody tells it
		l.mu.Unlock()
		began := time.Now()
		second := l.runner(t, 3002, z.connect)
		l.elect(second)
		l.life(t, second, nil, todo)
		took := time.Since(began)
		direct := z.open(ctx, t)
		compare(ctx, t, direct, l.image())
		if l.copies != 1 {
			t.Errorf("%d copies", l.copies)
		}

		g.reopen()
		before, _, err := direct.Get(ctx, znode.MigrationPath)
		if err != nil {
			t.Fatal(err)
		}
		first.Committed(run.Committed{Image: l.image(), Offset: l.image().At().Offset})
		waitStatus(t, first, "the dead one to learn of it", func(s run.Status) bool { return s.State == driver.Stopped })
		if after, _, err := direct.Get(ctx, znode.MigrationPath); err != nil || after.Version != before.Version {
			t.Errorf("the dead controller has written: %s, %v", after.Data, err)
		}
		t.Logf("%v: done by the next one in %v", at, took)
		return d
	}
	var whole *death
	t.Run("nobody dies", func(t *testing.T) { whole = migrate(t, point{}) })
	if t.Failed() {
		return
	}
	t.Logf("%d batches and %d transactions", whole.appends/2, whole.multis)
	if whole.appends/2 < 3 || whole.multis < 6 {
		t.Errorf("too few to be the whole migration")
	}
	for _, p := range points(whole) {
		t.Run(strings.ReplaceAll(p.String(), " ", "-"), func(t *testing.T) { migrate(t, p) })
	}
}

// points are three of all: /controller is ours and nobody has heard of it, the copy
// is half written, and it is committed but ZooKeeper does not know. With
// KVORUM_CRASHES=all they are all.
func points(whole *death) []point {
	if os.Getenv("KVORUM_CRASHES") != "all" {
		return []point{{"multi", 1, true}, {"append", 2, true}, {"append", 3, true}}
	}
	var all []point
	add := func(kind string, n int) {
		for i := range n {
			all = append(all, point{kind, i + 1, false}, point{kind, i + 1, true})
		}
	}
	add("append", whole.appends/2)
	add("multi", whole.multis)
	return all
}

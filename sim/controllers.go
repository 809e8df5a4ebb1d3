package sim

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/internal/testlog"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
	"kvorum/quorum"
	"kvorum/quorum/controller"
	"kvorum/quorum/raft"
)

const (
	sessionMs   = 3000 // broker.session.timeout.ms
	heartbeatMs = 400
	clusterID   = "AAAAAAAAAAAAAAAAAAAAAQ"
	level       = image.MV40IV1 + 2 // 4.0-IV3: with ELR
)

// controllerNode is one controller: what quorum.Controller is around its core,
// and its member of the raft group. The raft log itself is never lost.
type controllerNode struct {
	w      *World
	id     kafka.NodeID
	up     bool
	paused bool
	lives  int

	core  *quorum.Core
	raft  *testlog.Node
	inbox []quorum.Event
	news  *quorum.Leadership
	read  kafka.Offset
	wake  int64
	state *quorum.State

	// refused counts for each broker the dials that were refused, one after the other.
	refused [brokerCount]int
	// proven is when this controller decided, in its present leadership, that each broker is
	// dead, 0 if it did not; deciding is the same of decisions that are not committed yet.
	proven, deciding [brokerCount]int64
	// beats are the last ones that it has answered in its present leadership.
	beats [brokerCount]beat
}

// controllerRequest is a request to a controller that has no answer yet.
type controllerRequest struct {
	from   node
	life   int
	answer func(resp kmsg.Response)
	// heartbeat is when one arrived; beat is none where the broker asks to be fenced.
	heartbeat int64
	beat      beat
}

func controllerDirectory(id kafka.NodeID) kafka.DirectoryID {
	return kafka.DirectoryID{0: 9, 15: byte(id)}
}

func (w *World) newController(id kafka.NodeID) *controllerNode {
	return &controllerNode{w: w, id: id, raft: w.group.Node(id)}
}

func (c *controllerNode) node() node { return node(c.id) }

func (c *controllerNode) config() quorum.Config {
	voters := record.KRaftVoters{}
	for i := range controllerCount {
		id := kafka.NodeID(firstController + i)
		voters.Voters = append(voters.Voters, record.QuorumVoter{VoterID: id, VoterDirectoryID: controllerDirectory(id),
			Endpoints: []record.VoterEndpoint{{Name: "CONTROLLER", Host: "localhost", Port: uint16(9000 + i)}}})
	}
	features := controller.DefaultFeatures(level)
	features["eligible.leader.replicas.version"] = 1
	balance := int64(5000)
	if c.w.plan.Unbalanced {
		balance = 0
	}
	return quorum.Config{
		Self: c.id, DirectoryID: controllerDirectory(c.id), Incarnation: kafka.UUID{0: 7, 14: byte(c.lives), 15: byte(c.id)},
		Endpoints: []image.Endpoint{{Name: "CONTROLLER", Host: "localhost", Port: uint16(9000 + c.id - firstController)}},
		Voters:    voters,
		Bootstrap: controller.BootstrapRecords(level, features, nil),
		Settings: controller.Settings{
			ClusterID: clusterID, NodeID: c.id, SessionTimeoutMs: sessionMs, NumPartitions: 1, DefaultReplicationFactor: 3,
			DeleteTopicEnable: true, FenceOnDeath: c.w.plan.Deaths, ControllerFeatures: image.SupportedFeatures(), VoterIDs: []kafka.NodeID{100, 101, 102},
		},
		BatchRecords: c.w.plan.BatchRecords,
		MaxIdleMs:    500, BalanceIntervalMs: balance, UncleanIntervalMs: 3000, MaxParked: 100,
		Seed: [2]uint64{c.w.seed, uint64(c.id)<<8 | uint64(c.lives)},
	}
}

// start is a start of the process: a core that has read nothing.
func (c *controllerNode) start() {
	c.up, c.paused = true, false
	c.lives++
	c.core = quorum.NewCore(c.config())
	c.inbox, c.news, c.read, c.wake, c.state = nil, nil, 0, 0, nil
	c.w.tell("controller %d starts", c.id)
}

// kill is kill -9. What it had applied but not fsynced is applied again.
func (c *controllerNode) kill() {
	c.up = false
	c.raft.Restart(max(0, c.raft.Applied()-c.w.rnd.IntN(4)))
	c.state, c.wake = nil, 0
	c.w.tell("controller %d is killed", c.id)
	c.w.event("controller killed")
}

// active reports whether it believes to be the active controller.
func (c *controllerNode) active() bool { return c.up && c.state != nil && c.state.Active }

func (w *World) activeController() *controllerNode {
	var found *controllerNode
	for _, c := range w.controllers {
		if c.active() && (found == nil || c.state.Epoch > found.state.Epoch) {
			found = c
		}
	}
	return found
}

// majority reports whether raft can decide anything.
func (w *World) majority() bool {
	n := 0
	for _, c := range w.controllers {
		if c.up && !c.paused && !w.isolated(c.node()) {
			n++
		}
	}
	return 2*n > controllerCount
}

// isolated reports whether the other controllers do not hear a controller.
func (w *World) isolated(n node) bool {
	for i := range controllerCount {
		if other := node(firstController + i); other != n && w.network.cut[[2]node{n, other}] == 0 {
			return false
		}
	}
	return true
}

// chore is the next thing that a controller or the raft group does.
func (c *controllerNode) chore() {
	w := c.w
	if leader, _ := w.group.Leader(); w.chance(8) && w.majority() &&
		(leader == kafka.NoNode || !w.controllers[leader-firstController].up || w.isolated(node(leader)) || w.controllers[leader-firstController].paused) {
		w.elect()
	}
	if w.majority() {
		w.place()
	}
	if !c.up || c.paused {
		return
	}
	switch w.rnd.IntN(6) {
	case 0:
		if c.raft.Hear() {
			l := c.raft.Leadership
			c.news = &quorum.Leadership{Term: l.Term, Self: l.Self}
		}
	case 1:
		if l := c.news; l != nil {
			c.news = nil
			c.stepEvent(*l)
		}
	case 2:
		if !w.isolated(c.node()) {
			for k := 1 + w.rnd.IntN(4); k > 0 && c.raft.Behind() > 0; k-- {
				c.raft.Apply()
			}
		}
	case 3:
		c.follow()
	case 4:
		c.settle()
	default:
		for k := 1 + w.rnd.IntN(6); k > 0 && len(c.inbox) > 0 && c.up; k-- {
			ev := c.inbox[0]
			c.inbox = c.inbox[1:]
			c.stepEvent(ev)
		}
	}
}

// elect makes one of the controllers that can be heard the raft leader.
func (w *World) elect() {
	var can []kafka.NodeID
	for _, c := range w.controllers {
		if c.up && !c.paused && !w.isolated(c.node()) {
			can = append(can, c.id)
		}
	}
	if len(can) > 0 {
		id := can[w.rnd.IntN(len(can))]
		w.tell("raft: %d leads term %d", id, w.group.Elect(id))
		w.event("raft election")
	}
}

// place puts the next proposal, or now and then another one, into the raft log; a
// proposal of a deposed leader may be lost, and any may come twice.
func (w *World) place() {
	if len(w.proposals) == 0 {
		return
	}
	i := 0
	if w.chance(3) {
		i = w.rnd.IntN(len(w.proposals))
	}
	p := w.proposals[i]
	leader, term := w.group.Leader()
	lost := !w.healing && w.chance(12) && (leader != p.Node || term != p.Term)
	if lost || w.healing || !w.chance(10) {
		w.proposals = append(w.proposals[:i:i], w.proposals[i+1:]...)
	}
	if lost {
		w.event("proposal lost")
		return
	}
	if o := w.group.Place(p); !o.Accepted {
		w.event("append refused by the state machine")
	}
}

// follow feeds the core a piece of what its store has.
func (c *controllerNode) follow() {
	data := c.raft.Batches(c.read)
	if len(data) == 0 {
		return
	}
	n := 0
	for v, err := range batch.All(data) {
		if err != nil {
			panic(err)
		}
		n += v.Size()
		c.read = v.EndOffset()
		if c.w.chance(6) {
			break
		}
	}
	c.stepEvent(quorum.Committed{Batches: data[:n]})
}

// settle brings the outcome of a proposal into the inbox.
func (c *controllerNode) settle() {
	p, o, err, ok := c.raft.Settle(c.w.chance(2))
	if !ok && !c.w.healing && c.w.chance(80) {
		p, ok = c.raft.Abandon()
		err = raft.ErrBusy
	}
	if !ok {
		return
	}
	accepted := err == nil && o.Accepted
	if p.Command.Kind == testlog.KindClaim {
		c.inbox = append(c.inbox, quorum.Claimed{Term: p.Command.Term, Accepted: accepted, Epoch: o.Epoch, End: o.End})
	} else {
		c.inbox = append(c.inbox, quorum.Appended{Accepted: accepted})
	}
}

func (c *controllerNode) wakeUp() {
	if c.up && !c.paused && c.wake > 0 && c.wake <= c.w.now {
		c.stepEvent(quorum.Tick{})
	}
}

// stepEvent runs an event and its effects.
func (c *controllerNode) stepEvent(ev quorum.Event) {
	out, err := c.core.Step(c.w.now, ev)
	if err != nil {
		c.w.fail("MetadataLogMatching", "controller %d cannot understand the log: %v", c.id, err)
	}
	if out.Claim != nil {
		c.propose(testlog.Command{Kind: testlog.KindClaim, Node: c.id, Directory: controllerDirectory(c.id),
			Term: out.Claim.Term, Batches: out.Claim.Batch, BatchIfEmpty: out.Claim.BatchIfEmpty})
	}
	if a := out.Append; a != nil {
		c.propose(testlog.Command{Kind: testlog.KindAppend, Epoch: a.Epoch, Base: a.Base, Batches: a.Batches})
	}
	c.wake = out.WakeAtMs
	if out.State != nil {
		if out.State.Active && (c.state == nil || !c.state.Active) {
			c.w.tell("controller %d is active in epoch %d", c.id, out.State.Epoch)
			c.w.event("active controller")
			c.proven, c.deciding, c.beats = [brokerCount]int64{}, [brokerCount]int64{}, [brokerCount]beat{}
		}
		if c.state != nil && out.State.Stats.FencedOnDeath > c.state.Stats.FencedOnDeath {
			c.w.event("fenced on proof of death")
			c.checkProof()
			c.deciding[ev.(quorum.Dialed).Broker] = c.w.now
		}
		if c.state != nil && c.state.Active && out.State.Active {
			c.checkSuspicion(out.State)
			c.checkUnclean(c.state.Image, out.State.Image)
		}
		c.state = out.State
		c.w.truth.committedImage(c.w, c.state.Image)
	}
	for _, r := range out.Replies {
		c.reply(r)
	}
	for _, d := range out.Dials {
		c.dial(d)
	}
}

func (c *controllerNode) propose(cmd testlog.Command) {
	c.w.proposals = append(c.w.proposals, c.raft.Propose(cmd))
}

// ask sends a request to a controller; answer is called with nil where it has no
// answer to give. A controller that dies never answers.
func (w *World) ask(from node, to *controllerNode, body kmsg.Request, answer func(kmsg.Response)) {
	life := w.life(from)
	w.send(from, to.node(), func() {
		var conn uint64
		if from >= 0 && from < brokerCount {
			conn = w.connection(w.brokers[from], to)
		}
		w.lastRequest++
		q := &controllerRequest{from: from, life: life, answer: answer}
		if req, ok := body.(*kmsg.BrokerHeartbeatRequest); ok {
			q.heartbeat = w.now
			if req.WantFence || req.WantShutdown {
				to.beats[from] = beat{} // its session is no reason to wait any more
			} else {
				q.beat = beat{kafka.BrokerEpoch(req.BrokerEpoch), w.now}
			}
		}
		w.requests[w.lastRequest] = q
		to.inbox = append(to.inbox, quorum.Request{ID: w.lastRequest, Caller: controller.Caller{Principal: "User:sim", Host: "127.0.0.1"},
			Body: body, Connection: conn, DeadlineMs: w.now + 2000})
	})
}

func (c *controllerNode) reply(r quorum.Reply) {
	q, ok := c.w.requests[r.ID]
	if !ok {
		return
	}
	delete(c.w.requests, r.ID)
	if beaten, ok := r.Response.(*kmsg.BrokerHeartbeatResponse); q.heartbeat > 0 && ok && r.Err == nil && beaten.ErrorCode == 0 {
		if c.proven[q.from] < q.heartbeat && c.deciding[q.from] < q.heartbeat {
			c.proven[q.from], c.deciding[q.from] = 0, 0 // it was heard since
		}
		if beaten.IsFenced {
			q.beat = beat{}
		}
		c.beats[q.from] = q.beat
	}
	if c.w.life(q.from) != q.life {
		return
	}
	resp := r.Response
	if r.Err != nil {
		resp = nil
	}
	c.w.send(c.node(), q.from, func() { q.answer(resp) })
}

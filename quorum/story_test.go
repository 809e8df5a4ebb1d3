package quorum

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/internal/testlog"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
	"kvorum/quorum/controller"
)

// TestStories runs scripts of three cores. The commands:
//
//	start [limits=real] [death] [migrates] [eligible]  three new controllers, 100 to 102, which fence on proof of death, are there for a migration from ZooKeeper, or know eligible leader replicas
//	elect N                   raft elects N; nobody has heard of it
//	hear N                    N hears who leads
//	place [COUNT]             the oldest proposals come into the log
//	drop                      what is not in the log never will be
//	apply N                   N's core is given what is in the log
//	settle N                  N learns the outcome of its oldest proposal
//	rest                      all of the above until nothing happens
//	create N NAME PARTITIONS  a request to N; register N BROKER [again], unfence N BROKER, list N likewise
//	migrate N ID RECORD...    a batch of a migration: begin, end, abort, a state, or tID for a topic
//	fetch N BROKER            a broker has fetched all that N has
//	answer N BROKER OFFSET    a broker answers N's probe: it has applied OFFSET
//	mute N BROKER             N's probe of a broker has failed
//	hang-up N BROKER [ours]   the broker closes the connection of its last request to N, or N does
//	dialed N BROKER refused|reached   what became of N's newest dial
//	pass MS                   time passes
//	restart N                 N crashes and starts again
//	log [from=OFFSET]         what is in the log
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		var s *story
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "start" {
				s = newStory(d)
			}
			return s.command(t, d)
		})
	})
}

// story is a sim whose events come from a script.
type story struct {
	*sim
	real, death, migrates, eligible bool
}

func newStory(d *datadriven.TestData) *story {
	s := &story{sim: newSim(0, nil), real: d.HasArg("limits"), death: d.HasArg("death"), migrates: d.HasArg("migrates"), eligible: d.HasArg("eligible")}
	s.told = true
	for _, n := range s.nodes {
		s.limit(n)
	}
	return s
}

func (s *story) limit(n *simNode) {
	if s.real {
		n.core.limits = defaultLimits
	}
	n.core.cfg.Settings.FenceOnDeath = s.death
	if s.eligible {
		n.core.cfg.BalanceIntervalMs = 0 // it would hold elections, too
		n.core.cfg.Bootstrap = controller.BootstrapRecords(image.MaxMetadataVersion, controller.DefaultFeatures(image.MaxMetadataVersion), nil)
	}
	if s.migrates {
		n.core.cfg.Bootstrap = controller.BootstrapRecords(image.MV39IV0, nil, nil)
		n.core.cfg.Settings.ZooKeeperMigration, n.core.cfg.Settings.InterBrokerListener = true, "PLAINTEXT"
	}
}

func (s *story) node(t *testing.T, d *datadriven.TestData) *simNode {
	for _, n := range s.nodes {
		if len(d.CmdArgs) > 0 && d.CmdArgs[0].Key == fmt.Sprint(n.id) {
			return n
		}
	}
	d.Fatalf(t, "%s of which node?", d.Cmd)
	return nil
}

func (s *story) argument(t *testing.T, d *datadriven.TestData, i int) (v int64) {
	if i >= len(d.CmdArgs) {
		d.Fatalf(t, "%s wants more arguments", d.Cmd)
	}
	if _, err := fmt.Sscan(d.CmdArgs[i].Key, &v); err != nil {
		d.Fatalf(t, "%v", err)
	}
	return v
}

func (s *story) command(t *testing.T, d *datadriven.TestData) (out string) {
	defer func() {
		if r := recover(); r != nil {
			t.Fatalf("%s: %v\n%s", d.Pos, r, strings.Join(s.trace, "\n"))
		}
	}()
	s.trace = nil
	switch d.Cmd {
	case "start":
	case "elect":
		id := s.node(t, d).id
		s.tell("raft: %d leads term %d", id, s.group.Elect(id))
	case "hear":
		n := s.node(t, d)
		s.hear(n)
		s.takeNews(n)
	case "place":
		count := int64(1)
		if len(d.CmdArgs) > 0 {
			count = s.argument(t, d, 0)
		}
		for ; count > 0; count-- {
			s.placeFirst()
		}
	case "drop":
		s.open = nil
	case "apply":
		s.applyAll(s.node(t, d))
	case "settle":
		n := s.node(t, d)
		s.settle(n, false)
		s.takeInbox(n)
	case "rest":
		s.rest()
	case "fetch":
		n := s.node(t, d)
		b := kafka.NodeID(s.argument(t, d, 1))
		s.step(n, Fetched{Replica: b, Directory: kafka.DirectoryID{15: byte(b)}, Offset: n.core.end()})
	case "answer", "mute":
		n := s.node(t, d)
		ev := Probed{Broker: kafka.BrokerID(s.argument(t, d, 1)), Leader: n.core.epoch}
		ev.Epoch = n.core.committed().Broker(ev.Broker).Epoch
		if d.Cmd == "mute" {
			ev.Problem = "connection refused"
		} else {
			ev.Applied = kafka.Offset(s.argument(t, d, 2))
			if ev.Applied < n.core.end() {
				s.brokers[ev.Broker].applied = ev.Applied
			}
		}
		s.step(n, ev)
	case "hang-up", "dialed":
		s.step(s.node(t, d), s.deathEvent(t, d))
	case "pass":
		s.now += s.argument(t, d, 0)
		for _, n := range s.nodes {
			if n.wake > 0 && n.wake <= s.now {
				s.step(n, Tick{})
			}
		}
	case "restart":
		n := s.node(t, d)
		n.raft.Restart(0)
		s.boot(n)
		s.limit(n)
		s.tell("%d: restarts", n.id)
	case "migrate":
		n := s.node(t, d)
		ev := MigrationBatch{ID: uint64(s.argument(t, d, 1)), Epoch: n.core.epoch}
		for _, arg := range d.CmdArgs[2:] {
			ev.Records = append(ev.Records, migrationRecord(t, d, arg.Key))
		}
		s.migrations[ev.ID] = n
		s.step(n, ev)
	case "log":
		from := int64(0)
		d.MaybeScanArgs(t, "from", &from)
		return describeLog(s.group.Batches(kafka.Offset(from)))
	default:
		n := s.node(t, d)
		s.ask(n, s.request(t, d, n))
		if d.Cmd == "register" || d.Cmd == "unfence" {
			q := n.inbox[len(n.inbox)-1].(Request)
			q.Connection = uint64(10 + s.argument(t, d, 1))
			n.inbox[len(n.inbox)-1] = q
		}
		s.takeInbox(n)
	}
	return strings.Join(s.trace, "\n")
}

func (s *story) deathEvent(t *testing.T, d *datadriven.TestData) Event {
	n, b := s.node(t, d), kafka.BrokerID(s.argument(t, d, 1))
	if d.Cmd == "hang-up" {
		return ConnectionEnded{Connection: uint64(10 + b), ByPeer: !d.HasArg("ours")}
	}
	ev := Dialed{Broker: b, Epoch: n.core.pending.Broker(b).Epoch, Number: n.core.deaths.number, Answers: []DialAnswer{{Refused: d.HasArg("refused")}}}
	if d.HasArg("reached") {
		ev.Answers[0].Reached = fmt.Sprintf("127.0.0.%d:9092", b)
	}
	return ev
}

func (s *story) request(t *testing.T, d *datadriven.TestData, n *simNode) kmsg.Request {
	switch d.Cmd {
	case "create":
		return simCreate(d.CmdArgs[1].Key, int(s.argument(t, d, 2)))
	case "register":
		b := kafka.BrokerID(s.argument(t, d, 1))
		q := simRegistration(b, kafka.UUID{0: 5, 15: byte(b)})
		if d.HasArg("again") {
			q.IncarnationID[0]++
		}
		if d.HasArg("zookeeper") {
			q.IsMigratingZkBroker = true
			for i := range q.Features {
				if f := &q.Features[i]; f.Name == image.FeatureMetadataVersion {
					f.MinSupportedVersion, f.MaxSupportedVersion = int16(image.MV39IV0), int16(image.MV39IV0)
				}
			}
		}
		return q
	case "unfence":
		b := n.core.committed().Broker(kafka.BrokerID(s.argument(t, d, 1)))
		return simHeartbeat(b.ID, b.Epoch, n.core.end(), false)
	case "list":
		return kmsg.NewPtrListPartitionReassignmentsRequest()
	}
	d.Fatalf(t, "unknown command %s", d.Cmd)
	return nil
}

// migrationRecord is a record that a migration appends.
func migrationRecord(t *testing.T, d *datadriven.TestData, name string) record.Message {
	states := map[string]int8{"NONE": image.ZkNone, "MIGRATION": image.ZkMigration, "PRE_MIGRATION": image.ZkPreMigration, "POST_MIGRATION": image.ZkPostMigration}
	switch state, ok := states[name]; {
	case ok:
		return record.Message{Record: &record.ZkMigrationStateRecord{ZkMigrationState: state}}
	case name == "begin":
		return record.Message{Record: &record.BeginTransactionRecord{}}
	case name == "end":
		return record.Message{Record: &record.EndTransactionRecord{}}
	case name == "abort":
		return record.Message{Record: &record.AbortTransactionRecord{}}
	}
	id, err := strconv.Atoi(strings.TrimPrefix(name, "t"))
	if err != nil {
		d.Fatalf(t, "%s is no record of a migration", name)
	}
	return record.Message{Record: &record.TopicRecord{Name: name, TopicID: kafka.TopicID{15: byte(id)}}}
}

func (s *story) placeFirst() {
	if len(s.open) == 0 {
		return
	}
	p := s.open[0]
	s.open = s.open[1:]
	o := s.group.Place(p)
	s.tell("raft: %s of %d placed: %+v", [...]string{"append", "claim"}[p.Command.Kind], p.Node, o)
	s.placed(p, o)
}

func (s *story) applyAll(n *simNode) {
	for n.raft.Behind() > 0 {
		n.raft.Apply()
	}
	s.follow(n)
}

func (s *story) rest() {
	for busy := true; busy; {
		busy = len(s.open) > 0
		s.placeFirst()
		for _, n := range s.nodes {
			s.hear(n)
			busy = busy || n.news != nil || len(n.inbox) > 0 || n.raft.Behind() > 0
			s.takeNews(n)
			s.applyAll(n)
			s.settle(n, false)
			s.takeInbox(n)
		}
	}
}

// describeLog prints a log, equal records together.
func describeLog(data []byte) string {
	var out strings.Builder
	for v := range batch.All(data) {
		fmt.Fprintf(&out, "%d-%d epoch %d:", v.BaseOffset(), v.LastOffset(), v.Epoch())
		last, count := "", 0
		flush := func() {
			if count > 1 {
				fmt.Fprintf(&out, " %d×%s", count, last)
			} else if count == 1 {
				fmt.Fprintf(&out, " %s", last)
			}
		}
		it := v.MetadataRecords()
		for it.Next() {
			name := recordName(v, it)
			if name != last {
				flush()
				last, count = name, 0
			}
			count++
		}
		flush()
		out.WriteByte('\n')
	}
	return out.String()
}

func recordName(v batch.View, it batch.MetadataIter) string {
	if v.Control() {
		c, err := record.DecodeControl(it.Key(), it.Value())
		if err != nil {
			return err.Error()
		}
		return strings.TrimSuffix(c.RecordName(), "Record")
	}
	m, err := record.Decode(it.Value())
	if err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(m.Record.RecordName(), "Record")
}

// TestStartOfTheLog lets a core begin a log with the bootstrap records, clock
// and endpoints of an Apache 4.3.1 controller: the same bytes come out.
func TestStartOfTheLog(t *testing.T) {
	golden, err := os.ReadFile("testdata/apache-4.3.1-start.log")
	if err != nil {
		t.Fatal(err)
	}
	var views []batch.View
	for v, err := range batch.All(golden) {
		if err != nil {
			t.Fatal(err)
		}
		views = append(views, v)
	}
	cfg, registration := apacheConfig(t, views)
	core := NewCore(cfg)
	group := testlog.NewGroup(0, cfg.Self)
	term := group.Elect(cfg.Self)
	node := group.Node(cfg.Self)
	node.Hear()
	step := func(v batch.View, ev Event) Effects {
		out, err := core.Step(v.BaseTimestamp(), ev)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	out := step(views[0], Leadership{Term: term, Self: true})
	o := group.Place(node.Propose(testlog.Command{Kind: testlog.KindClaim, Node: cfg.Self, Term: term, Batches: out.Claim.Batch, BatchIfEmpty: out.Claim.BatchIfEmpty}))
	log := group.Batches(0)
	step(views[0], Committed{Batches: log})
	out = step(views[1], Claimed{Term: term, Accepted: o.Accepted, Epoch: o.Epoch, End: o.End})
	log = append(log, out.Append.Batches...)
	want := golden[:len(views[0])+len(views[1])]
	if !bytes.Equal(log[:min(len(log), len(want))], want) {
		t.Errorf("the log begins with\n%s\n%x\nApache's with\n%s\n%x", describeLog(log), log, describeLog(want), want)
	}
	v, _, err := batch.Next(log[len(want):])
	if err != nil {
		t.Fatal(err)
	}
	it := v.MetadataRecords()
	it.Next()
	m, err := record.Decode(it.Value())
	if err != nil {
		t.Fatal(err)
	}
	own := m.Record.(*record.RegisterControllerRecord)
	if own.IncarnationID != registration.IncarnationID || len(own.EndPoints) != 1 || own.EndPoints[0].Port != registration.EndPoints[0].Port {
		t.Errorf("the controller registers as %+v, Apache's as %+v", own, registration)
	}
}

// apacheConfig reads a configuration out of the start of a log.
func apacheConfig(t *testing.T, views []batch.View) (Config, *record.RegisterControllerRecord) {
	var cfg Config
	it := views[0].MetadataRecords()
	for it.Next() {
		c, err := record.DecodeControl(it.Key(), it.Value())
		if err != nil {
			t.Fatal(err)
		}
		if voters, ok := c.(*record.KRaftVoters); ok {
			cfg.Voters = *voters
		}
	}
	var registration *record.RegisterControllerRecord
	for _, v := range views[1:] {
		it := v.MetadataRecords()
		for it.Next() {
			m, err := record.Decode(it.Value())
			if err != nil {
				t.Fatal(err)
			}
			switch r := m.Record.(type) {
			case *record.FeatureLevelRecord, *record.UserScramCredentialRecord:
				cfg.Bootstrap = append(cfg.Bootstrap, m)
			case *record.RegisterControllerRecord:
				registration = r
			}
		}
	}
	cfg.Self, cfg.Incarnation = cfg.Voters.Voters[0].VoterID, registration.IncarnationID
	for _, e := range registration.EndPoints {
		cfg.Endpoints = append(cfg.Endpoints, image.Endpoint{Name: e.Name, Host: e.Host, Port: e.Port, SecurityProtocol: e.SecurityProtocol})
	}
	cfg.DirectoryID = cfg.Voters.Voters[0].VoterDirectoryID
	cfg.Settings = controller.Settings{ClusterID: "AAAAAAAAAAAAAAAAAAAAAQ", NodeID: cfg.Self, ControllerFeatures: image.SupportedFeatures()}
	return cfg, registration
}

package quorum

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

// TestDeathStories runs the scripts in testdata/deaths: each is a case in which
// a broker is taken for dead, or must not be.
//
//	brokers N                 N unfenced brokers with one listener each, heard over connection 10*id
//	failover                  the watch of a controller that has just become active
//	heard ID conn=N           a heartbeat
//	register ID               a new incarnation, fenced, heard over no connection
//	fence ID | unfence ID
//	ended conn=N [ours]       the peer closed the connection, or we did
//	dialed ID refused|reached|silent   the newest dial
//	stale ID refused          an answer to the dial before the newest
//	pass MS
func TestDeathStories(t *testing.T) {
	datadriven.Walk(t, filepath.Join("testdata", "deaths"), func(t *testing.T, path string) {
		s := &deathStory{t: t, now: 1000, brokers: map[kafka.BrokerID]*record.RegisterBrokerRecord{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(d) })
	})
}

type deathStory struct {
	t       *testing.T
	now     int64
	watch   deathWatch
	brokers map[kafka.BrokerID]*record.RegisterBrokerRecord
}

func (s *deathStory) image() *image.Image {
	delta := image.NewDelta(image.Empty())
	for _, r := range s.brokers {
		if err := delta.ReplayAt(0, r); err != nil {
			s.t.Fatal(err)
		}
	}
	return delta.Apply(image.Position{})
}

func (s *deathStory) run(d *datadriven.TestData) string {
	var id, conn int64
	if len(d.CmdArgs) > 0 {
		_, _ = fmt.Sscan(d.CmdArgs[0].Key, &id) // conn=N first leaves 0
	}
	d.MaybeScanArgs(s.t, "conn", &conn)
	b := kafka.BrokerID(id)
	switch d.Cmd {
	case "brokers":
		var out strings.Builder
		for i := range id {
			b := kafka.BrokerID(i + 1)
			s.register(b, false)
			out.WriteString(s.tell(s.watch.heard(s.image().Broker(b), uint64(10*b))))
			out.WriteString(s.answer(b, s.watch.number, DialAnswer{Reached: fmt.Sprintf("127.0.0.%d:9092", b)}))
		}
		return out.String()
	case "failover":
		s.watch = deathWatch{number: s.watch.number}
		s.watch.begin(s.image(), s.now, kafka.NoLeader)
		return s.tell(s.watch.tick(s.image(), s.now))
	case "heard":
		return s.tell(s.watch.heard(s.image().Broker(b), uint64(conn)))
	case "register":
		s.register(b, true)
		return s.tell(s.watch.heard(s.image().Broker(b), 0))
	case "fence", "unfence":
		s.brokers[b].Fenced = d.Cmd == "fence"
		return s.tell(s.watch.tick(s.image(), s.now))
	case "ended":
		id, hungUp := s.watch.ended(s.image(), s.now, uint64(conn), !d.HasArg("ours"))
		out := s.tell(s.watch.tick(s.image(), s.now))
		if hungUp {
			return fmt.Sprintf("broker %d hung up\n", id) + out
		}
		return out
	case "dialed", "stale":
		number := s.watch.brokers[b].dial
		if d.Cmd == "stale" {
			number = s.watch.number - 1
		}
		a := DialAnswer{Refused: d.HasArg("refused")}
		if d.HasArg("reached") {
			a.Reached = fmt.Sprintf("127.0.0.%d:9092", b)
		}
		return s.answer(b, number, a)
	case "pass":
		s.now += id
		return s.tell(s.watch.tick(s.image(), s.now))
	}
	s.t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
	return ""
}

func (s *deathStory) register(b kafka.BrokerID, fenced bool) {
	epoch := kafka.BrokerEpoch(b)
	if old := s.brokers[b]; old != nil {
		epoch = old.BrokerEpoch + 100
	}
	s.brokers[b] = &record.RegisterBrokerRecord{
		BrokerID: b, BrokerEpoch: epoch, Fenced: fenced,
		EndPoints: []image.Endpoint{{Name: "A", Host: fmt.Sprintf("broker%d", b), Port: 9092}},
	}
}

func (s *deathStory) answer(b kafka.BrokerID, number uint64, a DialAnswer) string {
	return s.tellAll(nil, s.watch.dialed(s.now, Dialed{Broker: b, Epoch: s.brokers[b].BrokerEpoch, Number: number, Answers: []DialAnswer{a}}))
}

func (s *deathStory) tell(dials []Dial) string { return s.tellAll(dials, kafka.NoLeader) }

func (s *deathStory) tellAll(dials []Dial, dead kafka.BrokerID) string {
	var out strings.Builder
	for _, dial := range dials {
		fmt.Fprintf(&out, "dial %d at %s\n", dial.Broker, strings.Join(dial.Addresses, ","))
	}
	switch {
	case dead == kafka.NoLeader:
	case s.watch.mostLookDead(s.image(), s.now, 9000):
		fmt.Fprintf(&out, "broker %d looks dead, but so do most\n", dead)
	default:
		fmt.Fprintf(&out, "broker %d is dead\n", dead)
		s.watch.brokers[dead].fencedMs = s.now
		s.brokers[dead].Fenced = true
	}
	if next := s.watch.nextMs(); next > s.now {
		fmt.Fprintf(&out, "next in %d ms\n", next-s.now)
	}
	return out.String()
}

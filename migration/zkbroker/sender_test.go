package zkbroker

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/migration/zkbroker/control"
	"kvorum/protocol"
	wire "kvorum/protocol/errors"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// scripted is a listener in a broker's place that can be slow, refuse and hang up.
// Real brokers are in integration/leaving.
type scripted struct {
	listener net.Listener
	seen     chan kmsg.Request // every request, before its answer
	hold     chan struct{}     // if not nil, nothing is answered before it is closed
	wait     sync.WaitGroup

	mu      sync.Mutex
	answers []wire.Code // of the next requests, 0 when there are no more; hangUp hangs up
}

const hangUp wire.Code = 9999

func listen(t *testing.T) *scripted {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{listener: l, seen: make(chan kmsg.Request, 100)}
	s.wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.wait.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); s.wait.Wait() })
	return s
}

func (s *scripted) script(codes ...wire.Code) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = codes
}

func (s *scripted) next() wire.Code {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.answers) == 0 {
		return wire.None
	}
	code := s.answers[0]
	s.answers = s.answers[1:]
	return code
}

// serve reads requests and answers them. The headers of all three are flexible.
func (s *scripted) serve(c net.Conn) {
	defer c.Close()
	for {
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(c, frame); err != nil {
			return
		}
		header, err := protocol.FixedHeader(frame)
		if err != nil {
			return
		}
		r := kmsg.RequestForKey(int16(header.Key))
		r.SetVersion(header.Version)
		if header.Key != 5 { // kmsg reads the head of a StopReplica wrongly
			body := frame[8:]
			body = body[2+int(binary.BigEndian.Uint16(body))+1:]
			if err := r.ReadFrom(body); err != nil {
				return
			}
		}
		s.seen <- r
		if s.hold != nil {
			<-s.hold
		}
		code := s.next()
		if code == hangUp {
			return
		}
		answer := r.ResponseKind()
		switch a := answer.(type) {
		case *kmsg.UpdateMetadataResponse:
			a.ErrorCode = int16(code)
		case *kmsg.LeaderAndISRResponse:
			a.ErrorCode = int16(code)
		case *kmsg.StopReplicaResponse:
			a.ErrorCode = int16(code)
		}
		if _, err := c.Write(protocol.AppendResponse(nil, header.CorrelationID, answer)); err != nil {
			return
		}
	}
}

// expect waits for a request of a kind.
func expect[R kmsg.Request](t *testing.T, s *scripted) R {
	t.Helper()
	select {
	case r := <-s.seen:
		want, ok := r.(R)
		if !ok {
			t.Fatalf("a %T came", r)
		}
		return want
	case <-time.After(patience):
		var want R
		t.Fatalf("no %T came", want)
		panic("not reached")
	}
}

// nodes is an image that grows.
type nodes struct {
	t  *testing.T
	im *image.Image
}

func (n *nodes) add(records ...record.Record) *image.Image {
	n.t.Helper()
	d := image.NewDelta(n.im)
	for _, r := range records {
		if err := d.Replay(r); err != nil {
			n.t.Fatal(err)
		}
	}
	n.im = d.Apply(image.Position{Offset: n.im.At().Offset + 1, Epoch: 7})
	return n.im
}

func (n *nodes) register(id kafka.BrokerID, epoch kafka.BrokerEpoch, zookeeper bool, at *scripted) *image.Image {
	n.t.Helper()
	return n.add(&record.RegisterBrokerRecord{
		BrokerID: id, BrokerEpoch: epoch, IncarnationID: kafka.UUID{15: byte(epoch)}, IsMigratingZkBroker: zookeeper,
		EndPoints: []record.Endpoint{{Name: "INTERNAL", Host: "127.0.0.1", Port: uint16(at.listener.Addr().(*net.TCPAddr).Port)}},
	})
}

var topicID = kafka.TopicID{15: 1}

func (n *nodes) topic(replicas ...kafka.BrokerID) *image.Image {
	n.t.Helper()
	return n.add(&record.TopicRecord{Name: "t", TopicID: topicID}, &record.PartitionRecord{TopicID: topicID, Replicas: replicas, ISR: replicas, Leader: replicas[0]})
}

func (n *nodes) lead(id kafka.BrokerID) *image.Image {
	n.t.Helper()
	return n.add(&record.PartitionChangeRecord{TopicID: topicID, Leader: id, LeaderRecoveryState: -1})
}

func start(t *testing.T, deposed func(error)) *Sender {
	t.Helper()
	s, err := New(Config{Head: control.Head{Controller: 3001, ControllerEpoch: 9, Listener: "INTERNAL"}, Deposed: deposed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// told waits until every broker has acknowledged an image.
func told(t *testing.T, s *Sender, brokers int, im *image.Image) []Status {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		all := s.Status()
		ok := len(all) == brokers
		for _, st := range all {
			ok = ok && st.Told == im.At().Offset && st.Err == nil
		}
		if ok {
			return all
		}
	}
	t.Fatalf("offset %d was not told: %+v", im.At().Offset, s.Status())
	return nil
}

// TestTelling: everything at first, then what is different; a broker that registers
// again gets everything again; one in KRaft mode gets nothing.
func TestTelling(t *testing.T) {
	one, two, kraft := listen(t), listen(t), listen(t)
	n := &nodes{t: t, im: image.Empty()}
	n.register(1, 10, true, one)
	n.register(2, 20, true, two)
	n.register(3, 30, false, kraft)
	s := start(t, nil)
	s.Publish(n.topic(1, 2))
	for id, b := range map[kafka.BrokerID]*scripted{1: one, 2: two} {
		metadata := expect[*kmsg.UpdateMetadataRequest](t, b)
		replicas := expect[*kmsg.LeaderAndISRRequest](t, b)
		if metadata.ControllerEpoch != 9 || metadata.BrokerEpoch != int64(id)*10 || replicas.Type != 2 || replicas.TopicStates[0].PartitionStates[0].ControllerEpoch != 7 {
			t.Errorf("broker %d got %+v and %+v", id, metadata, replicas)
		}
	}
	told(t, s, 2, n.im)
	s.Publish(n.lead(2))
	for _, b := range []*scripted{one, two} {
		if r := expect[*kmsg.LeaderAndISRRequest](t, b); r.Type != 1 || r.TopicStates[0].PartitionStates[0].Leader != 2 {
			t.Errorf("after an election: %+v", r)
		}
		expect[*kmsg.UpdateMetadataRequest](t, b)
	}
	s.Publish(n.add(&record.NoOpRecord{}))
	for _, st := range told(t, s, 2, n.im) {
		if st.Requests != 4 || st.Lag != 0 {
			t.Errorf("%+v", st)
		}
	}
	s.Publish(n.register(2, 21, true, two))
	if r := expect[*kmsg.UpdateMetadataRequest](t, two); r.BrokerEpoch != 21 || len(r.TopicStates) != 1 {
		t.Errorf("after its registration: %+v", r)
	}
	expect[*kmsg.LeaderAndISRRequest](t, two)
	told(t, s, 2, n.im)
	s.Publish(n.register(2, 22, false, two)) // in KRaft mode from now on
	told(t, s, 1, n.im)
	if len(two.seen)+len(kraft.seen) > 0 {
		t.Error("a broker in KRaft mode was told")
	}
}

// TestOneAfterAnother: while a broker is busy or away, what happens is told
// together, and nothing is lost when a request fails.
func TestOneAfterAnother(t *testing.T) {
	b := listen(t)
	b.hold = make(chan struct{})
	b.script(hangUp, wire.None, wire.StaleBrokerEpoch)
	n := &nodes{t: t, im: image.Empty()}
	n.register(1, 10, true, b)
	s := start(t, nil)
	s.Publish(n.topic(1, 2))
	expect[*kmsg.UpdateMetadataRequest](t, b) // is held, then hung up
	for range 100 {
		n.lead(2)
		s.Publish(n.lead(1))
	}
	close(b.hold)
	expect[*kmsg.UpdateMetadataRequest](t, b)
	expect[*kmsg.LeaderAndISRRequest](t, b) // refused
	expect[*kmsg.UpdateMetadataRequest](t, b)
	last := expect[*kmsg.LeaderAndISRRequest](t, b)
	if p := last.TopicStates[0].PartitionStates[0]; p.LeaderEpoch != 200 || last.Type != 2 {
		t.Errorf("the last it was told is %+v", p)
	}
	if st := told(t, s, 1, n.im)[0]; st.Requests != 4 {
		t.Errorf("%+v", st)
	}
	s.Publish(image.Empty()) // older: ignored
	told(t, s, 1, n.im)
}

// TestDeposed: a broker that knows a newer controller is the end.
func TestDeposed(t *testing.T) {
	b := listen(t)
	b.script(wire.StaleControllerEpoch)
	n := &nodes{t: t, im: image.Empty()}
	n.register(1, 10, true, b)
	n.topic(1)
	deposed := make(chan error, 2)
	s := start(t, func(err error) { deposed <- err })
	s.Publish(n.im)
	select {
	case err := <-deposed:
		if !errors.Is(err, ErrDeposed) {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("nobody was told")
	}
	s.Publish(n.lead(1))
	if st := s.Status(); len(st) != 1 || !errors.Is(st[0].Err, ErrDeposed) || st[0].Lag != 3 {
		t.Errorf("%+v", st)
	}
	s.Close()
	if len(b.seen) != 1 {
		t.Errorf("%d requests after that", len(b.seen)-1)
	}
}

// TestNoListener: what the operator has to know is in the status.
func TestNoListener(t *testing.T) {
	if _, err := New(Config{Head: control.Head{Controller: 1, ControllerEpoch: 1}}); err == nil {
		t.Error("no listener's name")
	}
	n := &nodes{t: t, im: image.Empty()}
	n.add(&record.RegisterBrokerRecord{BrokerID: 1, BrokerEpoch: 1, IsMigratingZkBroker: true, EndPoints: []record.Endpoint{{Name: "SECURE", Host: "127.0.0.1", Port: 1, SecurityProtocol: 1}}})
	for _, name := range []string{"INTERNAL", "SECURE"} {
		s, err := New(Config{Head: control.Head{Controller: 1, ControllerEpoch: 1, Listener: name}})
		if err != nil {
			t.Fatal(err)
		}
		s.Publish(n.im)
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			if st := s.Status(); len(st) == 1 && st[0].Err != nil {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%s: no error: %+v", name, s.Status())
				break
			}
		}
		s.Close()
	}
}

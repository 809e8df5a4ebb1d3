package handler

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/replica"
	"kvorum/broker/replica/core"
	"kvorum/broker/storage"
	"kvorum/config"
	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/listener"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol"
	"kvorum/protocol/errors"
)

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

const (
	self  = kafka.BrokerID(1)
	other = kafka.BrokerID(2)
)

// world is broker 1 of a cluster: real replicas on a file system in memory, and
// a metadata log that the test writes. Controllers, groups and ids for producers
// are the test's.
type world struct {
	t        testing.TB
	dirs     *storage.Dirs
	replicas *replica.Partitions
	handlers *Handlers
	bound    *protocol.Handlers[listener.Handler]
	image    atomic.Pointer[image.Image]

	mu        sync.Mutex
	listeners map[string]string // addresses by name
	created   []string
	makes     bool // AutoCreate makes topics
	forwarded []kmsg.Request
	forward   func(kmsg.Request) (kmsg.Response, error)
}

func newWorld(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, listeners: map[string]string{}}
	w.image.Store(image.Empty())
	fs := vfs.NewMem()
	if err := fs.MkdirAll("/logs", 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	w.dirs, err = storage.OpenDirs(storage.DirsOptions{
		FS: fs, Directories: []storage.Directory{{Path: "/logs", ID: kafka.UUID{7}}}, OpenFiles: 64,
		Config:          func(topic string) storage.LogConfig { return w.replicas.TopicConfig(topic) },
		RecoveryThreads: 2, ProducerExpirationMs: 86_400_000, Times: storage.DefaultDirsTimes,
		Clock: clock.System, Random: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.replicas = replica.New(replica.Config{
		Self: self, Dirs: w.dirs, FS: fs, Clock: clock.System, Log: slog.New(slog.DiscardHandler), LagMax: 30 * time.Second, Controller: w,
	})
	t.Cleanup(func() {
		if err := w.dirs.Close(epochOf(self)); err != nil {
			t.Error(err)
		}
	})
	cfg := Config{
		Self: self, ClusterID: "cluster", Clock: clock.System, Log: slog.New(slog.DiscardHandler),
		Broker:   &config.Broker{AutoCreateTopics: true, FetchMaxBytes: 55 << 20, FetchSessions: 4, DescribedPartitions: 2000, TopicMetrics: 2, MarkerTimeout: patience},
		Image:    w.image.Load,
		Layers:   func() config.Layers { return config.Layers{} },
		Replicas: w.replicas, LogDirs: w.dirs, Controllers: w, AutoCreate: w,
	}
	for _, f := range change {
		f(&cfg)
	}
	w.handlers = New(cfg)
	w.bound = w.handlers.Bind(protocol.Broker | protocol.InterBroker)
	w.publish(&record.FeatureLevelRecord{Name: image.FeatureMetadataVersion, FeatureLevel: int16(image.MV40IV1)}, broker(self), broker(other))
	return w
}

// AlterPartition and AssignDirectory are what replicas ask of the controllers.
func (w *world) AlterPartition(*replica.Partition, *core.Proposal) {}

func (w *world) AssignDirectory(kafka.TopicID, kafka.PartitionID, kafka.DirectoryID) {}

// Create makes the topics with one partition on this broker, if the test wants
// it so.
func (w *world) Create(_ context.Context, names []string) {
	w.mu.Lock()
	w.created = append(w.created, names...)
	makes := w.makes
	w.mu.Unlock()
	for _, name := range names {
		if makes {
			w.publish(topic(name), partition(name, 0, self))
		}
	}
}

func (w *world) Do(_ context.Context, req kmsg.Request) (kmsg.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forwarded = append(w.forwarded, req)
	return w.forward(req)
}

func (w *world) Forward(ctx context.Context, _ protocol.Principal, _ netip.Addr, r *protocol.Request) (kmsg.Response, error) {
	return w.Do(ctx, r.Body)
}

// publish writes records to the metadata log.
func (w *world) publish(records ...record.Record) {
	w.t.Helper()
	d := image.NewDelta(w.image.Load())
	for _, r := range records {
		if err := d.Replay(r); err != nil {
			w.t.Fatal(err)
		}
	}
	next := d.Apply(image.Position{Offset: w.image.Load().At().Offset + kafka.Offset(len(records))})
	w.replicas.Publish(d.Changes(next), next)
	w.image.Store(next)
}

func epochOf(id kafka.BrokerID) kafka.BrokerEpoch { return kafka.BrokerEpoch(10 + id) }

// broker is a registration with a listener for clients, and on broker 1 one more.
func broker(id kafka.BrokerID, change ...func(*record.RegisterBrokerRecord)) *record.RegisterBrokerRecord {
	r := &record.RegisterBrokerRecord{
		BrokerID: id, BrokerEpoch: epochOf(id), IncarnationID: kafka.UUID{byte(id)}, LogDirs: []kafka.UUID{{7}},
		EndPoints: []record.Endpoint{{Name: "CLIENTS", Host: fmt.Sprintf("b%d", id), Port: 9092}},
	}
	if id == self {
		r.EndPoints = append(r.EndPoints, record.Endpoint{Name: "INSIDE", Host: "inside", Port: 9093})
	}
	for _, f := range change {
		f(r)
	}
	return r
}

func fenced(r *record.RegisterBrokerRecord) { r.Fenced = true }

func topicID(name string) kafka.TopicID {
	id := kafka.TopicID{15: 200}
	copy(id[:15], name)
	return id
}

func topic(name string) record.Record { return &record.TopicRecord{Name: name, TopicID: topicID(name)} }

func partition(name string, p int, replicas ...kafka.BrokerID) *record.PartitionRecord {
	r := &record.PartitionRecord{
		TopicID: topicID(name), PartitionID: kafka.PartitionID(p), Replicas: replicas, ISR: append([]kafka.BrokerID(nil), replicas...),
		Leader: replicas[0], PartitionEpoch: 1,
	}
	for range replicas {
		r.Directories = append(r.Directories, kafka.UUID{7})
	}
	return r
}

// ask sends a request at a version, through its wire form, as a client of the
// listener CLIENTS.
func ask[R kmsg.Response](w *world, version int16, req kmsg.Request) R {
	w.t.Helper()
	return askAs[R](w, "CLIENTS", "client", version, req)
}

func askAs[R kmsg.Response](w *world, listenerName, client string, version int16, req kmsg.Request) R {
	w.t.Helper()
	resp, err := w.send(listenerName, client, version, req)
	if err != nil {
		w.t.Fatalf("%s v%d: %v", kmsg.NameForKey(req.Key()), version, err)
	}
	return resp.(R)
}

// send sends a request over a connection of its own; the error is that of a
// connection which was closed instead of an answer.
func (w *world) send(listenerName, client string, version int16, req kmsg.Request) (kmsg.Response, error) {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.listen(listenerName))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	req.SetVersion(version)
	if _, err := conn.Write(protocol.AppendRequest(nil, 7, &client, req)); err != nil {
		w.t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, frame); err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	_, err = protocol.ReadResponse(frame, resp)
	return resp, err
}

// listen starts the listener of a name, once.
func (w *world) listen(name string) string {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if addr, ok := w.listeners[name]; ok {
		return addr
	}
	l, err := listener.New(context.Background(), listener.Config{
		Name: name, Addr: "127.0.0.1:0", Handlers: w.bound, Budget: listener.NewBudget(listener.DefaultBudget), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	l.Serve(context.Background())
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			w.t.Error(err)
		}
	})
	w.listeners[name] = l.Addr().String()
	return w.listeners[name]
}

func code(c int16) errors.Code { return errors.Code(c) }

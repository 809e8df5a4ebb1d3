package replica

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/replica/core"
	"kvorum/broker/storage"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

var second = storage.Directory{Path: "/second", ID: kafka.DirectoryID{9}}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not come", what)
		}
	}
}

// told takes the next AssignReplicasToDirs, answers it, and returns the directory.
func (w *world) told() kafka.DirectoryID {
	w.t.Helper()
	req := (<-w.requests).(*kmsg.AssignReplicasToDirsRequest)
	if len(req.Directories) != 1 || len(req.Directories[0].Topics) != 1 || len(req.Directories[0].Topics[0].Partitions) != 1 {
		w.t.Fatalf("told %+v", req)
	}
	resp := kmsg.NewPtrAssignReplicasToDirsResponse()
	d := kmsg.NewAssignReplicasToDirsResponseDirectory()
	d.ID = req.Directories[0].ID
	t := kmsg.NewAssignReplicasToDirsResponseDirectoryTopic()
	t.TopicID = req.Directories[0].Topics[0].TopicID
	t.Partitions = []kmsg.AssignReplicasToDirsResponseDirectoryTopicPartition{{Partition: req.Directories[0].Topics[0].Partitions[0].Partition}}
	d.Topics = append(d.Topics, t)
	resp.Directories = append(resp.Directories, d)
	w.answers <- resp
	return d.ID
}

// in is what the controllers write when they are told where a replica is.
func in(name string, p int, dirs ...kafka.DirectoryID) record.Record {
	return &record.PartitionChangeRecord{TopicID: topicID(name), PartitionID: kafka.PartitionID(p), Leader: -2, LeaderRecoveryState: -1,
		Directories: dirs}
}

func (w *world) home(name string) kafka.DirectoryID {
	at, _ := w.dirs.Where(tp(name, 0))
	return at
}

func (w *world) caughtUp(name string) bool {
	l, err := w.dirs.Future(tp(name, 0))
	return err == nil && l.LogEnd() == w.ps.known(tp(name, 0)).Log().LogEnd()
}

func (w *world) move(name, path string) {
	w.t.Helper()
	if err := w.ps.AlterLogDir(tp(name, 0), path); err != nil {
		w.t.Fatal(err)
	}
}

// TestAReplicaMovesWhileItServes: records are produced all the time; the
// controllers are told before the logs are exchanged, and nothing is lost.
func TestAReplicaMovesWhileItServes(t *testing.T) {
	w := newWideWorld(t, second)
	w.run()
	w.alone("orders", 1)
	for range 100 {
		w.mustProduce("orders", 10)
	}
	var stop atomic.Bool
	produced := make(chan int)
	go func() {
		n := 1000
		for !stop.Load() {
			if r := w.produce(ProduceOptions{Acks: -1, Timeout: patience}, "orders", 10); r.Err != nil || r.First != kafka.Offset(n) {
				t.Errorf("produced %+v", r)
				break
			}
			n += 10
		}
		produced <- n
	}()
	w.move("orders", second.Path)
	w.move("orders", second.Path) // the same again changes nothing
	if got := w.told(); got != second.ID || w.home("orders") != directory {
		t.Errorf("told %v while the replica is in %v", got, w.home("orders"))
	}
	w.publish(in("orders", 0, second.ID))
	eventually(t, "the exchange", func() bool { return w.home("orders") == second.ID })
	before := w.ps.known(tp("orders", 0)).Log().LogEnd()
	eventually(t, "a record after the exchange", func() bool { return w.ps.known(tp("orders", 0)).Log().LogEnd() > before })
	stop.Store(true)
	want, got := <-produced, 0
	for got < want {
		r := w.fetch(consume(0), from("orders", 0, kafka.Offset(got)))[0]
		n := 0
		if r.Err == nil {
			n = count(t, r.Records)
		}
		if n == 0 {
			t.Fatalf("%d of %d records, then %+v", got, want, r)
		}
		got += n
	}
	if _, ok := w.dirs.FutureIn(tp("orders", 0)); ok {
		t.Error("there is a future log still")
	}
}

func TestMoveErrors(t *testing.T) {
	w := newWideWorld(t, second)
	w.publish(topic("elsewhere"), partition("elsewhere", 0, other))
	w.alone("orders", 1)
	for _, c := range []struct {
		topic, path string
		want        errors.Code
	}{
		{"orders", "/nowhere", errors.LogDirNotFound},
		{"elsewhere", second.Path, errors.ReplicaNotAvailable},
		{"unknown", second.Path, errors.UnknownTopicOrPartition},
		{"orders", "/logs", errors.None},
	} {
		wantCode(t, w.ps.AlterLogDir(tp(c.topic, 0), c.path), c.want)
	}
	if _, moving := w.dirs.FutureIn(tp("orders", 0)); moving {
		t.Error("a move to where the replica is has made a future log")
	}
}

// TestADirectoryForAReplicaToCome: it is refused as Apache's broker refuses it, and
// remembered once.
func TestADirectoryForAReplicaToCome(t *testing.T) {
	w := newWideWorld(t, second)
	w.run()
	for range 2 {
		wantCode(t, w.ps.AlterLogDir(tp("orders", 0), "/logs"), errors.UnknownTopicOrPartition)
		wantCode(t, w.ps.AlterLogDir(tp("orders", 0), second.Path), errors.UnknownTopicOrPartition)
	}
	w.alone("orders", 1) // in the first directory, as the controllers say
	if got := w.told(); got != second.ID {
		t.Errorf("the controllers are told %s", got)
	}
	if got := w.home("orders"); got != second.ID {
		t.Errorf("it is in %s, and the last word was %s", got, second.ID)
	}
}

// TestAMoveIsGivenUp by a request to go back: the controllers, who were told of the
// other directory, are told the old one.
func TestAMoveIsGivenUp(t *testing.T) {
	w := newWideWorld(t, second)
	w.run()
	w.alone("orders", 1)
	w.mustProduce("orders", 3)
	w.move("orders", second.Path)
	if got := w.told(); got != second.ID {
		t.Fatal(got)
	}
	w.move("orders", "/logs")
	if got := w.told(); got != directory {
		t.Fatal(got)
	}
	if _, moving := w.dirs.FutureIn(tp("orders", 0)); moving || w.home("orders") != directory {
		t.Error("the move goes on")
	}
	w.mustProduce("orders", 1)
}

// TestAMoveGoesOnAfterARestart: where the image has the new directory already the
// controllers are told nothing, and what came in since is copied before the
// exchange.
func TestAMoveGoesOnAfterARestart(t *testing.T) {
	w := newWideWorld(t, second)
	w.alone("orders", 1)
	w.mustProduce("orders", 3)
	w.move("orders", second.Path) // nothing runs: nothing is copied
	w.publish(in("orders", 0, second.ID))
	w.mustProduce("orders", 4)
	w.restart(w.image)
	w.run()
	eventually(t, "the exchange", func() bool { return w.home("orders") == second.ID })
	if got := w.fetch(consume(0), from("orders", 0, 0))[0]; got.Err != nil || count(t, got.Records) != 7 {
		t.Fatalf("%+v", got)
	}
}

// TestAnInterruptedExchangeIsCompleted: only the future log is left of a crash
// between the renames.
func TestAnInterruptedExchangeIsCompleted(t *testing.T) {
	w := newWideWorld(t, second)
	w.alone("orders", 1)
	w.mustProduce("orders", 3)
	if err := w.dirs.Close(epochOf(self)); err != nil {
		t.Fatal(err)
	}
	if err := w.fs.Rename("/logs/orders-0", "/second/orders-0.00000000000000000000000000000001-future"); err != nil {
		t.Fatal(err)
	}
	w.start(nil)
	w.publish(in("orders", 0, second.ID))
	next := w.image
	w.ps.Publish(image.Diff(image.Empty(), next), next)
	if got := w.fetch(consume(0), from("orders", 0, 0))[0]; got.Err != nil || count(t, got.Records) != 3 || w.home("orders") != second.ID {
		t.Fatalf("%+v in %v", got, w.home("orders"))
	}
}

// TestATopicIsDeletedWhileItMoves: nothing of it is left but what is to be removed.
func TestATopicIsDeletedWhileItMoves(t *testing.T) {
	w := newWideWorld(t, second)
	w.alone("orders", 1)
	w.mustProduce("orders", 3)
	w.move("orders", second.Path)
	w.publish(&record.RemoveTopicRecord{TopicID: topicID("orders")})
	if all := w.dirs.All(); len(all) != 0 || len(w.ps.moves.list()) != 0 {
		t.Fatal(all, w.ps.moves.list())
	}
}

// TestALogIsCutWhileItMoves: the future log of a follower is cut where the current
// one was, and copies on from there.
func TestALogIsCutWhileItMoves(t *testing.T) {
	w := newWideWorld(t, second)
	w.publish(topic("orders"), partition("orders", 0, self, other))
	w.mustProduce("orders", 5)
	w.mustProduce("orders", 5)
	w.publish(elect("orders", 0, other))
	w.move("orders", second.Path)
	p := w.ps.known(tp("orders", 0))
	w.advance()
	if !w.caughtUp("orders") {
		t.Fatal("nothing was copied")
	}
	p.role.Lock()
	err := p.do(core.Deed{Truncate: true, To: 5}, nil)
	if err == nil {
		b := batch.NewBuilder(batch.Compression{})
		b.Add(1000, []byte("key"), []byte("value"))
		err = p.appendFetched(b.AppendTo(nil, 5, 1))
	}
	p.role.Unlock()
	if err != nil || p.Log().LogEnd() != 6 {
		t.Fatal(err, p.Log().LogEnd())
	}
	w.advance()
	if future, err := w.dirs.Future(tp("orders", 0)); err != nil || future.LogEnd() != 6 || future.LatestEpoch() != 1 {
		t.Fatal("the future log was not cut", err)
	}
	w.publish(in("orders", 0, second.ID, kafka.DirectoryID{0: 8, 1: byte(other)}))
	w.advance()
	if w.home("orders") != second.ID || p.Log().LogEnd() != 6 || p.Log().LatestEpoch() != 1 {
		t.Fatal("not exchanged", w.home("orders"), p.Log().LogEnd())
	}
}

// advance takes every move a step further.
func (w *world) advance() {
	for p, m := range w.ps.moves.list() {
		w.ps.advance(p, m)
	}
}

package replica

import (
	"context"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// run runs the partitions' loops until the test ends.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.ps.Run(ctx)
	}()
	w.t.Cleanup(func() { cancel(); <-done })
}

// answer takes the next ISR that the broker asks for and answers with a code.
func (w *world) answer(code errors.Code) kmsg.AlterPartitionRequestTopicPartition {
	w.t.Helper()
	req := (<-w.requests).(*kmsg.AlterPartitionRequest)
	if req.BrokerID != int32(self) || req.BrokerEpoch != int64(epochOf(self)) || len(req.Topics) != 1 || len(req.Topics[0].Partitions) != 1 {
		w.t.Fatalf("asked %+v", req)
	}
	asked := req.Topics[0].Partitions[0]
	resp := kmsg.NewPtrAlterPartitionResponse()
	t := kmsg.NewAlterPartitionResponseTopic()
	t.TopidID = req.Topics[0].TopicID
	p := kmsg.NewAlterPartitionResponseTopicPartition()
	p.Partition, p.ErrorCode, p.PartitionEpoch = asked.Partition, int16(code), asked.PartitionEpoch+1
	t.Partitions = append(t.Partitions, p)
	resp.Topics = append(resp.Topics, t)
	w.answers <- resp
	return asked
}

func TestAFollowerJoinsTheISR(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.publish(topic("orders"), partition("orders", 0, self, other), isr("orders", 0, self))
	w.mustProduce("orders", 3)
	w.follow(other, from("orders", 0, 3))
	for _, code := range []errors.Code{errors.NotController, errors.None} {
		asked := w.answer(code)
		if !slices.Equal(asked.NewISR, []int32{1, 2}) || asked.LeaderEpoch != 0 || asked.PartitionEpoch != 1 {
			t.Fatalf("asked %+v", asked)
		}
		if e := asked.NewEpochISR; e[0].BrokerEpoch != int64(epochOf(self)) || e[1].BrokerEpoch != int64(epochOf(other)) {
			t.Fatalf("the registrations are %+v", e)
		}
	}
	w.publish(isr("orders", 0, self, other))
	p, err := w.ps.Lookup(tp("orders", 0))
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	pending := p.leader.Proposed()
	p.mu.Unlock()
	if pending != nil || !slices.Equal(p.ISR(), []kafka.BrokerID{self, other}) {
		t.Fatalf("ISR %v, and %+v is proposed", p.ISR(), pending)
	}
	w.eventually("the expansion is counted", func() bool { return w.ps.Counts().ISRExpands == 1 })
}

func TestTheControllersLearnTheDirectory(t *testing.T) {
	w := newWorld(t)
	w.run()
	unassigned := partition("new", 0, self)
	unassigned.Directories = []kafka.DirectoryID{kafka.DirectoryUnassigned}
	w.publish(topic("known"), partition("known", 0, self), topic("new"), unassigned)
	for _, code := range []errors.Code{errors.UnknownServerError, errors.None} {
		req := (<-w.requests).(*kmsg.AssignReplicasToDirsRequest)
		if len(req.Directories) != 1 || req.Directories[0].ID != directory || len(req.Directories[0].Topics) != 1 || req.Directories[0].Topics[0].TopicID != topicID("new") {
			t.Fatalf("said %+v", req)
		}
		resp := kmsg.NewPtrAssignReplicasToDirsResponse()
		resp.ErrorCode = int16(code)
		if code == errors.None {
			d := kmsg.NewAssignReplicasToDirsResponseDirectory()
			d.ID = directory
			dt := kmsg.NewAssignReplicasToDirsResponseDirectoryTopic()
			dt.TopicID = topicID("new")
			dt.Partitions = append(dt.Partitions, kmsg.NewAssignReplicasToDirsResponseDirectoryTopicPartition())
			d.Topics = append(d.Topics, dt)
			resp.Directories = append(resp.Directories, d)
		}
		w.answers <- resp
	}
	w.eventually("nothing is left to say", func() bool {
		w.ps.homes.mu.Lock()
		defer w.ps.homes.mu.Unlock()
		return len(w.ps.homes.directories) == 0
	})
}

func TestRestart(t *testing.T) {
	w := newWorld(t)
	w.alone("orders", 1)
	w.alone("gone", 1)
	w.mustProduce("orders", 3)
	w.publish(&record.RemoveTopicRecord{TopicID: topicID("gone")})
	gone := w.image
	w.alone("gone", 1)
	w.restart(gone)
	names, err := w.fs.List("/logs")
	if err != nil {
		t.Fatal(err)
	}
	strays := 0
	for _, n := range names {
		if len(n) > 6 && n[len(n)-6:] == "-stray" {
			strays++
		}
		if n == "gone-0" {
			t.Error("the log of a topic that is not there was left in its place")
		}
	}
	if strays != 1 {
		t.Fatalf("%d strays in %v", strays, names)
	}
	got := w.fetch(consume(0), from("orders", 0, 0))[0]
	if got.Err != nil || count(t, got.Records) != 3 || got.HighWatermark != 3 {
		t.Fatalf("after the restart: %+v", got)
	}
	if at := w.mustProduce("orders", 1); at != 3 {
		t.Fatalf("goes on at %d", at)
	}
}

func TestAFailedDirectory(t *testing.T) {
	w := newWorld(t)
	w.alone("orders", 1)
	done := make(chan []FetchResult)
	go func() { done <- w.fetch(consume(patience), from("orders", 0, 0)) }()
	w.whenAsleep("orders", 0)
	w.ps.DirectoryFailed(directory)
	wantCode(t, (<-done)[0].Err, errors.KafkaStorageError)
	wantCode(t, w.produce(ProduceOptions{Acks: 1}, "orders", 1).Err, errors.KafkaStorageError)
	if _, err := w.ps.Lookup(tp("orders", 0)); errors.CodeOf(err) != errors.KafkaStorageError {
		t.Fatalf("lookup gives %v", err)
	}
	if c := w.ps.Counts(); c.Offline != 1 || c.Leaders != 0 {
		t.Fatalf("counts %+v", c)
	}
}

// After a restart in the same leader epoch the high watermark is one of before.
// Until it has reached the end that the log had, a consumer is not told where the
// log ends, and what it asks for above is not out of range: it would start over.
func TestARestartedLeaderSettlesFirst(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("orders"), partition("orders", 0, self, other))
	w.mustProduce("orders", 3)
	w.restart(w.image)
	p, err := w.ps.Lookup(tp("orders", 0))
	if err != nil {
		t.Fatal(err)
	}
	latest := OffsetQuery{TimestampMs: Latest, Consumer: true, LeaderEpoch: kafka.NoEpoch}
	_, err = p.ListOffset(latest)
	wantCode(t, err, errors.OffsetNotAvailable)
	if got := w.fetch(consume(0), from("orders", 0, 2))[0]; got.Err != nil || got.Records.Len() != 0 {
		t.Fatalf("above the high watermark: %+v", got)
	}
	w.follow(other, from("orders", 0, 3))
	if got, err := p.ListOffset(latest); err != nil || got.Offset != 3 {
		t.Fatalf("the log ends at %d, %v", got.Offset, err)
	}
}

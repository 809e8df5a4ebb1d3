package answers

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/batch"
)

// TestDirectories moves replicas between two log directories (KIP-113): what is
// refused, a directory for a partition that comes later, a move that ends, and one
// that is given up in the middle.
func TestDirectories(t *testing.T) {
	story{
		properties:  map[string]string{"replica.fetch.max.bytes": "65536"}, // a move in many steps
		directories: 2, ask: (*asker).directories, golden: "testdata/apache-4.3.1-directories.txt",
	}.compare(t)
}

func (a *asker) directories() {
	first, second := a.dirs[0], a.dirs[1]
	a.step("AlterReplicaLogDirs of what comes later", only(1, 2), moves(to(second, "early", 0), to(second, "early", 1)))
	a.ask(2, moves(to(first, "moved", 0, 1)))
	made, err := a.send(7, createSmall("early", "moved", strings.Repeat("l", 249)))
	if err != nil {
		a.Fatal(err)
	}
	var names []string
	for _, t := range made.(*kmsg.CreateTopicsResponse).Topics {
		if t.ErrorCode != 0 {
			a.Fatalf("%+v", t)
		}
		names = append(names, t.Topic)
		a.ids()[t.Topic] = t.TopicID
	}
	a.until("the topics", 12, metadataOf(names...), func(r kmsg.Response) bool {
		return !slices.ContainsFunc(r.(*kmsg.MetadataResponse).Topics, func(t kmsg.MetadataResponseTopic) bool { return t.ErrorCode != 0 })
	})
	a.until("the logs", 4, logDirs("early"), func(r kmsg.Response) bool { return len(places(r, "early", 0)) == 1 && len(places(r, "early", 1)) == 1 })
	a.step("DescribeLogDirs after the topics were made", only(4), logDirs("early"))

	for range 20 { // 2 MB, which both makes write in the same batches
		if _, err := a.send(8, a.produceTo(-1, "moved", 0, records(false, batch.None, strings.Repeat("x", 100_000)))()); err != nil {
			a.Fatal(err)
		}
	}
	a.moved("moved", 0, first)
	a.step("AlterReplicaLogDirs that is refused", only(1, 2), moves(
		to("/nowhere", "moved", 0), to(second, "moved", 9), to(second, "unknown", 0), to(second, strings.Repeat("l", 249), 0), to("", "moved", 1),
	))
	a.step("AlterReplicaLogDirs of a long name, wherever it is", only(2), moves(to(first, strings.Repeat("l", 249), 0)))
	a.step("AlterReplicaLogDirs to where it is", only(1, 2), moves(to(first, "moved", 0)))
	a.step("AlterReplicaLogDirs", only(2), moves(to(second, "moved", 0)))
	a.moved("moved", 0, second)
	a.step("DescribeLogDirs after a move", since(1, 5), logDirs("moved"))
	a.note("the records after a move", a.fetched("moved", 20))

	a.throttle("1")
	a.step("AlterReplicaLogDirs with a throttle", only(2), moves(to(first, "moved", 0)))
	a.until("a future replica", 4, logDirs("moved"), func(r kmsg.Response) bool { return len(places(r, "moved", 0)) == 2 })
	a.note("the move that is throttled", places(a.ask(4, logDirs("moved")), "moved", 0))
	a.step("AlterReplicaLogDirs once more", only(2), moves(to(first, "moved", 0)))
	a.note("the move that was asked for twice", places(a.ask(4, logDirs("moved")), "moved", 0))
	a.step("AlterReplicaLogDirs that gives a move up", only(2), moves(to(second, "moved", 0)))
	a.until("no future replica", 4, logDirs("moved"), func(r kmsg.Response) bool { return len(places(r, "moved", 0)) == 1 })
	a.step("DescribeLogDirs after a move was given up", only(4), logDirs("moved"))
	a.throttle("9223372036854775807")
	a.step("AlterReplicaLogDirs after all", only(2), moves(to(first, "moved", 0)))
	a.moved("moved", 0, first)
	a.step("DescribeLogDirs at the end", only(4), logDirs("moved"))
	a.note("the records at the end", a.fetched("moved", 20))
}

// fetched fetches each of the batches, of one record, and returns their sums.
func (a *asker) fetched(topic string, batches int64) (sums []string) {
	a.Helper()
	for offset := range batches {
		r := a.ask(12, a.fetchOf(topic, 0, offset, func(r *kmsg.FetchRequest) { r.MaxBytes = 1 })).(*kmsg.FetchResponse)
		p := r.Topics[0].Partitions[0]
		sums = append(sums, fmt.Sprintf("%02d: error %d, %d bytes, %x", offset, p.ErrorCode, len(p.RecordBatches), sha256.Sum256(p.RecordBatches)))
	}
	return sums
}

// moved waits until a replica is in a directory and nowhere else; if it never was
// anywhere else, it is moved there first.
func (a *asker) moved(topic string, partition int32, dir string) {
	a.Helper()
	a.ask(2, moves(to(dir, topic, partition)))
	want := []string{fmt.Sprintf("%q: there", dir)}
	a.until("replica in "+dir, 4, logDirs(topic), func(r kmsg.Response) bool { return slices.Equal(places(r, topic, partition), want) })
}

// places says where a replica is, and where it is going to be.
func places(r kmsg.Response, topic string, partition int32) (at []string) {
	for _, dir := range r.(*kmsg.DescribeLogDirsResponse).Dirs {
		for _, t := range dir.Topics {
			for _, p := range t.Partitions {
				if t.Topic != topic || p.Partition != partition {
					continue
				}
				kind := "there"
				if p.IsFuture {
					kind = "on its way"
				}
				at = append(at, fmt.Sprintf("%q: %s", dir.Dir, kind))
			}
		}
	}
	slices.Sort(at)
	return at
}

func to(dir, topic string, partitions ...int32) kmsg.AlterReplicaLogDirsRequestDir {
	return kmsg.AlterReplicaLogDirsRequestDir{Dir: dir, Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: topic, Partitions: partitions}}}
}

func moves(dirs ...kmsg.AlterReplicaLogDirsRequestDir) func() kmsg.Request {
	return func() kmsg.Request {
		return &kmsg.AlterReplicaLogDirsRequest{Dirs: dirs}
	}
}

func logDirs(topic string) func() kmsg.Request {
	return func() kmsg.Request {
		return &kmsg.DescribeLogDirsRequest{Topics: []kmsg.DescribeLogDirsRequestTopic{{Topic: topic, Partitions: []int32{0, 1}}}}
	}
}

func createSmall(names ...string) kmsg.Request {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 30_000
	for _, name := range names {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = name, 2, 1
		req.Topics = append(req.Topics, t)
	}
	return req
}

// throttle bounds the bytes per second of all moves.
func (a *asker) throttle(rate string) {
	a.Helper()
	resp := a.ask(1, func() kmsg.Request {
		return &kmsg.IncrementalAlterConfigsRequest{Resources: []kmsg.IncrementalAlterConfigsRequestResource{{
			ResourceType: 4, ResourceName: "1",
			Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "replica.alter.log.dirs.io.max.bytes.per.second", Value: &rate}},
		}}}
	})
	if r := resp.(*kmsg.IncrementalAlterConfigsResponse).Resources[0]; r.ErrorCode != 0 {
		a.Fatalf("the throttle: %+v", r)
	}
	a.until("the throttle", 4, func() kmsg.Request {
		return &kmsg.DescribeConfigsRequest{Resources: []kmsg.DescribeConfigsRequestResource{{
			ResourceType: 4, ResourceName: "1", ConfigNames: []string{"replica.alter.log.dirs.io.max.bytes.per.second"},
		}}}
	}, func(r kmsg.Response) bool {
		all := r.(*kmsg.DescribeConfigsResponse).Resources[0].Configs
		return len(all) == 1 && all[0].Value != nil && *all[0].Value == rate
	})
}

package bench

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
	"kvorum/quorum"
	"kvorum/quorum/controller"
	"kvorum/snapshot"
)

// childMain does the work of one of TestImage's processes, if this is one.
func childMain() bool {
	words := strings.SplitN(os.Getenv("KVORUM_BENCH_CHILD"), " ", 3)
	if len(words) != 3 {
		return false
	}
	partitions, err := strconv.Atoi(words[1])
	if err == nil && words[0] == "write" {
		err = writeSnapshot(words[2], partitions)
	} else if err == nil {
		var cost imageCost
		if cost, err = loadSnapshot(words[2], partitions); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(cost)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

const (
	imageBrokers  = 7
	topicSize     = 100 // partitions
	snapshotEpoch = 1
)

func snapshotID(partitions int) kafka.EpochOffset {
	return kafka.EpochOffset{Offset: kafka.Offset(partitions + partitions/topicSize + 100), Epoch: snapshotEpoch}
}

// writeSnapshot writes what a cluster of seven brokers and many topics is.
func writeSnapshot(path string, partitions int) (err error) {
	dir, err := snapshot.OpenDir(vfs.Default, path)
	if err != nil {
		return err
	}
	w, err := dir.Create(snapshotID(partitions), snapshot.Header{
		LastContainedLogTimestampMs: 1000, KRaftVersion: &record.KRaftVersion{KRaftVersion: 1},
		Voters: &record.KRaftVoters{Voters: []record.QuorumVoter{{VoterID: 1}}},
	}, 0)
	if err != nil {
		return err
	}
	put := func(r record.Record, version int16) {
		value, e := record.Message{Record: r, Version: version}.Append(nil)
		if e == nil {
			e = w.Append(value)
		}
		err = errors.Join(err, e)
	}
	level := image.MaxMetadataVersion
	put(&record.FeatureLevelRecord{Name: image.FeatureMetadataVersion, FeatureLevel: int16(level)}, 0)
	for i := range imageBrokers {
		put(&record.RegisterBrokerRecord{
			BrokerID: kafka.BrokerID(i), IncarnationID: kafka.UUID{1, byte(i)}, BrokerEpoch: kafka.BrokerEpoch(i + 1), LogDirs: []kafka.UUID{directory(i)},
			EndPoints: []record.Endpoint{{Name: "PLAINTEXT", Host: "127.0.0.1", Port: 9092}},
		}, level.RegisterBrokerVersion())
	}
	var topic kafka.UUID
	for i := range partitions {
		if i%topicSize == 0 {
			binary.BigEndian.PutUint64(topic[:], uint64(i+1))
			put(&record.TopicRecord{Name: "topic-" + strconv.Itoa(i/topicSize), TopicID: topic}, 0)
		}
		a, b, c := i%imageBrokers, (i+1)%imageBrokers, (i+2)%imageBrokers
		replicas := []kafka.BrokerID{kafka.BrokerID(a), kafka.BrokerID(b), kafka.BrokerID(c)}
		put(&record.PartitionRecord{
			PartitionID: kafka.PartitionID(i % topicSize), TopicID: topic, Replicas: replicas, ISR: replicas, Leader: replicas[0],
			Directories: []kafka.UUID{directory(a), directory(b), directory(c)},
		}, level.PartitionVersion())
	}
	return errors.Join(err, w.Finish())
}

func directory(broker int) kafka.UUID { return kafka.UUID{2, byte(broker), 7: 1} }

// loadSnapshot loads the snapshot as a controller does, makes it active, and lets
// it create topics.
func loadSnapshot(path string, partitions int) (cost imageCost, err error) {
	dir, err := snapshot.OpenDir(vfs.Default, path)
	if err != nil {
		return cost, err
	}
	r, err := dir.Open(snapshotID(partitions))
	if err != nil {
		return cost, err
	}
	defer r.Close()
	c := newCore()
	began := time.Now()
	c.step(quorum.Loaded{ID: snapshotID(partitions), Snapshot: r})
	cost.Load = time.Since(began)
	cost.PeakBytes = peakBytes()
	if got := c.state.Image.PartitionCount(); got != partitions {
		return cost, fmt.Errorf("the image has %d partitions instead of %d", got, partitions)
	}
	c.lead()
	runtime.GC()
	cost.Create, cost.Allocated = c.createTopics(2000)
	return cost, nil
}

// core is a controller's loop without a shell: what it appends is committed at
// once.
type core struct {
	core  *quorum.Core
	now   int64
	state *quorum.State
	reply kmsg.Response
}

func newCore() *core {
	return &core{now: 1_800_000_000_000, core: quorum.NewCore(quorum.Config{
		MaxParked: 1024,
		Self:      1, DirectoryID: kafka.UUID{3}, Incarnation: kafka.UUID{4}, Endpoints: []image.Endpoint{{Name: "CONTROLLER", Host: "127.0.0.1", Port: 9093}},
		Settings: controller.Settings{ClusterID: "bench", NodeID: 1, SessionTimeoutMs: 9000, NumPartitions: 1, DefaultReplicationFactor: 1, ControllerFeatures: image.SupportedFeatures(), VoterIDs: []kafka.NodeID{1}},
	})}
}

// step takes an event and does the effects until there are none.
func (c *core) step(ev quorum.Event) {
	out, err := c.core.Step(c.now, ev)
	if err != nil {
		panic(err)
	}
	if out.State != nil {
		c.state = out.State
	}
	for _, r := range out.Replies {
		if r.Err != nil {
			panic(r.Err)
		}
		c.reply = r.Response
	}
	if claim := out.Claim; claim != nil {
		batch.Restamp(claim.Batch, c.state.End, snapshotEpoch+1)
		end := batch.View(claim.Batch).EndOffset()
		c.step(quorum.Claimed{Term: claim.Term, Accepted: true, Epoch: snapshotEpoch + 1, End: end})
		c.step(quorum.Committed{Batches: claim.Batch})
	}
	if a := out.Append; a != nil {
		c.step(quorum.Appended{Accepted: true})
		c.step(quorum.Committed{Batches: a.Batches})
	}
}

func (c *core) lead() {
	c.step(quorum.Leadership{Term: 1, Self: true})
	if !c.state.Active {
		panic("the core is not active")
	}
}

// createTopics creates topics of one partition on three brokers and returns the
// median time and the mean of the bytes allocated. Making the request counts on
// both sides of the comparison alike.
func (c *core) createTopics(n int) (median time.Duration, allocated float64) {
	took := make([]time.Duration, 0, n)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range n {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version = 7
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "new-"+strconv.Itoa(i), 1, 3
		req.Topics = append(req.Topics, topic)
		c.reply = nil
		began := time.Now()
		c.step(quorum.Request{ID: uint64(i + 1), Body: req, DeadlineMs: c.now + 1000})
		took = append(took, time.Since(began))
		resp := c.reply.(*kmsg.CreateTopicsResponse)
		if code := resp.Topics[0].ErrorCode; code != 0 {
			panic(fmt.Sprintf("CreateTopics: error %d", code))
		}
	}
	runtime.ReadMemStats(&after)
	slices.Sort(took)
	return took[n/2], float64(after.TotalAlloc-before.TotalAlloc) / float64(n)
}

// peakBytes is the most resident memory that this process has had.
func peakBytes() int64 {
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10
		}
	}
	return 0
}

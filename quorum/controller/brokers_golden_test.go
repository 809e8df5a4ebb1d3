package controller

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// The metadata logs of real Apache Kafka controllers are the oracle: at an
// offset where such a controller answered a request, the decision on the same
// image has to write the same records.

type goldenLog struct {
	records []record.Message
	offsets []kafka.Offset
}

func readGoldenLog(t testing.TB, run string) *goldenLog {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../protocol/batch/testdata/golden", run, "00000000000000000000.log"))
	if err != nil {
		t.Fatal(err)
	}
	g := &goldenLog{}
	for v, err := range batch.All(data) {
		if err != nil {
			t.Fatal(err)
		}
		if v.Control() {
			continue
		}
		for it := v.MetadataRecords(); it.Next(); {
			m, err := record.Decode(it.Value())
			if err != nil {
				t.Fatalf("offset %d: %v", it.Offset(), err)
			}
			g.records, g.offsets = append(g.records, m), append(g.offsets, it.Offset())
		}
	}
	return g
}

// between returns the records at first..last, but NoOps.
func (g *goldenLog) between(first, last kafka.Offset) (out []record.Message) {
	for i, m := range g.records {
		if _, noop := m.Record.(*record.NoOpRecord); g.offsets[i] >= first && g.offsets[i] <= last && !noop {
			out = append(out, m)
		}
	}
	return out
}

// input is what the controller knew when it wrote offset at.
func (g *goldenLog) input(t testing.TB, at kafka.Offset) Input {
	t.Helper()
	d := image.NewDelta(image.Empty())
	for i, m := range g.records {
		if g.offsets[i] >= at {
			break
		}
		if transactionMarker(m.Record) {
			continue
		}
		if err := d.ReplayAt(g.offsets[i], m.Record); err != nil {
			t.Fatalf("offset %d: %v", g.offsets[i], err)
		}
	}
	im := d.Apply(image.Position{Offset: at - 1, Epoch: 1, TimestampMs: 1})
	in := Input{
		Image: im, NowMs: 1, NextOffset: at, KRaftVersion: 1, Sessions: NewSessions(),
		Settings: &Settings{ClusterID: "AAAAAAAAAAAAAAAAAAAAAg", NodeID: 1, SessionTimeoutMs: worldTimeout, Static: map[string]string{}},
	}
	in.Sessions.Reset(im, in.NowMs)
	return in
}

// goldenDecision is a decision on what was known at an offset. It gets the
// records that Kafka wrote, to read the request's arguments from.
type goldenDecision func(t testing.TB, in Input, wrote []record.Message) Decision

var goldenDecisions = []struct {
	run         string
	first, last kafka.Offset
	what        string
	decide      goldenDecision
}{
	{"3.9.2-main", 3, 8, "bootstrap", activated},
	{"4.3.1-main", 3, 13, "bootstrap", activated},
	{"4.3.1-old", 1, 1, "bootstrap without transactions", activated},
	{"4.3.1-main", 14, 14, "a controller registers", controllerRegistered},

	{"3.9.2-main", 11, 11, "a 3.9 broker registers", registered(-1)},
	{"4.3.1-main", 16, 16, "a 4.3 broker registers", registered(-1)},
	{"4.3.1-main", 184, 184, "a broker comes back after a clean shutdown", registered(25)},
	{"4.3.1-main", 251, 251, "a broker comes back while in an ELR", registered(24)},
	{"4.3.1-main", 268, 280, "a broker comes back after a crash and leaves the ELRs", registered(-1)},
	{"3.9.2-main", 252, 252, "a broker comes back as last member of ISRs", registered(-1)},
	{"4.3.1-old", 5, 5, "registration v1", registered(-1)},
	{"4.3.1-old", 127, 127, "registration v2", registered(-1)},
	{"4.3.1-old", 168, 168, "a broker amends its registration", registered(-1)},

	{"4.3.1-main", 17, 17, "cordoned directories are reported", heartbeat(11, func(r *kmsg.BrokerHeartbeatRequest) { r.WantFence, r.CordonedLogDirs = true, [][16]byte{} })},
	{"4.3.1-main", 19, 19, "unfenced", heartbeat(11, func(r *kmsg.BrokerHeartbeatRequest) { r.CordonedLogDirs = [][16]byte{} })},
	{"4.3.1-main", 187, 188, "unfenced, cordoned directories in the same heartbeat", heartbeat(13, func(r *kmsg.BrokerHeartbeatRequest) { r.CordonedLogDirs = [][16]byte{} })},
	{"4.3.1-main", 254, 260, "unfenced and elected from the ELR", heartbeat(12, nothing)},
	{"4.3.1-main", 285, 296, "unfenced and elected as last known leader", heartbeat(11, nothing)},
	{"3.9.2-main", 13, 13, "unfenced by 3.9", heartbeat(11, nothing)},
	{"3.9.2-main", 254, 260, "unfenced and elected from the ISR", heartbeat(12, nothing)},
	{"3.9.2-main", 322, 332, "unfenced and elected from the ISR", heartbeat(11, nothing)},

	{"4.3.1-main", 159, 163, "session expired", expired(13)},
	{"4.3.1-main", 234, 247, "the last broker's session expired, with ELR", expired(11)},
	{"3.9.2-main", 236, 247, "the last broker's session expired", expired(11)},
	{"3.9.2-main", 149, 154, "session expired", expired(13)},
	{"4.3.1-old", 85, 92, "session expired at 3.3: leader epochs grow", expired(12)},
	{"4.3.1-old", 150, 161, "session expired at 3.6", expired(12)},

	{"4.3.1-main", 198, 204, "controlled shutdown", heartbeat(13, wantShutdown)},
	{"4.3.1-main", 206, 206, "controlled shutdown ends", heartbeat(13, wantShutdown)},
	{"4.3.1-main", 208, 225, "controlled shutdown of the last member of ISRs, with ELR", heartbeat(12, wantShutdown)},
	{"4.3.1-main", 335, 352, "controlled shutdown, with ELR", heartbeat(12, wantShutdown)},
	{"3.9.2-main", 203, 210, "controlled shutdown", heartbeat(13, wantShutdown)},
	{"3.9.2-main", 214, 230, "controlled shutdown of the last member of ISRs", heartbeat(12, wantShutdown)},
	{"4.3.1-old", 57, 64, "controlled shutdown at 3.3", heartbeat(12, wantShutdown)},

	{"4.3.1-main", 321, 324, "a directory fails", directoryLost(13)},
	{"3.9.2-main", 353, 356, "a directory fails", directoryLost(13)},
	{"4.3.1-main", 207, 207, "unregistered", unregistered},
	{"4.3.1-main", 229, 229, "producer ids", producerIDs},

	{"4.3.1-main", 179, 179, "reassignment", reassigned(12, 13)},
	{"4.3.1-main", 180, 180, "reassignment", reassigned(13, 12)},
	{"4.3.1-main", 181, 181, "reassignment cancelled", reassigned()},
	{"3.9.2-main", 180, 180, "reassignment", reassigned(12, 13)},
	{"3.9.2-main", 182, 182, "reassignment cancelled", reassigned()},
	{"4.3.1-main", 195, 195, "preferred leader", electedPreferred},
	{"4.3.1-main", 310, 310, "preferred leader", electedPreferred},
	{"4.3.1-main", 261, 261, "unclean leader", electedUnclean},
	{"3.9.2-main", 311, 311, "unclean leader", electedUnclean},
	{"4.3.1-main", 193, 193, "ISR grows and completes a reassignment", isrAltered},
	{"3.9.2-main", 193, 193, "ISR grows and completes a reassignment", isrAltered},
}

func TestDecisionsWriteWhatApacheWrote(t *testing.T) {
	logs := map[string]*goldenLog{}
	for _, test := range goldenDecisions {
		t.Run(fmt.Sprintf("%s/%d-%d/%s", test.run, test.first, test.last, test.what), func(t *testing.T) {
			if logs[test.run] == nil {
				logs[test.run] = readGoldenLog(t, test.run)
			}
			wrote := logs[test.run].between(test.first, test.last)
			in := logs[test.run].input(t, test.first)
			got := test.decide(t, in, wrote)
			compareRecords(t, in.Image, got.Records, wrote)
		})
	}
}

// Every change of an ISR and every directory in the logs that was asked for by
// a broker must come out of AlterPartition or AssignReplicasToDirs alike.
func TestBrokerRequestsWriteWhatApacheWrote(t *testing.T) {
	for _, run := range []string{"3.9.2-main", "3.9.2-old", "4.3.1-main", "4.3.1-old"} {
		g := readGoldenLog(t, run)
		altered, assigned := 0, 0
		for i, m := range g.records {
			r, ok := m.Record.(*record.PartitionChangeRecord)
			if !ok {
				continue
			}
			in := g.input(t, g.offsets[i])
			if in.Image.MetadataVersion() < image.MinMetadataVersion {
				continue
			}
			part := in.Image.Partition(r.TopicID, r.PartitionID)
			var d Decision
			switch {
			case r.Directories != nil && r.Replicas == nil:
				d = dirAssigned(t, in, []record.Message{m})
				assigned++
			case r.ISR != nil && r.LeaderRecoveryState != int8(image.Recovering) && r.EligibleLeaderReplicas == nil &&
				part.Leader != kafka.NoLeader && slices.Contains(r.ISR, part.Leader):
				d = isrAltered(t, in, []record.Message{m})
				altered++
			default:
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", run, g.offsets[i]), func(t *testing.T) {
				compareRecords(t, in.Image, d.Records, []record.Message{m})
			})
		}
		t.Logf("%s: %d ISR changes, %d directories", run, altered, assigned)
		if altered < 20 {
			t.Errorf("%s: only %d changes of ISRs were compared", run, altered)
		}
	}
}

// compareRecords compares what was written, in order; only the order of
// consecutive changes of partitions is free (Kafka's follows hash maps).
func compareRecords(t testing.TB, im *image.Image, got, want []record.Message) {
	t.Helper()
	if g, w := picture(im, sortChanges(got)), picture(im, sortChanges(want)); g != w {
		t.Errorf("wrote\n%s\nApache wrote\n%s", g, w)
	}
	if g, w := encoded(t, sortChanges(got)), encoded(t, sortChanges(want)); !slices.Equal(g, w) {
		t.Errorf("wrote\n%q\nApache wrote\n%q", g, w)
	}
}

func encoded(t testing.TB, records []record.Message) (out []string) {
	t.Helper()
	for _, m := range records {
		value, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(value))
	}
	return out
}

func sortChanges(records []record.Message) []record.Message {
	out := slices.Clone(records)
	for i := 0; i < len(out); {
		j := i
		for j < len(out) && isChange(out[j]) {
			j++
		}
		slices.SortFunc(out[i:j], func(a, b record.Message) int {
			return strings.Compare(changeKey(a), changeKey(b))
		})
		i = max(j, i+1)
	}
	return out
}

func isChange(m record.Message) bool {
	_, ok := m.Record.(*record.PartitionChangeRecord)
	return ok
}

func changeKey(m record.Message) string {
	r := m.Record.(*record.PartitionChangeRecord)
	return fmt.Sprintf("%s %06d", r.TopicID, r.PartitionID)
}

func activated(t testing.TB, in Input, wrote []record.Message) Decision {
	var bootstrap []record.Message
	for _, m := range wrote {
		switch m.Record.(type) {
		case *record.FeatureLevelRecord, *record.UserScramCredentialRecord:
			bootstrap = append(bootstrap, m)
		}
	}
	d, _, err := Activate(in, bootstrap, false)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func controllerRegistered(t testing.TB, in Input, wrote []record.Message) Decision {
	r := wrote[0].Record.(*record.RegisterControllerRecord)
	req := kmsg.NewPtrControllerRegistrationRequest()
	req.ControllerID, req.IncarnationID, req.ZkMigrationReady = int32(r.ControllerID), r.IncarnationID, r.ZkMigrationReady
	for _, e := range r.EndPoints {
		req.Listeners = append(req.Listeners, kmsg.ControllerRegistrationRequestListener{Name: e.Name, Host: e.Host, Port: e.Port, SecurityProtocol: e.SecurityProtocol})
	}
	for _, f := range r.Features {
		req.Features = append(req.Features, kmsg.ControllerRegistrationRequestFeature{Name: f.Name, MinSupportedVersion: f.MinSupportedVersion, MaxSupportedVersion: f.MaxSupportedVersion})
	}
	d, resp := RegisterController(in, req)
	noError(t, resp.ErrorCode)
	return d
}

func registered(previous int64) goldenDecision {
	return func(t testing.TB, in Input, wrote []record.Message) Decision {
		r := wrote[len(wrote)-1].Record.(*record.RegisterBrokerRecord)
		req := kmsg.NewPtrBrokerRegistrationRequest()
		req.Version, req.BrokerID, req.ClusterID, req.IncarnationID = 4, int32(r.BrokerID), in.Settings.ClusterID, r.IncarnationID
		req.Rack, req.PreviousBrokerEpoch = r.Rack, previous
		for _, e := range r.EndPoints {
			req.Listeners = append(req.Listeners, kmsg.BrokerRegistrationRequestListener{Name: e.Name, Host: e.Host, Port: e.Port, SecurityProtocol: e.SecurityProtocol})
		}
		for _, f := range r.Features {
			req.Features = append(req.Features, kmsg.BrokerRegistrationRequestFeature{Name: f.Name, MinSupportedVersion: f.MinSupportedVersion, MaxSupportedVersion: f.MaxSupportedVersion})
		}
		for _, dir := range r.LogDirs {
			req.LogDirs = append(req.LogDirs, dir)
		}
		d, resp := RegisterBroker(in, req)
		noError(t, resp.ErrorCode)
		if resp.BrokerEpoch != int64(r.BrokerEpoch) {
			t.Errorf("broker epoch %d, Apache gave %d", resp.BrokerEpoch, r.BrokerEpoch)
		}
		return d
	}
}

func nothing(*kmsg.BrokerHeartbeatRequest) {}

func wantShutdown(r *kmsg.BrokerHeartbeatRequest) { r.WantShutdown = true }

// heartbeat is a heartbeat of a broker that is caught up, as are all others.
func heartbeat(id kafka.BrokerID, set func(*kmsg.BrokerHeartbeatRequest)) goldenDecision {
	return func(t testing.TB, in Input, _ []record.Message) Decision {
		for b := range in.Image.Brokers() {
			in.Sessions.Touch(b.ID, b.Epoch, in.NowMs, in.NextOffset-1)
		}
		req := kmsg.NewPtrBrokerHeartbeatRequest()
		req.Version, req.BrokerID, req.BrokerEpoch = 2, int32(id), int64(in.Image.Broker(id).Epoch)
		req.CurrentMetadataOffset = int64(in.NextOffset - 1)
		set(req)
		d, resp := Heartbeat(in, req)
		noError(t, resp.ErrorCode)
		return d
	}
}

func expired(id kafka.BrokerID) goldenDecision {
	return func(t testing.TB, in Input, _ []record.Message) Decision {
		in.NowMs += worldTimeout + 1
		for b := range in.Image.Brokers() {
			if b.ID != id {
				in.Sessions.Touch(b.ID, b.Epoch, in.NowMs, 0)
			}
		}
		d, fenced := FenceExpired(in)
		if fenced != id {
			t.Errorf("fenced %d instead of %d", fenced, id)
		}
		return d
	}
}

func directoryLost(id kafka.BrokerID) goldenDecision {
	return func(t testing.TB, in Input, wrote []record.Message) Decision {
		left := wrote[len(wrote)-1].Record.(*record.BrokerRegistrationChangeRecord).LogDirs
		return heartbeat(id, func(r *kmsg.BrokerHeartbeatRequest) {
			for _, dir := range in.Image.Broker(id).Directories {
				if !slices.Contains(left, dir) {
					r.OfflineLogDirs = append(r.OfflineLogDirs, dir)
				}
			}
		})(t, in, wrote)
	}
}

func unregistered(t testing.TB, in Input, wrote []record.Message) Decision {
	req := kmsg.NewPtrUnregisterBrokerRequest()
	req.BrokerID = int32(wrote[0].Record.(*record.UnregisterBrokerRecord).BrokerID)
	d, resp := UnregisterBroker(in, req)
	noError(t, resp.ErrorCode)
	return d
}

func producerIDs(t testing.TB, in Input, wrote []record.Message) Decision {
	r := wrote[0].Record.(*record.ProducerIDsRecord)
	req := kmsg.NewPtrAllocateProducerIDsRequest()
	req.BrokerID, req.BrokerEpoch = int32(r.BrokerID), int64(r.BrokerEpoch)
	d, resp := AllocateProducerIDs(in, req)
	noError(t, resp.ErrorCode)
	if resp.ProducerIDStart != int64(r.NextProducerID)-1000 || resp.ProducerIDLen != 1000 {
		t.Errorf("%+v", resp)
	}
	return d
}

// reassigned asks for replicas; none cancels.
func reassigned(target ...int32) goldenDecision {
	return func(t testing.TB, in Input, wrote []record.Message) Decision {
		r := wrote[0].Record.(*record.PartitionChangeRecord)
		req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		req.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{
			Topic:      in.Image.Topic(r.TopicID).Name,
			Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: int32(r.PartitionID), Replicas: target}},
		}}
		d, resp := AlterPartitionReassignments(in, req)
		noError(t, resp.Topics[0].Partitions[0].ErrorCode)
		return d
	}
}

func elected(kind int8) goldenDecision {
	return func(t testing.TB, in Input, wrote []record.Message) Decision {
		r := wrote[0].Record.(*record.PartitionChangeRecord)
		req := kmsg.NewPtrElectLeadersRequest()
		req.Version, req.ElectionType = 2, kind
		req.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: in.Image.Topic(r.TopicID).Name, Partitions: []int32{int32(r.PartitionID)}}}
		d, resp := ElectLeaders(in, req)
		noError(t, resp.Topics[0].Partitions[0].ErrorCode)
		return d
	}
}

var (
	electedPreferred = elected(askPreferred)
	electedUnclean   = elected(askUnclean)
)

// isrAltered asks for the ISR that was written, as the leader.
func isrAltered(t testing.TB, in Input, wrote []record.Message) Decision {
	r := wrote[0].Record.(*record.PartitionChangeRecord)
	part := in.Image.Partition(r.TopicID, r.PartitionID)
	asked := kmsg.NewAlterPartitionRequestTopicPartition()
	asked.Partition, asked.LeaderEpoch, asked.PartitionEpoch = int32(r.PartitionID), int32(part.LeaderEpoch), int32(part.PartitionEpoch)
	if !slices.Contains(r.ISR, part.Leader) {
		t.Fatalf("%s: the leader leaves the ISR", changeText(r))
	}
	for _, id := range r.ISR {
		asked.NewEpochISR = append(asked.NewEpochISR, kmsg.AlterPartitionRequestTopicPartitionNewEpochISR{BrokerID: int32(id), BrokerEpoch: -1})
	}
	req := kmsg.NewPtrAlterPartitionRequest()
	req.Version, req.BrokerID, req.BrokerEpoch = 3, int32(part.Leader), int64(in.Image.Broker(part.Leader).Epoch)
	req.Topics = []kmsg.AlterPartitionRequestTopic{{TopicID: r.TopicID, Partitions: []kmsg.AlterPartitionRequestTopicPartition{asked}}}
	d, resp := AlterPartition(in, req)
	noError(t, resp.ErrorCode)
	noError(t, resp.Topics[0].Partitions[0].ErrorCode)
	return d
}

// dirAssigned asks for the one directory that was changed.
func dirAssigned(t testing.TB, in Input, wrote []record.Message) Decision {
	r := wrote[0].Record.(*record.PartitionChangeRecord)
	part := in.Image.Partition(r.TopicID, r.PartitionID)
	for i, id := range part.Replicas {
		if part.Directory(id) == r.Directories[i] {
			continue
		}
		req := kmsg.NewPtrAssignReplicasToDirsRequest()
		req.BrokerID, req.BrokerEpoch = int32(id), int64(in.Image.Broker(id).Epoch)
		req.Directories = []kmsg.AssignReplicasToDirsRequestDirectory{{
			ID: r.Directories[i],
			Topics: []kmsg.AssignReplicasToDirsRequestDirectoryTopic{{
				TopicID:    r.TopicID,
				Partitions: []kmsg.AssignReplicasToDirsRequestDirectoryTopicPartition{{Partition: int32(r.PartitionID)}},
			}},
		}}
		d, resp := AssignReplicasToDirs(in, req)
		noError(t, resp.ErrorCode)
		noError(t, resp.Directories[0].Topics[0].Partitions[0].ErrorCode)
		return d
	}
	t.Fatalf("no directory of %s changed", changeText(r))
	return Decision{}
}

func noError(t testing.TB, code int16) {
	t.Helper()
	if code != 0 {
		t.Fatalf("refused: %s", errors.Code(code))
	}
}

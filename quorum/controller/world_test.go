package controller

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// world is a cluster of which tests are the loop: it folds what decisions
// write, keeps the sessions, and checks after each step what must always hold.
type world struct {
	t   testT
	in  Input
	log []record.Message
}

const worldTimeout = 9000

// testT is a *testing.T or a *rapid.T.
type testT interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func newWorld(t testT, level image.MetadataVersion, features map[string]int16) *world {
	w := &world{t: t, in: Input{
		Image: image.Empty(), NowMs: 1_000_000, Rand: rand.New(rand.NewPCG(1, 2)), Sessions: NewSessions(), KRaftVersion: 1,
		Settings: &Settings{ClusterID: "cluster", NodeID: 1, SessionTimeoutMs: worldTimeout, Static: map[string]string{}},
	}}
	d, _, err := Activate(w.in, BootstrapRecords(level, features, nil), false)
	if err != nil {
		t.Fatal(err)
	}
	w.apply(d)
	return w
}

// apply is what the loop does with a decision.
func (w *world) apply(d Decision) {
	w.t.Helper()
	if len(d.Records) == 0 {
		return
	}
	before := w.in.Image
	for _, m := range d.Records {
		checkEncodes(w.t, m)
	}
	next, err := foldRecords(before, w.in.NextOffset, w.in.NowMs, d.Records)
	if err != nil {
		w.t.Fatalf("fold %s: %v", picture(before, d.Records), err)
	}
	if err := checkVersions(next, d.Records); err != nil {
		w.t.Fatal(err)
	}
	if err := checkInvariants(before, next); err != nil {
		w.t.Fatalf("%v\nafter %s", err, picture(next, d.Records))
	}
	w.log = append(w.log, d.Records...)
	w.in.Image, w.in.NextOffset = next, w.in.NextOffset+kafka.Offset(len(d.Records))
}

// foldRecords folds all but the markers of transactions, which are for whoever
// reads the log.
func foldRecords(base *image.Image, first kafka.Offset, nowMs int64, records []record.Message) (*image.Image, error) {
	delta := image.NewDelta(base)
	for i, m := range records {
		if transactionMarker(m.Record) {
			continue
		}
		if err := delta.ReplayAt(first+kafka.Offset(i), m.Record); err != nil {
			return nil, err
		}
	}
	last := first + kafka.Offset(len(records)) - 1
	return delta.Apply(image.Position{Offset: last, Epoch: 1, TimestampMs: nowMs}), nil
}

func transactionMarker(r record.Record) bool {
	switch r.(type) {
	case *record.BeginTransactionRecord, *record.EndTransactionRecord, *record.AbortTransactionRecord:
		return true
	}
	return false
}

func checkEncodes(t testT, m record.Message) {
	t.Helper()
	value, err := m.Append(nil)
	if err != nil {
		t.Fatalf("encode %+v at version %d: %v", m.Record, m.Version, err)
	}
	if _, err := record.Decode(value); err != nil {
		t.Fatalf("decode %+v at version %d: %v", m.Record, m.Version, err)
	}
}

// checkVersions reports a record that the cluster's level does not allow.
func checkVersions(im *image.Image, records []record.Message) error {
	mv := im.MetadataVersion()
	for _, m := range records {
		most := int16(0)
		switch m.Record.(type) {
		case *record.RegisterBrokerRecord:
			most = mv.RegisterBrokerVersion()
		case *record.PartitionRecord, *record.PartitionChangeRecord:
			most = mv.PartitionVersion()
		case *record.BrokerRegistrationChangeRecord:
			switch {
			case mv >= image.MV43IV0:
				most = 3
			case mv >= image.MV37IV2:
				most = 2
			default:
				most = 1
			}
		}
		if m.Version > most {
			return fmt.Errorf("%s is at version %d, but %s allows %d", m.Record.RecordName(), m.Version, mv, most)
		}
	}
	return nil
}

// checkInvariants reports what must never be, or never happen between two images.
func checkInvariants(before, after *image.Image) error {
	for topic := range after.Topics() {
		for id, p := range topic.Partitions() {
			if err := checkPartition(after, p); err != nil {
				return fmt.Errorf("%s-%d %s: %w", topic.Name, id, partitionText(p), err)
			}
			old := before.Partition(topic.ID, id)
			if old == nil || old == p {
				continue
			}
			if p.PartitionEpoch <= old.PartitionEpoch || p.LeaderEpoch < old.LeaderEpoch || p.Leader != old.Leader && p.LeaderEpoch == old.LeaderEpoch {
				return fmt.Errorf("%s-%d went from %s to %s: epochs must grow", topic.Name, id, partitionText(old), partitionText(p))
			}
		}
	}
	return nil
}

func checkPartition(im *image.Image, p *image.Partition) error {
	overlap := func(a, b []kafka.BrokerID) bool { return len(without(a, b)) != len(a) }
	switch leader := im.Broker(p.Leader); {
	case hasDuplicates(p.Replicas) || hasDuplicates(p.ISR) || hasDuplicates(p.ELR):
		return fmt.Errorf("a list has duplicates")
	case p.Leader != kafka.NoLeader && !slices.Contains(p.ISR, p.Leader):
		return fmt.Errorf("the leader is not in the ISR")
	case p.Leader != kafka.NoLeader && !leader.Active():
		return fmt.Errorf("the leader is not active")
	case p.Leader != kafka.NoLeader && !leader.HasDirectory(p.Directory(p.Leader)):
		return fmt.Errorf("the leader's directory is offline")
	case !containsAll(p.Replicas, p.ISR) || !containsAll(p.Replicas, p.ELR):
		return fmt.Errorf("ISR or ELR are no replicas")
	case !containsAll(p.Replicas, p.Adding) || !containsAll(p.Replicas, p.Removing):
		return fmt.Errorf("replicas that come or go are no replicas")
	case overlap(p.ISR, p.ELR):
		return fmt.Errorf("ISR and ELR overlap")
	case len(p.ISR) == 0 && !im.ELREnabled():
		return fmt.Errorf("the ISR is empty")
	case len(p.ELR) > 0 && !im.ELREnabled():
		return fmt.Errorf("there is an ELR although the feature is off")
	case p.Recovery == image.Recovering && len(p.ISR) > 1:
		return fmt.Errorf("the leader recovers but the ISR has others")
	}
	return nil
}

func partitionText(p *image.Partition) string {
	var b strings.Builder
	fmt.Fprintf(&b, "replicas=%v isr=%v leader=%d epoch=%d.%d", p.Replicas, p.ISR, p.Leader, p.LeaderEpoch, p.PartitionEpoch)
	for _, part := range []struct {
		name string
		ids  []kafka.BrokerID
	}{{"elr", p.ELR}, {"last", p.LastKnownELR}, {"adding", p.Adding}, {"removing", p.Removing}} {
		if len(part.ids) > 0 {
			fmt.Fprintf(&b, " %s=%v", part.name, part.ids)
		}
	}
	if p.Recovery == image.Recovering {
		b.WriteString(" recovering")
	}
	return b.String()
}

// picture prints records, a line each, with topic names where they are known.
func picture(im *image.Image, records []record.Message) string {
	var b strings.Builder
	for _, m := range records {
		fmt.Fprintf(&b, "%s v%d", strings.TrimSuffix(m.Record.RecordName(), "Record"), m.Version)
		switch r := m.Record.(type) {
		case *record.PartitionChangeRecord:
			name := r.TopicID.String()
			if t := im.Topic(r.TopicID); t != nil {
				name = t.Name
			}
			fmt.Fprintf(&b, " %s-%d%s", name, r.PartitionID, changeText(r))
		case *record.BrokerRegistrationChangeRecord:
			fmt.Fprintf(&b, " %d epoch=%d fenced=%d shutdown=%d", r.BrokerID, r.BrokerEpoch, r.Fenced, r.InControlledShutdown)
			if r.LogDirs != nil {
				fmt.Fprintf(&b, " dirs=%d", len(r.LogDirs))
			}
			if r.CordonedLogDirs != nil {
				fmt.Fprintf(&b, " cordoned=%d", len(r.CordonedLogDirs))
			}
		case *record.RegisterBrokerRecord:
			fmt.Fprintf(&b, " %d epoch=%d fenced=%v dirs=%d", r.BrokerID, r.BrokerEpoch, r.Fenced, len(r.LogDirs))
		case *record.UnregisterBrokerRecord:
			fmt.Fprintf(&b, " %d epoch=%d", r.BrokerID, r.BrokerEpoch)
		case *record.ConfigRecord:
			value := "(null)"
			if r.Value != nil {
				value = *r.Value
			}
			fmt.Fprintf(&b, " %d %q %s=%s", r.ResourceType, r.ResourceName, r.Name, value)
		default:
			value, _ := m.Append(nil)
			fmt.Fprintf(&b, " %x", value)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func changeText(r *record.PartitionChangeRecord) string {
	var b strings.Builder
	if r.Leader != leaderUnchanged {
		fmt.Fprintf(&b, " leader=%d", r.Leader)
	}
	for _, f := range []struct {
		name string
		ids  []kafka.BrokerID
	}{
		{"isr", r.ISR}, {"replicas", r.Replicas}, {"removing", r.RemovingReplicas}, {"adding", r.AddingReplicas},
		{"elr", r.EligibleLeaderReplicas}, {"last", r.LastKnownELR},
	} {
		if f.ids != nil {
			fmt.Fprintf(&b, " %s=%v", f.name, f.ids)
		}
	}
	if r.LeaderRecoveryState >= 0 {
		fmt.Fprintf(&b, " recovery=%d", r.LeaderRecoveryState)
	}
	if r.Directories != nil {
		fmt.Fprintf(&b, " dirs=%v", r.Directories)
	}
	return b.String()
}

// The steps of stories. Brokers have two directories, dir(id, 0) and dir(id, 1).

func dir(id kafka.BrokerID, n byte) kafka.DirectoryID {
	return kafka.DirectoryID{0: 0xd, 1: byte(id), 2: n, 15: 200}
}

func worldTopicID(n byte) kafka.TopicID { return kafka.TopicID{0: 0x70, 1: n, 15: 200} }

func (w *world) registration(id kafka.BrokerID, incarnation byte) *kmsg.BrokerRegistrationRequest {
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.Version, req.BrokerID, req.ClusterID, req.IncarnationID = 4, int32(id), "cluster", [16]byte{byte(id), incarnation}
	req.LogDirs = [][16]byte{dir(id, 0), dir(id, 1)}
	req.Listeners = []kmsg.BrokerRegistrationRequestListener{{Name: "PLAINTEXT", Host: "localhost", Port: 9092}}
	for _, f := range image.SupportedFeatures() {
		req.Features = append(req.Features, kmsg.BrokerRegistrationRequestFeature{
			Name: f.Name, MinSupportedVersion: f.MinSupportedVersion, MaxSupportedVersion: f.MaxSupportedVersion,
		})
	}
	if b := w.in.Image.Broker(id); b != nil {
		req.PreviousBrokerEpoch = int64(b.Epoch)
	}
	return req
}

func (w *world) register(req *kmsg.BrokerRegistrationRequest) *kmsg.BrokerRegistrationResponse {
	w.t.Helper()
	d, resp := RegisterBroker(w.in, req)
	w.apply(d)
	if resp.ErrorCode == 0 {
		w.in.Sessions.Registered(kafka.BrokerID(req.BrokerID), kafka.BrokerEpoch(resp.BrokerEpoch), w.in.NowMs, worldTimeout)
	}
	return resp
}

func (w *world) beat(id kafka.BrokerID) *kmsg.BrokerHeartbeatRequest {
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.Version, req.BrokerID, req.CurrentMetadataOffset = 2, int32(id), int64(w.in.NextOffset-1)
	if b := w.in.Image.Broker(id); b != nil {
		req.BrokerEpoch = int64(b.Epoch)
	}
	return req
}

func (w *world) heartbeat(req *kmsg.BrokerHeartbeatRequest) *kmsg.BrokerHeartbeatResponse {
	w.t.Helper()
	d, resp := Heartbeat(w.in, req)
	w.apply(d)
	if resp.ErrorCode == 0 {
		w.in.Sessions.Heartbeat(w.in.Image, BrokerSession{
			ID: kafka.BrokerID(req.BrokerID), Epoch: kafka.BrokerEpoch(req.BrokerEpoch), LastContactMs: w.in.NowMs,
			MetadataOffset: kafka.Offset(req.CurrentMetadataOffset), WantFence: req.WantFence, WantShutdown: req.WantShutdown,
		})
	}
	return resp
}

// start registers brokers and unfences them.
func (w *world) start(ids ...kafka.BrokerID) {
	w.t.Helper()
	for _, id := range ids {
		if resp := w.register(w.registration(id, 1)); resp.ErrorCode != 0 {
			w.t.Fatalf("register %d: %s", id, errors.Code(resp.ErrorCode))
		}
		if resp := w.heartbeat(w.beat(id)); resp.ErrorCode != 0 || resp.IsFenced {
			w.t.Fatalf("unfence %d: %+v", id, resp)
		}
	}
}

// topic creates a topic as CreateTopics does: replicas[i] are those of partition i.
func (w *world) topic(n byte, name string, configs map[string]string, replicas ...[]kafka.BrokerID) kafka.TopicID {
	w.t.Helper()
	id := worldTopicID(n)
	records := []record.Message{message(&record.TopicRecord{Name: name, TopicID: id})}
	for key, value := range configs {
		records = append(records, message(&record.ConfigRecord{ResourceType: 2, ResourceName: name, Name: key, Value: &value}))
	}
	for i, ids := range replicas {
		r := record.NewPartitionRecord()
		r.TopicID, r.PartitionID, r.Replicas, r.LeaderEpoch, r.PartitionEpoch = id, kafka.PartitionID(i), ids, 0, 0
		r.ISR = slices.DeleteFunc(slices.Clone(ids), func(id kafka.BrokerID) bool { return !w.in.Image.Broker(id).Active() })
		r.Leader = r.ISR[0]
		if w.in.Image.MetadataVersion() >= image.MV37IV2 {
			for _, id := range ids {
				r.Directories = append(r.Directories, defaultDirectory(w.in.Image, id))
			}
		}
		records = append(records, record.Message{Record: r, Version: w.in.Image.MetadataVersion().PartitionVersion()})
	}
	w.apply(Decision{Records: records})
	return id
}

func (w *world) partition(topic string, id kafka.PartitionID) *image.Partition {
	w.t.Helper()
	t := w.in.Image.TopicByName(topic)
	if t == nil || t.Partition(id) == nil {
		w.t.Fatalf("there is no %s-%d", topic, id)
	}
	return t.Partition(id)
}

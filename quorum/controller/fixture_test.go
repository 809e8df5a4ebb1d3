package controller

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// cluster is the state of a test: an image that decisions fold into, and what
// they are given besides.
type cluster struct {
	t  testing.TB
	im *image.Image
	in Input
}

// newCluster is a cluster of controller 1 at a metadata.version, with brokers.
func newCluster(t testing.TB, level image.MetadataVersion, brokers ...*record.RegisterBrokerRecord) *cluster {
	t.Helper()
	c := &cluster{t: t, im: image.Empty()}
	c.in = Input{
		NowMs: 1_800_000_000_000, Rand: rand.New(rand.NewPCG(1, 2)), KRaftVersion: 1,
		Sessions: NewSessions(),
		Settings: &Settings{
			ClusterID: "cluster", NodeID: 1, SessionTimeoutMs: 9000, NumPartitions: 1, DefaultReplicationFactor: 1,
			DeleteTopicEnable: true, AuthorizerConfigured: true, DelegationTokenSecret: []byte("secret"),
			DelegationTokenMaxMs: 7 * 24 * 3600_000, DelegationTokenExpiryMs: 24 * 3600_000,
			ControllerFeatures: image.SupportedFeatures(), VoterIDs: []kafka.NodeID{1},
		},
		Caller: Caller{Principal: "User:admin", Host: "127.0.0.1", MayUseTokens: true},
	}
	c.fold(message(&record.FeatureLevelRecord{Name: image.FeatureMetadataVersion, FeatureLevel: int16(level)}))
	for _, b := range brokers {
		if level < image.MV37IV2 { // brokers speak of directories from here on
			b.LogDirs = nil
		}
		c.fold(record.Message{Record: b, Version: level.RegisterBrokerVersion()})
	}
	return c
}

// fold takes records as the loop would: they must encode at their version.
func (c *cluster) fold(records ...record.Message) {
	c.t.Helper()
	for _, m := range records {
		if _, err := m.Append(nil); err != nil {
			c.t.Fatal(err)
		}
	}
	next, err := image.Fold(c.im, c.im.At().Offset+1, 1, c.in.NowMs, records)
	if err != nil {
		c.t.Fatal(err)
	}
	c.im = next
	c.in.Image, c.in.NextOffset = next, next.At().Offset+1
}

// aBroker is the registration of an unfenced broker with one directory.
func aBroker(id kafka.BrokerID, change ...func(*record.RegisterBrokerRecord)) *record.RegisterBrokerRecord {
	r := &record.RegisterBrokerRecord{
		BrokerID: id, BrokerEpoch: kafka.BrokerEpoch(id), IncarnationID: kafka.UUID{15: byte(id), 0: 1},
		EndPoints: []record.Endpoint{{Name: "PLAINTEXT", Host: "localhost", Port: 9092}},
		Features:  []record.FeatureRange{{Name: image.FeatureMetadataVersion, MinSupportedVersion: 7, MaxSupportedVersion: 30}},
		LogDirs:   []kafka.UUID{dirOf(id)},
	}
	for _, f := range change {
		f(r)
	}
	return r
}

// dirOf is the only directory of aBroker(id).
func dirOf(id kafka.BrokerID) kafka.DirectoryID {
	return kafka.DirectoryID{0: 2, 14: byte(id >> 8), 15: byte(id)}
}

func fenced(r *record.RegisterBrokerRecord)   { r.Fenced = true }
func shutting(r *record.RegisterBrokerRecord) { r.InControlledShutdown = true }

// someBrokers are the unfenced brokers 1 to n.
func someBrokers(n int) []*record.RegisterBrokerRecord {
	out := make([]*record.RegisterBrokerRecord, n)
	for i := range out {
		out[i] = aBroker(kafka.BrokerID(i + 1))
	}
	return out
}

// onlyAllow is an authorizer that allows what is listed.
func onlyAllow(rights ...right) func(int8, int8, string) bool {
	return func(operation, resourceType int8, name string) bool {
		return slices.Contains(rights, right{operation, resourceType, name})
	}
}

type right struct {
	operation, resourceType int8
	name                    string
}

// wantError compares a response's error with a code and a text; "" is no text.
func wantError(t testing.TB, what string, code int16, message *string, want errors.Code, text string) {
	t.Helper()
	got := ""
	if message != nil {
		got = *message
	}
	if errors.Code(code) != want || got != text {
		t.Errorf("%s: %s %q, want %s %q", what, errors.Code(code), got, want, text)
	}
}

// records returns the records of one type.
func recordsOf[R record.Record](messages []record.Message) []R {
	var out []R
	for _, m := range messages {
		if r, ok := m.Record.(R); ok {
			out = append(out, r)
		}
	}
	return out
}

func ptr[T any](v T) *T { return &v }

// featureRequest asks for one feature's level.
func featureRequest(name string, level int16, kind upgradeType) *kmsg.UpdateFeaturesRequest {
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.Version = 2
	req.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: name, MaxVersionLevel: level, UpgradeType: int8(kind)}}
	return req
}

// quotaEntry is an entity of pairs of type and name; "" is the type's default.
func quotaEntry(entity ...string) kmsg.AlterClientQuotasRequestEntry {
	e := kmsg.NewAlterClientQuotasRequestEntry()
	for i := 0; i+1 < len(entity); i += 2 {
		part := kmsg.AlterClientQuotasRequestEntryEntity{Type: entity[i]}
		if entity[i+1] != "" {
			part.Name = &entity[i+1]
		}
		e.Entity = append(e.Entity, part)
	}
	return e
}

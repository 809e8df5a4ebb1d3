package quorum

import (
	"bytes"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/listener"
	"kvorum/protocol"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// TestFetchAnswers goes through what a Fetch can be answered, in the order in
// which Apache checks (KafkaRaftClient.handleFetchRequest).
func TestFetchAnswers(t *testing.T) {
	w := newWired(t, nil)
	w.grow()
	state := w.wait(func(s *State) bool { return s.End == w.store.EndOffset() })
	end, epoch := state.End, state.Epoch
	other := "BAAAAAAAAAAAAAAAAAAAAA"
	type partition = kmsg.FetchRequestTopicPartition
	cases := []struct {
		name   string
		change func(*kmsg.FetchRequest, *partition)
		top    errors.Code
		code   errors.Code
		bytes  bool
		diverg kafka.LeaderEpoch // of the answer, -1 if none
	}{
		{"from the start", nil, 0, 0, true, -1},
		{"from the end", func(_ *kmsg.FetchRequest, p *partition) {
			p.FetchOffset, p.LastFetchedEpoch = int64(end), int32(epoch)
		}, 0, 0, false, -1},
		{"no cluster id", func(r *kmsg.FetchRequest, _ *partition) { r.ClusterID = nil }, 0, 0, true, -1},
		{"another cluster", func(r *kmsg.FetchRequest, _ *partition) { r.ClusterID = &other }, errors.InconsistentClusterID, 0, false, -1},
		{"another cluster's bad partition", func(r *kmsg.FetchRequest, p *partition) { r.ClusterID, p.Partition = &other, 1 }, errors.InconsistentClusterID, 0, false, -1},
		{"another partition", func(_ *kmsg.FetchRequest, p *partition) { p.Partition = 1 }, errors.InvalidRequest, 0, false, -1},
		{"another topic", func(r *kmsg.FetchRequest, _ *partition) { r.Topics[0].TopicID = kafka.TopicID{1} }, errors.InvalidRequest, 0, false, -1},
		{"two partitions", func(r *kmsg.FetchRequest, p *partition) {
			r.Topics[0].Partitions = append(r.Topics[0].Partitions, *p)
		}, errors.InvalidRequest, 0, false, -1},
		{"a negative wait", func(r *kmsg.FetchRequest, _ *partition) { r.MaxWaitMillis = -1 }, 0, errors.InvalidRequest, false, -1},
		{"a negative offset", func(_ *kmsg.FetchRequest, p *partition) { p.FetchOffset = -1 }, 0, errors.InvalidRequest, false, -1},
		{"a negative last epoch", func(_ *kmsg.FetchRequest, p *partition) { p.LastFetchedEpoch = -1 }, 0, errors.InvalidRequest, false, -1},
		{"a last epoch above the current", func(_ *kmsg.FetchRequest, p *partition) { p.LastFetchedEpoch = p.CurrentLeaderEpoch + 1 }, 0, errors.InvalidRequest, false, -1},
		{"an older epoch", func(_ *kmsg.FetchRequest, p *partition) { p.CurrentLeaderEpoch-- }, 0, errors.FencedLeaderEpoch, false, -1},
		{"a newer epoch", func(_ *kmsg.FetchRequest, p *partition) { p.CurrentLeaderEpoch++ }, 0, errors.UnknownLeaderEpoch, false, -1},
		{"beyond the end", func(_ *kmsg.FetchRequest, p *partition) {
			p.FetchOffset, p.LastFetchedEpoch = int64(end)+5, int32(epoch)
		}, 0, 0, false, epoch},
		{"an epoch that never was", func(_ *kmsg.FetchRequest, p *partition) { p.FetchOffset, p.LastFetchedEpoch = 2, 0 }, 0, 0, false, 0},
	}
	for _, version := range []int16{12, 13, 17, 18} {
		for _, c := range cases {
			req := w.fetchRequest(version, 0, 0)
			if version == 12 && c.name == "another topic" {
				req.Topics[0].Topic = "other"
			}
			if c.change != nil {
				c.change(req, &req.Topics[0].Partitions[0])
			}
			resp := w.ask(req).(*kmsg.FetchResponse)
			if errors.Code(resp.ErrorCode) != c.top {
				t.Errorf("v%d %s: top-level error %d, want %d", version, c.name, resp.ErrorCode, c.top)
			}
			if c.top != 0 {
				continue
			}
			p := resp.Topics[0].Partitions[0]
			if errors.Code(p.ErrorCode) != c.code || len(p.RecordBatches) > 0 != c.bytes || kafka.LeaderEpoch(p.DivergingEpoch.Epoch) != c.diverg {
				t.Errorf("v%d %s: error %d, %d bytes, diverging %+v; want %d, %v, %d", version, c.name, p.ErrorCode, len(p.RecordBatches), p.DivergingEpoch, c.code, c.bytes, c.diverg)
			}
			if p.CurrentLeader.LeaderID != 100 || p.CurrentLeader.LeaderEpoch != int32(epoch) || version >= 13 && resp.Topics[0].TopicID != kafka.MetadataTopicID {
				t.Errorf("v%d %s: leader %+v of topic %v", version, c.name, p.CurrentLeader, resp.Topics[0].TopicID)
			}
			if c.code == 0 && p.HighWatermark != int64(end) {
				t.Errorf("v%d %s: high watermark %d, want %d", version, c.name, p.HighWatermark, end)
			}
			if version >= 16 && (len(resp.Brokers) != 1 || resp.Brokers[0].NodeID != 100 || resp.Brokers[0].Port != 9000) {
				t.Errorf("v%d %s: endpoints %+v", version, c.name, resp.Brokers)
			}
		}
	}
}

// TestFetchWaits shows what ends a long poll: new records, and from v18 on a
// high watermark that the replica does not know.
func TestFetchWaits(t *testing.T) {
	w := newWired(t, nil)
	end := w.store.EndOffset()
	req := w.fetchRequest(18, end, w.store.LastEpoch())
	req.MaxWaitMillis = 5000
	req.Topics[0].Partitions[0].HighWatermark = int64(end) - 1
	p := w.ask(req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if len(p.RecordBatches) > 0 || p.HighWatermark != int64(end) {
		t.Errorf("a fetch for the high watermark gives %d bytes and high watermark %d", len(p.RecordBatches), p.HighWatermark)
	}
	req.Topics[0].Partitions[0].HighWatermark = int64(end)
	answered := make(chan *kmsg.FetchResponse, 1)
	go func() { answered <- w.ask(req).(*kmsg.FetchResponse) }()
	done := make(chan bool)
	grown := newConn(t, w)
	go func() { grown.grow(); close(done) }()
	<-done
	p = (<-answered).Topics[0].Partitions[0]
	v, _, err := batch.Next(p.RecordBatches)
	if err != nil || v.BaseOffset() != end || p.HighWatermark != int64(v.EndOffset()) {
		t.Errorf("the long poll was answered with %d bytes and high watermark %d (%v)", len(p.RecordBatches), p.HighWatermark, err)
	}
	// Without the loop leading there is nothing to serve.
	w.cluster.Elect(kafka.NoNode)
	w.wait(func(s *State) bool { return !s.Active })
	p = w.ask(w.fetchRequest(17, 0, 0)).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if errors.Code(p.ErrorCode) != errors.NotLeaderOrFollower || p.CurrentLeader.LeaderID != -1 {
		t.Errorf("a controller that leads no more answers error %d, leader %d", p.ErrorCode, p.CurrentLeader.LeaderID)
	}
}

// newConn is the same controller over another connection.
func newConn(t *testing.T, w *wired) *wired {
	other := *w
	var err error
	if other.conn, err = net.Dial("tcp", w.conn.RemoteAddr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.conn.Close() })
	return &other
}

// TestEnvelope: the client inside is authorised, not the broker outside; what the
// envelope cannot carry is refused; NOT_CONTROLLER is said outside.
func TestEnvelope(t *testing.T) {
	var audited bytes.Buffer // each line is written before its answer is sent
	w := newWired(t, func(cfg *ControllerConfig) {
		cfg.Audit = listener.NewAudit(slog.New(slog.NewTextHandler(&audited, nil)), true)
		cfg.Authorize = func(_ *State, principal, host string, _, _ int8, _ string) bool {
			return principal == "User:ANONYMOUS" || principal == "User:alice" && host == "10.1.2.3"
		}
	})
	alter := simAlter("", "7")
	alter.Resources[0].ResourceType, alter.Resources[0].Configs[0].Name = kmsg.ConfigResourceTypeBroker, "leader.replication.throttled.replicas"
	value := "x"
	alter.Resources[0].Configs[0].Value = &value
	for who, want := range map[string]errors.Code{"alice": errors.None, "mallory": errors.ClusterAuthorizationFailed} {
		resp := w.ask(envelopeOf(t, protocol.Principal{Type: "User", Name: who}, alter)).(*kmsg.EnvelopeResponse)
		if resp.ErrorCode != 0 {
			t.Fatalf("%s: the envelope's error is %d", who, resp.ErrorCode)
		}
		inner := kmsg.NewPtrIncrementalAlterConfigsResponse()
		inner.SetVersion(1)
		if id, err := protocol.ReadResponse(resp.ResponseData, inner); err != nil || id != 9 {
			t.Fatalf("%s: %v, correlation id %d", who, err, id)
		}
		if got := errors.Code(inner.Resources[0].ErrorCode); got != want {
			t.Errorf("%s may: %s, want %s", who, got, want)
		}
	}
	outer := func(inner kmsg.Request) errors.Code {
		return errors.Code(w.ask(envelopeOf(t, protocol.Principal{Type: "User", Name: "alice"}, inner)).(*kmsg.EnvelopeResponse).ErrorCode)
	}
	if got := outer(w.fetchRequest(17, 0, 0)); got != errors.InvalidRequest {
		t.Errorf("a Fetch in an envelope: %s", got)
	}
	w.cluster.Elect(kafka.NoNode)
	w.wait(func(s *State) bool { return !s.Active })
	if got := outer(alter); got != errors.NotController {
		t.Errorf("an envelope to a controller that is not active: %s", got)
	}
	for _, want := range []string{
		`msg=audit outcome=ok api=IncrementalAlterConfigs principal=User:alice client=10.1.2.3 `,
		`msg=audit outcome=denied api=IncrementalAlterConfigs principal=User:mallory client=10.1.2.3 `,
		`forwarded=true forwarder=127.0.0.1 resources=BROKER: errors=CLUSTER_AUTHORIZATION_FAILED`,
	} {
		if !strings.Contains(audited.String(), want) {
			t.Errorf("no %q in\n%s", want, audited.String())
		}
	}
	if n := strings.Count(audited.String(), "\n"); n != 2 {
		t.Errorf("%d lines for two requests that were decided", n)
	}
}

// unserved are the APIs of a controller listener that kvorum's controllers do not
// have, and why.
var unserved = map[string]string{
	"Vote":             "raft elects leaders among the controllers, on its own listener",
	"BeginQuorumEpoch": "a claim in the log begins an epoch",
	"EndQuorumEpoch":   "raft hands leadership over, on its own listener",
	"AddRaftVoter":     "membership is raft's",
	"RemoveRaftVoter":  "membership is raft's",
	"UpdateRaftVoter":  "membership is raft's; a new active controller writes its own endpoints",

	"DescribeDelegationToken":      "brokers answer it from their image",
	"DescribeUserSCRAMCredentials": "brokers answer it from their image",
}

// TestAnnouncedIsBound: what the table has for controllers and is not bound is
// documented, and nothing else; what is announced is what is bound.
func TestAnnouncedIsBound(t *testing.T) {
	w := newWired(t, nil)
	h := w.ctl.Handlers()
	missing := h.Unbound()
	for _, k := range missing {
		name := kmsg.NameForKey(int16(k))
		if unserved[name] == "" && k < 20000 {
			t.Errorf("%s (%d) is in the table for controllers, but not bound", name, k)
		}
	}
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version = 3
	req.ClientSoftwareName, req.ClientSoftwareVersion = "test", "1"
	resp := w.ask(req).(*kmsg.ApiVersionsResponse)
	for _, a := range resp.ApiKeys {
		if slices.Contains(missing, protocol.Key(a.ApiKey)) {
			t.Errorf("%s is announced and not bound", kmsg.NameForKey(a.ApiKey))
		}
	}
	announced := func(key kmsg.Key) bool {
		return slices.ContainsFunc(resp.ApiKeys, func(a kmsg.ApiVersionsResponseApiKey) bool { return a.ApiKey == key.Int16() })
	}
	for key := range deciders {
		if !announced(kmsg.Key(key)) {
			t.Errorf("%s is bound and not announced", kmsg.NameForKey(key))
		}
	}
	features := map[string]int16{}
	for _, f := range resp.FinalizedFeatures {
		features[f.Name] = f.MaxVersionLevel
	}
	if features["metadata.version"] != int16(simLevel) || features["kraft.version"] != 1 || resp.FinalizedFeaturesEpoch < 0 {
		t.Errorf("finalized features %v of epoch %d", features, resp.FinalizedFeaturesEpoch)
	}
}

// TestAuthorization: with an authorizer that allows nothing, no API that the
// table guards on the cluster is answered.
func TestAuthorization(t *testing.T) {
	w := newWired(t, func(cfg *ControllerConfig) {
		cfg.Authorize = func(*State, string, string, int8, int8, string) bool { return false }
	})
	h := w.ctl.Handlers()
	unbound := h.Unbound()
	guarded := 0
	for api := range protocol.APIs {
		if api.Listeners&protocol.Controller == 0 || slices.Contains(unbound, api.Key) || api.Rule(protocol.Controller).Reason != "" {
			continue
		}
		guarded++
		req := kmsg.RequestForKey(int16(api.Key))
		req.SetVersion(api.Max)
		fill(req, w)
		resp := w.ask(req)
		if code := firstError(reflect.ValueOf(resp)); code != errors.ClusterAuthorizationFailed {
			t.Errorf("%s without rights is answered %s", api.Name, code)
		}
	}
	if guarded < 10 {
		t.Errorf("only %d APIs are guarded: the test tests nothing", guarded)
	}
}

// fill gives a request the parts without which an answer has no place for an
// error.
func fill(req kmsg.Request, w *wired) {
	switch r := req.(type) {
	case *kmsg.FetchRequest:
		*r = *w.fetchRequest(r.Version, 0, 0)
	case *kmsg.EnvelopeRequest:
		*r = *envelopeOf(w.t, protocol.Principal{Type: "User", Name: "alice"}, simDescribeQuorum())
	case *kmsg.CreateACLsRequest:
		r.Creations = append(r.Creations, kmsg.NewCreateACLsRequestCreation())
	case *kmsg.DeleteACLsRequest:
		r.Filters = append(r.Filters, kmsg.NewDeleteACLsRequestFilter())
	case *kmsg.AlterClientQuotasRequest:
		r.Entries = append(r.Entries, kmsg.NewAlterClientQuotasRequestEntry())
	case *kmsg.AlterUserSCRAMCredentialsRequest:
		d := kmsg.NewAlterUserSCRAMCredentialsRequestDeletion()
		d.Name, d.Mechanism = "alice", 1
		r.Deletions = append(r.Deletions, d)
	}
}

// firstError finds the first error code that is not 0 in a response.
func firstError(v reflect.Value) errors.Code {
	switch v.Kind() {
	case reflect.Pointer:
		return firstError(v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			if code := firstError(v.Index(i)); code != 0 {
				return code
			}
		}
	case reflect.Struct:
		if f := v.FieldByName("ErrorCode"); f.IsValid() && f.Int() != 0 {
			return errors.Code(f.Int())
		}
		for i := range v.NumField() {
			if code := firstError(v.Field(i)); code != 0 {
				return code
			}
		}
	}
	return 0
}

// TestDescribe: DescribeQuorum and DescribeCluster as tools read them.
func TestDescribe(t *testing.T) {
	w := newWired(t, nil)
	at := w.fetchRequest(17, w.store.EndOffset(), w.store.LastEpoch())
	at.Topics[0].Partitions[0].ReplicaDirectoryID = kafka.DirectoryID{4}
	w.ask(at)
	resp := w.ask(simDescribeQuorum()).(*kmsg.DescribeQuorumResponse)
	p := resp.Topics[0].Partitions[0]
	if p.LeaderID != 100 || p.HighWatermark != int64(w.store.EndOffset()) || len(p.CurrentVoters) != 3 || len(p.Observers) != 1 || len(resp.Nodes) != 3 {
		t.Fatalf("the quorum is described as %+v, nodes %+v", p, resp.Nodes)
	}
	if o := p.Observers[0]; o.ReplicaID != 1 || o.ReplicaDirectoryID != (kafka.DirectoryID{4}) || o.LogEndOffset != int64(w.store.EndOffset()) || o.LastCaughtUpTimestamp != o.LastFetchTimestamp {
		t.Errorf("the observer is described as %+v", o)
	}
	if v := p.CurrentVoters[0]; v.ReplicaID != 100 || v.LogEndOffset != int64(w.store.EndOffset()) {
		t.Errorf("the leader is described as %+v", v)
	}
	cluster := kmsg.NewPtrDescribeClusterRequest()
	cluster.Version, cluster.EndpointType = 1, 2
	c := w.ask(cluster).(*kmsg.DescribeClusterResponse)
	if c.ErrorCode != 0 || c.ClusterID != w.cfg.ClusterID || c.ControllerID != 100 || len(c.Brokers) != 3 || c.Brokers[0].Port != 9000 || c.EndpointType != 2 {
		t.Errorf("the cluster is described as %+v", c)
	}
	cluster.EndpointType = 1
	if c := w.ask(cluster).(*kmsg.DescribeClusterResponse); errors.Code(c.ErrorCode) != errors.MismatchedEndpointType {
		t.Errorf("asked for brokers, a controller answers %d", c.ErrorCode)
	}
}

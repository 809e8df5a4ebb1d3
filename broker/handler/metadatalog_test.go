package handler

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog"
	"kvorum/protocol"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// metadataLog is a store with ten batches of one record, five each of epochs 1 and 3.
func metadataLog(t *testing.T) (*metadatalog.Store, []byte) {
	t.Helper()
	store, err := metadatalog.Open("/metadata", metadatalog.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	var all []byte
	for i := range 10 {
		all = batch.AppendData(all, kafka.Offset(i), kafka.LeaderEpoch(1+i/5*2), 1, [][]byte{[]byte("record")})
	}
	if err := store.Append(metadatalog.Append{Batches: all}); err != nil {
		t.Fatal(err)
	}
	return store, all
}

// TestFetchOfTheMetadataLog: a broker gives its copy of the metadata log to other
// brokers of its cluster whose log is a beginning of it, and to nobody else.
func TestFetchOfTheMetadataLog(t *testing.T) {
	store, all := metadataLog(t)
	w := newWorld(t, func(c *Config) { c.MetadataLog = store })
	size := len(all) / 10
	for _, c := range []struct {
		name    string
		offset  int64
		epoch   int32
		change  func(*kmsg.FetchRequest)
		top     errors.Code
		code    errors.Code
		records []byte
		diverge int64
	}{
		{name: "from the start", records: all, diverge: -1},
		{name: "from the middle", offset: 7, epoch: 3, records: all[7*size:], diverge: -1},
		{name: "at the end of an epoch", offset: 5, epoch: 1, records: all[5*size:], diverge: -1},
		{name: "at most", offset: 7, epoch: 3, change: func(r *kmsg.FetchRequest) { r.MaxBytes = 1 }, records: all[7*size : 8*size], diverge: -1},
		{name: "at the end", offset: 10, epoch: 3, diverge: -1},
		{name: "it knows more", offset: 12, epoch: 4, diverge: -1},
		{name: "an epoch that is not here", offset: 7, epoch: 2, diverge: 5},
		{name: "longer in an epoch than here", offset: 7, epoch: 1, diverge: 5},
		{name: "before everything", offset: -1, code: errors.OffsetOutOfRange, diverge: -1},
		{name: "another cluster", change: func(r *kmsg.FetchRequest) { *r.ClusterID = "another" }, top: errors.InconsistentClusterID},
		{name: "no cluster", change: func(r *kmsg.FetchRequest) { r.ClusterID = nil }, top: errors.InconsistentClusterID},
		{name: "another partition", change: func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].Partition = 1 }, top: errors.InvalidRequest},
	} {
		id := w.handlers.cfg.ClusterID
		req := fetchOf("a", c.offset)
		req.ClusterID, req.ReplicaState.ID = &id, int32(other)
		req.Topics[0].TopicID, req.Topics[0].Partitions[0].LastFetchedEpoch = kafka.MetadataTopicID, c.epoch
		if c.change != nil {
			c.change(req)
		}
		res := ask[*kmsg.FetchResponse](w, 17, req)
		if code(res.ErrorCode) != c.top {
			t.Errorf("%s: %v, want %v", c.name, code(res.ErrorCode), c.top)
		}
		if c.top != errors.None {
			continue
		}
		p := res.Topics[0].Partitions[0]
		if code(p.ErrorCode) != c.code || !bytes.Equal(p.RecordBatches, c.records) || p.DivergingEpoch.EndOffset != c.diverge || p.HighWatermark != 10 {
			t.Errorf("%s: %v, %d bytes, diverging at %d, high watermark %d", c.name, code(p.ErrorCode), len(p.RecordBatches), p.DivergingEpoch.EndOffset, p.HighWatermark)
		}
	}
}

// denyAll is an authorizer that allows nothing.
type denyAll struct{}

func (denyAll) Allowed(protocol.Principal, netip.Addr, kmsg.ACLOperation, kmsg.ACLResourceType, string) bool {
	return false
}

func (denyAll) AllowedSome(protocol.Principal, netip.Addr, kmsg.ACLOperation, kmsg.ACLResourceType) bool {
	return false
}

// TestFetchOfTheMetadataLogIsRefused: without the permission of a broker, and where
// it is turned off, nothing is given.
func TestFetchOfTheMetadataLogIsRefused(t *testing.T) {
	store, _ := metadataLog(t)
	req := fetchOf("a", 0)
	req.Topics[0].TopicID = kafka.MetadataTopicID
	denied := newWorld(t, func(c *Config) { c.MetadataLog, c.Authorizer = store, denyAll{} })
	if res := ask[*kmsg.FetchResponse](denied, 17, req); code(res.ErrorCode) != errors.ClusterAuthorizationFailed {
		t.Errorf("denied: %+v", res)
	}
	off := newWorld(t)
	if p := ask[*kmsg.FetchResponse](off, 17, req).Topics[0].Partitions[0]; code(p.ErrorCode) != errors.UnknownTopicID || len(p.RecordBatches) > 0 {
		t.Errorf("turned off: %+v", p)
	}
}

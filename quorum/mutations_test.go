package quorum

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/listener/quota"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
	"kvorum/quorum/controller"
)

// Newer versions are refused what is beyond the quota, older ones are told to be
// silent afterwards; who has no quota and what has none is left alone.
func TestMutationQuota(t *testing.T) {
	alice := "alice"
	d := image.NewDelta(image.Empty())
	if err := d.Replay(&record.ClientQuotaRecord{Entity: []record.QuotaEntity{{EntityType: "user", EntityName: &alice}}, Key: "controller_mutation_rate", Value: 1}); err != nil {
		t.Fatal(err)
	}
	im := d.Apply(image.Position{})
	const now = 1_700_000_000_000
	for _, c := range []struct {
		name     string
		who      string
		body     kmsg.Request
		version  int16
		code     errors.Code
		waitMs   int32
		overdraw int
	}{
		{"strict", "User:alice", kmsg.NewPtrCreateTopicsRequest(), 6, errors.ThrottlingQuotaExceeded, 2000, 13},
		{"permissive", "User:alice", kmsg.NewPtrCreateTopicsRequest(), 5, errors.None, 3000, 13},
		{"strict deletion", "User:alice", kmsg.NewPtrDeleteTopicsRequest(), 5, errors.ThrottlingQuotaExceeded, 2000, 13},
		{"permissive deletion", "User:alice", kmsg.NewPtrDeleteTopicsRequest(), 4, errors.None, 3000, 13},
		{"strict partitions", "User:alice", kmsg.NewPtrCreatePartitionsRequest(), 3, errors.ThrottlingQuotaExceeded, 2000, 13},
		{"permissive partitions", "User:alice", kmsg.NewPtrCreatePartitionsRequest(), 2, errors.None, 3000, 13},
		{"somebody else", "User:bob", kmsg.NewPtrCreateTopicsRequest(), 7, errors.None, 0, 1000},
		{"another API", "User:alice", kmsg.NewPtrAlterConfigsRequest(), 2, errors.None, 0, 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMutations(quota.Window{})
			c.body.SetVersion(c.version)
			first := m.of(now, im, controller.Caller{Principal: c.who}, c.body)
			if err := first.take(c.overdraw); err != nil {
				t.Fatal(err)
			}
			s := m.of(now, im, controller.Caller{Principal: c.who}, c.body)
			code := errors.None
			if err := s.take(1); err != nil {
				code = err.Code
			}
			response := c.body.ResponseKind()
			s.announce(response)
			wait := int32(0)
			if r, ok := response.(kmsg.ThrottleResponse); ok {
				wait, _ = r.Throttle()
			}
			if code != c.code || wait != c.waitMs {
				t.Errorf("%v, silence of %d ms, want %v and %d", code, wait, c.code, c.waitMs)
			}
		})
	}
}

package quorum

import (
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/listener/quota"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
	"kvorum/quorum/controller"
)

// mutations holds clients to their controller_mutation_rate (KIP-599): partitions
// created and deleted a second, by a token bucket for each user and client id that
// has a quota. It is the active controller's own soft state, as in Apache: another
// one begins with full buckets.
type mutations struct {
	quotas *quota.Quotas
	limits *image.Image // whose quotas are in force; nil before the first
}

func newMutations(w quota.Window) mutations {
	if w == (quota.Window{}) {
		w = quota.DefaultWindow
	}
	return mutations{quotas: quota.New(w)}
}

// strictSince is the version of each API from which on what is beyond the quota is
// refused; before, it is done and the client told to be silent, because it would
// not know the error (ControllerMutationQuotaManager.newQuotaFor).
var strictSince = map[int16]int16{
	kmsg.CreateTopics.Int16():     6,
	kmsg.DeleteTopics.Int16():     5,
	kmsg.CreatePartitions.Int16(): 3,
}

// spending is what one request takes of its client's quota.
type spending struct {
	quotas       *quota.Quotas // nil: the API has no such quota
	user, client string
	strict       bool
	now          time.Time
	wait         time.Duration
}

// of begins the spending of one request.
func (m *mutations) of(nowMs int64, im *image.Image, who controller.Caller, body kmsg.Request) *spending {
	since, ok := strictSince[body.Key()]
	if !ok {
		return &spending{}
	}
	if m.limits == nil || !m.limits.SameClientQuotas(im) {
		m.quotas.Publish(quota.FromImage(im))
		m.limits = im
	}
	user := strings.TrimPrefix(who.Principal, "User:")
	return &spending{quotas: m.quotas, user: user, client: who.ClientID, strict: body.GetVersion() >= since, now: time.UnixMilli(nowMs)}
}

// take is controller.Input's Mutate.
func (s *spending) take(partitions int) *errors.Error {
	wait, allowed := s.quotas.Mutate(s.user, s.client, partitions, s.strict, s.now)
	s.wait = max(s.wait, wait)
	if !allowed {
		return errors.New(errors.ThrottlingQuotaExceeded, "%s", errors.ThrottlingQuotaExceeded.Message())
	}
	return nil
}

// announce puts the time of silence into the response.
func (s *spending) announce(response kmsg.Response) {
	if t, ok := response.(kmsg.SetThrottleResponse); ok && s.wait > 0 {
		t.SetThrottle(int32(min(s.wait.Milliseconds(), 1<<31-1)))
	}
}

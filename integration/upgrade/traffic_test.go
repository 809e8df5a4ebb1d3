package upgrade

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/integration/bench/broker"
	"kvorum/integration/robustness"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

const (
	// callPatience bounds one operation; it is then one that may have happened.
	callPatience = 5 * time.Second
	// pause between two operations of a client: some load on two cores.
	pause = 5 * time.Millisecond
	// operations are acknowledged between two steps of the roll, so that there is
	// something to lose.
	operations = 100
	// quotaUsers are the users whose quotas change again and again.
	quotaUsers = 8
)

// traffic is two clients of the controllers: one creates topics and deletes every
// third, one alters quotas.
type traffic struct {
	addresses []string
	topics    *robustness.History

	mu      sync.Mutex
	quotas  map[string]quota // by user
	defects []string         // answers that no restart explains

	stop    context.CancelFunc
	running sync.WaitGroup
	created atomic.Pointer[time.Time] // when the last acknowledged creation was asked for
	altered atomic.Pointer[time.Time] // the same of a quota
	acked   atomic.Int64              // operations
}

// quota is what is known of a user's quota, whose values only grow: the last one
// that was acknowledged and the last one that was asked for.
type quota struct{ acked, asked float64 }

func startTraffic(t *testing.T, addresses []string) *traffic {
	tr := &traffic{addresses: addresses, topics: robustness.NewHistory(), quotas: map[string]quota{}}
	ctx, stop := context.WithCancel(t.Context())
	tr.stop = stop
	for _, work := range []func(context.Context, *link, int){tr.topic, tr.quota} {
		tr.running.Go(func() {
			l := &link{traffic: tr}
			defer l.close()
			for n := 0; ctx.Err() == nil; n++ {
				work(ctx, l, n)
				time.Sleep(pause)
			}
		})
	}
	t.Cleanup(tr.finish)
	return tr
}

// finish ends the clients' work and waits for it.
func (tr *traffic) finish() {
	tr.stop()
	tr.running.Wait()
}

// topic creates one topic, and deletes it if it is a third one.
func (tr *traffic) topic(ctx context.Context, l *link, n int) {
	name := fmt.Sprintf("topic-%d", n)
	began := time.Now()
	req, resp := kmsg.NewPtrCreateTopicsRequest(), kmsg.NewPtrCreateTopicsResponse()
	req.Version, req.TimeoutMillis = 7, int32(callPatience.Milliseconds())
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 3, 3
	req.Topics = append(req.Topics, topic)
	tr.topics.Created(name, robustness.Maybe, kafka.ZeroUUID)
	if !l.call(ctx, req, resp, func() int16 { return resp.Topics[0].ErrorCode }) {
		return
	}
	tr.topics.Created(name, robustness.Acknowledged, resp.Topics[0].TopicID)
	tr.created.Store(&began)
	tr.acked.Add(1)
	if n%3 != 0 {
		return
	}
	remove, removed := kmsg.NewPtrDeleteTopicsRequest(), kmsg.NewPtrDeleteTopicsResponse()
	remove.Version, remove.TimeoutMillis = 6, int32(callPatience.Milliseconds())
	gone := kmsg.NewDeleteTopicsRequestTopic()
	gone.Topic = &name
	remove.Topics = append(remove.Topics, gone)
	tr.topics.Deleted(name, robustness.Maybe)
	if l.call(ctx, remove, removed, func() int16 { return removed.Topics[0].ErrorCode }) {
		tr.topics.Deleted(name, robustness.Acknowledged)
		tr.acked.Add(1)
	}
}

// quotaKey is the quota that is altered.
const quotaKey = "producer_byte_rate"

// quota raises the quota of one user.
func (tr *traffic) quota(ctx context.Context, l *link, n int) {
	user, value, began := fmt.Sprintf("user-%d", n%quotaUsers), float64(n+1), time.Now()
	req, resp := kmsg.NewPtrAlterClientQuotasRequest(), kmsg.NewPtrAlterClientQuotasResponse()
	req.Version = 1
	entry, part, op := kmsg.NewAlterClientQuotasRequestEntry(), kmsg.NewAlterClientQuotasRequestEntryEntity(), kmsg.NewAlterClientQuotasRequestEntryOp()
	part.Type, part.Name = "user", &user
	op.Key, op.Value = quotaKey, value
	entry.Entity, entry.Ops = append(entry.Entity, part), append(entry.Ops, op)
	req.Entries = append(req.Entries, entry)
	tr.note(user, func(q *quota) { q.asked = value })
	if !l.call(ctx, req, resp, func() int16 { return resp.Entries[0].ErrorCode }) {
		return
	}
	tr.note(user, func(q *quota) { q.acked = value })
	tr.altered.Store(&began)
	tr.acked.Add(1)
}

func (tr *traffic) note(user string, change func(*quota)) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	q := tr.quotas[user]
	change(&q)
	tr.quotas[user] = q
}

// untilAfter waits until a creation and a quota that were asked for after a
// moment have been acknowledged, and some more operations.
func (tr *traffic) untilAfter(t *testing.T, moment time.Time) {
	t.Helper()
	goal := tr.acked.Load() + operations
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		created, altered := tr.created.Load(), tr.altered.Load()
		if tr.acked.Load() >= goal && created != nil && altered != nil && created.After(moment) && altered.After(moment) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %d operations were acknowledged within %v of %v; the last creation and quota began at %v and %v", operations, patience, moment, created, altered)
		}
	}
}

// check compares what was acknowledged with an image.
func (tr *traffic) check(im *image.Image) []string {
	have := map[string]kafka.TopicID{}
	for topic := range im.Topics() {
		have[topic.Name] = topic.ID
	}
	violations := append(tr.topics.Check(robustness.Observed{Topics: have}), tr.defects...)
	for user, q := range tr.quotas {
		got := 0.0
		if set := im.ClientQuota(image.QuotaEntity{User: image.QuotaName{Set: true, Name: user}}); set != nil {
			got, _ = set.Get(quotaKey)
		}
		if got < q.acked || got > q.asked {
			violations = append(violations, fmt.Sprintf("lost-quota: %s was acknowledged %v, asked for up to %v, and has %v", user, q.acked, q.asked, got))
		}
	}
	return violations
}

// link is a client's connection to the controller that it takes for the active one.
type link struct {
	*traffic
	at   int
	conn *broker.Conn
}

// call asks once and reports whether the answer was a success. A client that
// could not reach the active controller goes to the next address. An answer that
// no restart explains is a defect.
func (l *link) call(ctx context.Context, req kmsg.Request, resp kmsg.Response, code func() int16) bool {
	if l.conn == nil {
		conn, err := broker.Dial(ctx, l.addresses[l.at], "upgrade")
		if err != nil {
			l.next()
			return false
		}
		l.conn = conn
	}
	if err := l.conn.Call(req, resp, callPatience); err != nil {
		l.next()
		return false
	}
	err := kerr.ErrorForCode(code())
	if err == nil {
		return true
	}
	if !kerr.IsRetriable(err) {
		l.mu.Lock()
		l.defects = append(l.defects, fmt.Sprintf("refused: %s by %s: %v", kmsg.NameForKey(req.Key()), l.addresses[l.at], err))
		l.mu.Unlock()
	}
	l.next()
	return false
}

func (l *link) next() {
	l.close()
	l.at = (l.at + 1) % len(l.addresses)
}

func (l *link) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

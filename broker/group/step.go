package group

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// Config are the keys of the coordinator that decisions need.
type Config struct {
	InitialRebalanceDelayMs int32 // group.initial.rebalance.delay.ms
	MinSessionTimeoutMs     int32 // group.min.session.timeout.ms
	MaxSessionTimeoutMs     int32 // group.max.session.timeout.ms
	MaxSize                 int   // group.max.size: members of a group
	OffsetMetadataMax       int   // offset.metadata.max.bytes, which Kafka counts in UTF-16 units
	OffsetsRetentionMs      int64 // offsets.retention.minutes
}

// Defaults are Kafka's.
var Defaults = Config{
	InitialRebalanceDelayMs: 3000, MinSessionTimeoutMs: 6000, MaxSessionTimeoutMs: 1_800_000,
	MaxSize: 1<<31 - 1, OffsetMetadataMax: 4096, OffsetsRetentionMs: 7 * 24 * 3600 * 1000,
}

// Env is what a decision needs from the world.
type Env struct {
	// NowMs is what timers go by: it starts as the wall clock's time, and is steady.
	NowMs  int64
	WallMs int64    // wall clock: what is written down, and aged by
	Random [16]byte // fresh for each Step; it becomes part of member ids
	Config *Config
}

// Token stands for a request that waits for its answer; never 0.
type Token uint64

// Client is who sent a request.
type Client struct {
	ID   string // client id
	Host string // as Kafka shows it: "/" and the address
}

// Event is something that happened: Request, Fired, Ended, Loaded, Expire or
// TopicsDeleted.
type Event interface{ event() }

// Request is a request of a client for one group of this partition. Body is one
// of kmsg's JoinGroupRequest, SyncGroupRequest, HeartbeatRequest,
// LeaveGroupRequest, OffsetCommitRequest, TxnOffsetCommitRequest,
// OffsetDeleteRequest, DeleteGroupsRequest (all of whose groups are of this
// partition) and OffsetFetchRequest of one group (v8 form). Nothing of it is kept
// but its strings.
type Request struct {
	Token  Token
	Client Client
	Body   kmsg.Request
}

// Fired says that a timer has reached its time.
type Fired struct{ Timer Timer }

// Ended says that a producer's transaction has ended; its marker is appended to
// the log by the shell, and Step gives it the offset End.
type Ended struct {
	Producer kafka.ProducerID
	Commit   bool
}

// Loaded says that the log has been read to its end and that this broker is the
// coordinator from now on: sessions begin anew.
type Loaded struct{}

// Expire asks for what has passed its retention: at most about Limit tombstones,
// beginning with the group From.
type Expire struct {
	From  string
	Limit int
}

// TopicsDeleted says that topics are gone, and the offsets that were committed for
// them with them. One that was committed for another topic of the name, by its id,
// stays.
type TopicsDeleted struct{ Topics map[string]kafka.TopicID }

func (Request) event()       {}
func (Fired) event()         {}
func (Ended) event()         {}
func (Loaded) event()        {}
func (Expire) event()        {}
func (TopicsDeleted) event() {}

// TimerKind says what a timer is for.
type TimerKind uint8

// The timers of a group.
const (
	SessionTimer TimerKind = iota // a member's session, or an id's time to join
	JoinTimer                     // the end of the join phase
	SyncTimer                     // the end of the wait for SyncGroups
)

// Timer names a timer. There is one of each name: setting it moves it.
type Timer struct {
	Kind   TimerKind
	Group  string
	Member string // of a SessionTimer
}

// TimerChange sets or stops a timer.
type TimerChange struct {
	Timer Timer
	AtMs  int64 // when it fires, by the clock of Env; 0: never
}

// Answer is the response to a request. Its version is not set.
type Answer struct {
	Token    Token
	Response kmsg.Response
}

// Effects is what a Step wants done. The records go to the log as one batch, in
// their order, before anything else; the answers are given when everything up to
// End is committed; the timers are set when the append has succeeded. When it
// fails, the State before the Step is the right one and the Effects are void.
type Effects struct {
	Records []Record
	// Producer and ProducerEpoch go into the batch of a transactional commit;
	// Producer is -1 otherwise.
	Producer      kafka.ProducerID
	ProducerEpoch int16
	// Splittable records may go to the log in more than one batch.
	Splittable bool
	Answers    []Answer
	Timers     []TimerChange
	// Next is where an Expire goes on; "" when it is through.
	Next string
	// Commits, Deletions and Expirations count offsets; Rebalances counts
	// completed ones.
	Commits, Deletions, Expirations, Rebalances int
}

// step is one decision under way.
type step struct {
	*State
	env Env
	out *Effects
}

// Step decides what an event leads to and folds it in.
func (s *State) Step(env Env, e Event) Effects {
	out := Effects{Producer: -1, ProducerEpoch: -1}
	t := step{s, env, &out}
	switch e := e.(type) {
	case Request:
		t.request(e)
	case Fired:
		t.fired(e.Timer)
	case Ended:
		s.LoadEnd(s.end, e.Producer, e.Commit)
	case Loaded:
		t.loaded()
	case Expire:
		t.expire(e)
	case TopicsDeleted:
		t.topicsDeleted(e.Topics)
	default:
		panic(fmt.Sprintf("group: an event of type %T", e))
	}
	return out
}

func (t *step) request(r Request) {
	switch q := r.Body.(type) {
	case *kmsg.JoinGroupRequest:
		t.joinGroup(r.Token, r.Client, q)
	case *kmsg.SyncGroupRequest:
		t.syncGroup(r.Token, q)
	case *kmsg.HeartbeatRequest:
		a := kmsg.NewPtrHeartbeatResponse()
		a.ErrorCode = int16(t.heartbeat(q))
		t.answer(r.Token, a)
	case *kmsg.LeaveGroupRequest:
		t.answer(r.Token, t.leaveGroup(q))
	case *kmsg.OffsetCommitRequest:
		t.answer(r.Token, t.commit(q))
	case *kmsg.TxnOffsetCommitRequest:
		t.answer(r.Token, t.commitInTransaction(q))
	case *kmsg.OffsetDeleteRequest:
		t.answer(r.Token, t.deleteOffsets(q))
	case *kmsg.DeleteGroupsRequest:
		t.answer(r.Token, t.deleteGroups(q))
	case *kmsg.OffsetFetchRequest:
		a := kmsg.NewPtrOffsetFetchResponse()
		for i := range q.Groups {
			a.Groups = append(a.Groups, t.FetchOffsets(&q.Groups[i], q.RequireStable))
		}
		t.answer(r.Token, a)
	default:
		panic(fmt.Sprintf("group: a request of type %T", q))
	}
}

func (t *step) answer(token Token, r kmsg.Response) {
	t.out.Answers = append(t.out.Answers, Answer{token, r})
}

// edit is the group as this step may change it, or nil.
func (t *step) edit(id string) *group {
	g, ok := t.groups.Get(id)
	if !ok {
		return nil
	}
	g = g.copied()
	t.groups.Set(id, g)
	return g
}

// write adds a record to the batch; its offset is the next one.
func (t *step) write(r Record) {
	t.out.Records = append(t.out.Records, r)
	t.end++
}

// save writes what a group is now.
func (t *step) save(g *group) { t.write(g.record()) }

func (t *step) setTimer(kind TimerKind, g *group, member string, afterMs int32) {
	// At least 1: 0 would stop the timer.
	at := max(t.env.NowMs+int64(afterMs), 1)
	t.out.Timers = append(t.out.Timers, TimerChange{Timer{kind, g.id, member}, at})
}

func (t *step) stopTimer(kind TimerKind, g *group, member string) {
	t.out.Timers = append(t.out.Timers, TimerChange{Timer{kind, g.id, member}, 0})
}

// session begins a member's session anew.
func (t *step) session(g *group, m *member) {
	t.setTimer(SessionTimer, g, m.id, m.sessionTimeoutMs)
}

// validate checks that a request comes from a member: by its instance id where
// it has one, which another process may have taken over (KIP-345).
func (g *group) validate(memberID string, instance *string) errors.Code {
	if instance != nil {
		switch id, ok := g.static.Get(*instance); {
		case !ok:
			return errors.UnknownMemberID
		case id != memberID:
			return errors.FencedInstanceID
		}
	}
	if g.member(memberID) == nil {
		return errors.UnknownMemberID
	}
	return errors.None
}

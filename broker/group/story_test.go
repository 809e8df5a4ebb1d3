package group

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// The stories in testdata/stories show what clients are answered, what is written
// and which timers are set. A member id is shown as its client (or instance) id
// and the number of the draw: c#1.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		w := newWorld(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w.t = t
			out := play(w, d)
			w.check()
			return out
		})
	})
}

var drawn = regexp.MustCompile(`-00000000-0000-4000-8000-0*([0-9a-f]+)`)

// short and long turn member ids into what stories show and back.
func short(s string) string { return drawn.ReplaceAllString(s, "#$1") }

func long(s string) string {
	name, number, ok := strings.Cut(s, "#")
	if !ok {
		return s
	}
	n, err := strconv.ParseUint(number, 16, 64)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("%s-00000000-0000-4000-8000-%012x", name, n)
}

// args are the arguments of a line, with defaults.
type args struct{ d *datadriven.TestData }

func (a args) text(key, otherwise string) string {
	if arg, ok := a.d.Arg(key); ok {
		return long(strings.Join(arg.Vals, ","))
	}
	return otherwise
}

func (a args) number(key string, otherwise int64) int64 {
	if arg, ok := a.d.Arg(key); ok {
		n, err := strconv.ParseInt(arg.Vals[0], 10, 64)
		if err != nil {
			panic(err)
		}
		return n
	}
	return otherwise
}

func (a args) instance() *string {
	if i := a.text("instance", ""); i != "" {
		return &i
	}
	return nil
}

func play(w *world, d *datadriven.TestData) string {
	a := args{d}
	group := a.text("group", "g")
	var all []Effects
	send := func(q kmsg.Request) {
		_, out := w.request(a.text("client", "c"), q)
		all = append(all, out)
	}
	switch d.Cmd {
	case "config":
		w.config.MaxSize = int(a.number("max", int64(w.config.MaxSize)))
		w.config.InitialRebalanceDelayMs = int32(a.number("delay", int64(w.config.InitialRebalanceDelayMs)))
	case "join":
		send(joinOf(a, group))
	case "sync":
		q := kmsg.NewPtrSyncGroupRequest()
		q.Group, q.MemberID, q.InstanceID, q.Generation = group, a.text("member", ""), a.instance(), int32(a.number("generation", 1))
		if arg, ok := d.Arg("assign"); ok {
			for _, id := range arg.Vals {
				q.GroupAssignment = append(q.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: long(id), MemberAssignment: []byte("for " + id)})
			}
		}
		send(q)
	case "heartbeat":
		q := kmsg.NewPtrHeartbeatRequest()
		q.Group, q.MemberID, q.InstanceID, q.Generation = group, a.text("member", ""), a.instance(), int32(a.number("generation", 1))
		send(q)
	case "leave":
		q := kmsg.NewPtrLeaveGroupRequest()
		q.Group, q.Version = group, int16(a.number("version", 5))
		q.MemberID = a.text("member", "")
		q.Members = []kmsg.LeaveGroupRequestMember{{MemberID: q.MemberID, InstanceID: a.instance()}}
		send(q)
	case "commit":
		q := kmsg.NewPtrOffsetCommitRequest()
		q.Group, q.MemberID, q.InstanceID, q.Generation = group, a.text("member", ""), a.instance(), int32(a.number("generation", -1))
		q.Version, q.RetentionTimeMillis = int16(a.number("version", 9)), a.number("retention", -1)
		metadata := a.text("metadata", "")
		if n := a.number("long", 0); n > 0 {
			metadata = strings.Repeat("\U0001F600", int(n))
		}
		q.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: a.text("topic", "t"), Partitions: []kmsg.OffsetCommitRequestTopicPartition{
			{Partition: int32(a.number("partition", 0)), Offset: a.number("offset", 0), LeaderEpoch: 3, Metadata: &metadata}}}}
		send(q)
	case "txn-commit":
		q := kmsg.NewPtrTxnOffsetCommitRequest()
		q.Group, q.Version, q.ProducerID = group, 2, a.number("producer", 1)
		q.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: a.text("topic", "t"), Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{
			{Partition: int32(a.number("partition", 0)), Offset: a.number("offset", 0), LeaderEpoch: -1}}}}
		send(q)
	case "end":
		all = append(all, w.step(Ended{kafka.ProducerID(a.number("producer", 1)), a.text("commit", "true") == "true"}))
	case "fetch":
		return showFetch(w.state.FetchOffsets(&kmsg.OffsetFetchRequestGroup{Group: group}, a.text("stable", "true") == "true"))
	case "delete-offset":
		q := kmsg.NewPtrOffsetDeleteRequest()
		q.Group = group
		q.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: a.text("topic", "t"), Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{}}}}
		send(q)
	case "delete":
		send(&kmsg.DeleteGroupsRequest{Groups: []string{group}})
	case "describe":
		return showDescribed(w.state.Describe(6, group))
	case "list":
		return showListed(w.state.List(splitArg(d, "states"), splitArg(d, "types")))
	case "expire":
		all = append(all, w.step(Expire{Limit: 1000}))
	case "failover":
		w.state = w.replayed()
		clear(w.parked)
		clear(w.timers)
		all = append(all, w.step(Loaded{}))
	case "advance":
		all = w.advance(a.number("ms", 0))
	default:
		d.Fatalf(w.t, "unknown command %s", d.Cmd)
	}
	return showEffects(w, all)
}

func splitArg(d *datadriven.TestData, key string) []string {
	if arg, ok := d.Arg(key); ok {
		return arg.Vals
	}
	return nil
}

func joinOf(a args, group string) *kmsg.JoinGroupRequest {
	q := kmsg.NewPtrJoinGroupRequest()
	q.Group, q.MemberID, q.InstanceID = group, a.text("member", ""), a.instance()
	q.Version = int16(a.number("version", 9))
	q.SessionTimeoutMillis, q.RebalanceTimeoutMillis = int32(a.number("session", 10_000)), int32(a.number("rebalance", 60_000))
	q.ProtocolType = a.text("type", consumerType)
	topics := strings.Split(a.text("topics", "t"), ",")
	for _, name := range strings.Split(a.text("protocols", "range"), ",") {
		q.Protocols = append(q.Protocols, kmsg.JoinGroupRequestProtocol{Name: name, Metadata: subscription(topics...)})
	}
	return q
}

func showEffects(w *world, all []Effects) string {
	var b strings.Builder
	for _, e := range all {
		for _, r := range e.Records {
			fmt.Fprintf(&b, "write %s\n", showRecord(r))
		}
		for _, a := range e.Answers {
			fmt.Fprintf(&b, "answer %d: %s\n", a.Token, showAnswer(a.Response))
		}
		for _, t := range e.Timers {
			kind := [...]string{"session", "join", "sync"}[t.Timer.Kind]
			if t.AtMs == 0 {
				fmt.Fprintf(&b, "stop %s %s\n", kind, t.Timer.Member)
			} else {
				fmt.Fprintf(&b, "at %d %s %s\n", t.AtMs, kind, t.Timer.Member)
			}
		}
	}
	if b.Len() == 0 {
		return "-\n"
	}
	lines := strings.Split(short(b.String()), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func brief(metadata string) string {
	if len(metadata) > 100 {
		return fmt.Sprintf("(%d bytes)", len(metadata))
	}
	return strconv.Quote(metadata)
}

func showRecord(r Record) string {
	switch {
	case r.Key[1] == keyOffset && r.Value == nil:
		return fmt.Sprintf("no offset of %v", parseOffsetKey(string(r.Key)))
	case r.Key[1] == keyOffset:
		c, err := parseCommitted(r.Value, 0)
		if err != nil {
			panic(err)
		}
		return fmt.Sprintf("v%d offset of %v: %d epoch %d %s expires %d", r.Value[1], parseOffsetKey(string(r.Key)), c.Offset, c.LeaderEpoch, brief(c.Metadata), c.ExpireMs)
	case r.Value == nil:
		return fmt.Sprintf("no group %s", r.Key[4:])
	}
	g, err := parseGroup(string(r.Key[4:]), r.Value)
	if err != nil {
		panic(err)
	}
	var members []string
	for _, m := range g.all() {
		members = append(members, fmt.Sprintf("%s %q", m.id, m.assignment))
	}
	return fmt.Sprintf("v%d group %s: type %q protocol %q generation %d leader %q since %d members %v", r.Value[1], g.id, g.protocolType, text(g.protocol), g.generation, g.leader, g.sinceMs, members)
}

func showAnswer(r kmsg.Response) string {
	switch r := r.(type) {
	case *kmsg.JoinGroupResponse:
		if r.ErrorCode != 0 {
			return fmt.Sprintf("%v as %q", errors.Code(r.ErrorCode), r.MemberID)
		}
		var members []string
		for _, m := range r.Members {
			members = append(members, m.MemberID)
		}
		return fmt.Sprintf("joined as %s generation %d %s %s leader %s members %v skip %v", r.MemberID, r.Generation, *r.ProtocolType, *r.Protocol, r.LeaderID, members, r.SkipAssignment)
	case *kmsg.SyncGroupResponse:
		if r.ErrorCode != 0 {
			return errors.Code(r.ErrorCode).String()
		}
		return fmt.Sprintf("synced %q", r.MemberAssignment)
	case *kmsg.HeartbeatResponse:
		return errors.Code(r.ErrorCode).String()
	case *kmsg.LeaveGroupResponse:
		s := errors.Code(r.ErrorCode).String()
		for _, m := range r.Members {
			s += fmt.Sprintf(" %s %v", m.MemberID, errors.Code(m.ErrorCode))
		}
		return s
	case *kmsg.OffsetCommitResponse:
		return errors.Code(r.Topics[0].Partitions[0].ErrorCode).String()
	case *kmsg.TxnOffsetCommitResponse:
		return errors.Code(r.Topics[0].Partitions[0].ErrorCode).String()
	case *kmsg.OffsetDeleteResponse:
		if r.ErrorCode != 0 {
			return errors.Code(r.ErrorCode).String()
		}
		return "partition " + errors.Code(r.Topics[0].Partitions[0].ErrorCode).String()
	case *kmsg.DeleteGroupsResponse:
		return errors.Code(r.Groups[0].ErrorCode).String()
	}
	return fmt.Sprintf("%+v", r)
}

func showFetch(g kmsg.OffsetFetchResponseGroup) string {
	var b strings.Builder
	for _, t := range g.Topics {
		for _, p := range t.Partitions {
			fmt.Fprintf(&b, "%s-%d: %d epoch %d %s %v\n", t.Topic, p.Partition, p.Offset, p.LeaderEpoch, brief(*p.Metadata), errors.Code(p.ErrorCode))
		}
	}
	return b.String() + errors.Code(g.ErrorCode).String() + "\n"
}

func showDescribed(g kmsg.DescribeGroupsResponseGroup) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s type %q protocol %q %v\n", g.State, g.ProtocolType, g.Protocol, errors.Code(g.ErrorCode))
	for _, m := range g.Members {
		fmt.Fprintf(&b, "  %s %s %s %d bytes %q\n", m.MemberID, m.ClientID, m.ClientHost, len(m.ProtocolMetadata), m.MemberAssignment)
	}
	return short(b.String())
}

func showListed(groups []kmsg.ListGroupsResponseGroup) string {
	var b strings.Builder
	for _, g := range groups {
		fmt.Fprintf(&b, "%s %q %s %s\n", g.Group, g.ProtocolType, g.GroupState, g.GroupType)
	}
	return b.String() + "-\n"
}

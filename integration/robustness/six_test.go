package robustness

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/integration/cluster"
	"kvorum/integration/network"
	"kvorum/integration/peer"
)

const (
	sixControllers = 3
	sixBrokers     = 3
	sixNodes       = sixControllers + sixBrokers
)

// six is three controllers and three brokers, each a process in a network namespace
// of its own: hosts 0 to 2 and 3 to 5.
type six struct {
	t       *testing.T
	ctx     context.Context
	network *network.Network
	nodes   []*cluster.Node
	load    *nodeLoad
	random  *rand.Rand
	began   time.Time
	story   []chapter
}

// startSix starts the nodes and the clients, and waits until they work.
func startSix(t *testing.T) *six {
	t.Helper()
	return startSixOf(t, "", nil, nil)
}

// startSixOf starts nodes that run a binary ("" for this tree's), each under a command
// of its own (nil for none), with more properties.
func startSixOf(t *testing.T, binary string, under func(host int) []string, more map[string]string) *six {
	t.Helper()
	s := &six{t: t, ctx: t.Context(), network: network.New(t, sixNodes), random: rand.New(rand.NewPCG(uint64(number(t, "KVORUM_SEED", 1)), 4))}
	var places []cluster.Place
	for host := range sixNodes {
		wrap := s.network.Wrap(host)
		if under != nil {
			wrap = append(wrap, under(host)...)
		}
		places = append(places, cluster.Place{Host: s.network.Address(host), Wrap: wrap})
	}
	// Sessions are short: pauses and partitions are to outlast some, and not to take all
	// the time.
	timing := map[string]string{"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "300"}
	maps.Copy(timing, more)
	q := cluster.StartKvorum(s.ctx, t, cluster.Options{Size: sixControllers, Binary: binary, Properties: timing, Places: places})
	for _, c := range q.Controllers {
		s.nodes = append(s.nodes, c.(*cluster.Node))
	}
	brokers := q.StartKvorumBrokers(s.ctx, t, sixBrokers, timing)
	s.nodes = append(s.nodes, brokers...)
	var bootstrap []string
	for _, b := range brokers {
		bootstrap = append(bootstrap, b.Client)
	}
	min := "2"
	s.load = startNodeLoad(s.ctx, t, map[string]*string{"min.insync.replicas": &min}, bootstrap...)
	s.load.untilAfter(t, time.Now())
	s.began = time.Now()
	return s
}

// awaitInSync waits until every broker says that every replica is in every ISR, of the
// leader that the others name, too: one that was cut off knows nothing of its successors
// for a moment, and answers from the past, as any of Kafka's does.
func (s *six) awaitInSync() {
	s.t.Helper()
	deadline := time.Now().Add(recovery)
	for {
		var views []string
		for _, address := range s.load.bootstrap {
			views = append(views, inSync(s.ctx, address))
		}
		if len(slices.Compact(slices.Clone(views))) == 1 && !strings.HasPrefix(views[0], notInSync) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("not in sync after %v: %s\n%s", recovery, strings.Join(views, "; "), s.report())
		}
		time.Sleep(20 * time.Millisecond) // between two questions
	}
}

const notInSync = "not in sync: "

// inSync is who leads what, as one broker says, or what is missing there.
func inSync(ctx context.Context, address string) (view string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := peer.Ask(ctx, address, func(ctx context.Context, b *kgo.Broker) error {
		req := kmsg.NewPtrMetadataRequest()
		for _, name := range []string{recordsTopic, "__consumer_offsets"} {
			topic := kmsg.NewMetadataRequestTopic()
			topic.Topic = kmsg.StringPtr(name)
			req.Topics = append(req.Topics, topic)
		}
		resp, err := req.RequestWith(ctx, b)
		if err != nil {
			return err
		}
		for _, t := range resp.Topics {
			slices.SortFunc(t.Partitions, func(a, b kmsg.MetadataResponseTopicPartition) int { return cmp.Compare(a.Partition, b.Partition) })
			for _, p := range t.Partitions {
				if p.Leader < 0 || len(p.ISR) != sixBrokers {
					return fmt.Errorf("%s-%d has leader %d and ISR %v", *t.Topic, p.Partition, p.Leader, p.ISR)
				}
				view += fmt.Sprintf("%s-%d %d/%d ", *t.Topic, p.Partition, p.Leader, p.LeaderEpoch)
			}
		}
		return nil
	})
	if err != nil {
		return notInSync + address + " " + err.Error()
	}
	return view
}

// validate ends the traffic and compares what the clients were told with what the
// cluster has, and the replicas with each other.
func (s *six) validate() {
	s.t.Helper()
	s.load.untilAfter(s.t, time.Now())
	s.load.finish()
	s.awaitInSync()
	s.load.check(s.ctx, s.t)
	var dirs []string
	for _, b := range s.nodes[sixControllers:] {
		dirs = append(dirs, b.DataDir())
	}
	total := cluster.SameBytes(s.ctx, s.t, dirs, recordsTopic, partitions)
	s.t.Logf("%s%d bytes are equal on all replicas", s.report(), total)
}

// chapter is one fault in the report.
type chapter struct {
	kind, what string
	at         time.Duration // since the traffic began
	lasted     time.Duration
	gap        time.Duration // the longest in which no producer was acknowledged anything
	again      time.Duration // from its end to an acknowledged record and commit that began after it
}

// tell lets a fault happen, which ends when do returns, waits until the clients are
// served again, and writes it down.
func (s *six) tell(kind, what string, do func()) {
	s.t.Helper()
	s.load.refused.takeGap()
	began := time.Now()
	do()
	ended := time.Now()
	c := chapter{kind: kind, what: what, at: began.Sub(s.began), lasted: ended.Sub(began), again: -1}
	s.story = append(s.story, c)
	if waited := s.load.waitAfter(ended); waited < 0 {
		s.t.Fatalf("no record and commit were acknowledged within %v\n%s\nthe brokers say\n%s", recovery, s.report(), s.load.views(s.ctx))
	} else {
		s.story[len(s.story)-1].again, s.story[len(s.story)-1].gap = waited, s.load.refused.takeGap()
	}
	for _, n := range s.nodes {
		if !n.Running() {
			s.t.Fatalf("%s died\n%s", n, s.report())
		}
	}
}

// report is the timeline of the faults, and what they cost, as text.
func (s *six) report() string {
	var out strings.Builder
	fmt.Fprintf(&out, "seed %d\n%9s  %-8s %9s %9s %9s  %s\n", number(s.t, "KVORUM_SEED", 1), "at", "fault", "lasted", "gap", "again", "what")
	byKind := map[string][]chapter{}
	for _, c := range s.story {
		fmt.Fprintf(&out, "%9s  %-8s %9s %9s %9s  %s\n", ms(c.at), c.kind, ms(c.lasted), ms(c.gap), ms(c.again), c.what)
		byKind[c.kind] = append(byKind[c.kind], c)
	}
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		all := byKind[kind]
		middle := func(by func(c chapter) time.Duration) string {
			slices.SortFunc(all, func(a, b chapter) int { return cmp.Compare(by(a), by(b)) })
			return fmt.Sprintf("%s, worst %s", ms(by(all[len(all)/2])), ms(by(all[len(all)-1])))
		}
		fmt.Fprintf(&out, "%d × %s: nothing acknowledged for %s; served again %s after its end\n", len(all), kind,
			middle(func(c chapter) time.Duration { return c.gap }), middle(func(c chapter) time.Duration { return c.again }))
	}
	_, _, records := s.load.history.Counts()
	polled, committed := s.load.group.Counts()
	s.load.refused.Lock()
	defer s.load.refused.Unlock()
	fmt.Fprintf(&out, "%d records acknowledged, %d polled, %d committed; %d writes failed\n", records, polled, committed, len(s.load.refused.errors))
	return out.String()
}

func ms(d time.Duration) string { return d.Round(time.Millisecond).String() }

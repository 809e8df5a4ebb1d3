package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Move is one partition's replicas before and after. The first replica is the
// preferred leader.
type Move struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	From      []int32 `json:"from"`
	To        []int32 `json:"to"`
	// Bytes is what each new replica has to fetch, -1 if it is not known.
	Bytes int64 `json:"bytes"`
}

// PlanFile is the file of Apache's kafka-reassign-partitions.
type PlanFile struct {
	Version    int             `json:"version"`
	Partitions []PlanPartition `json:"partitions"`
}

// PlanPartition is one partition of a PlanFile. LogDirs is written by Apache's
// tool; only "any" can be obeyed here.
type PlanPartition struct {
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
	Replicas  []int32  `json:"replicas"`
	LogDirs   []string `json:"log_dirs,omitempty"`
}

// ParsePlan reads a plan file.
func ParsePlan(text []byte) (map[string]map[int32][]int32, error) {
	var file PlanFile
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	if file.Version != 1 || len(file.Partitions) == 0 {
		return nil, fmt.Errorf("the plan has version %d and %d partitions: want {\"version\":1,\"partitions\":[{\"topic\":...,\"partition\":...,\"replicas\":[...]}]}", file.Version, len(file.Partitions))
	}
	plan := map[string]map[int32][]int32{}
	for _, p := range file.Partitions {
		switch {
		case p.Topic == "" || len(p.Replicas) == 0:
			return nil, fmt.Errorf("the plan has a partition without topic or replicas: %+v", p)
		case slices.ContainsFunc(p.LogDirs, func(d string) bool { return d != "any" }):
			return nil, fmt.Errorf("the plan moves %s-%d into a certain directory, which this command does not: use \"any\"", p.Topic, p.Partition)
		case plan[p.Topic][p.Partition] != nil:
			return nil, fmt.Errorf("the plan has %s-%d twice", p.Topic, p.Partition)
		}
		add(plan, p.Topic, p.Partition, p.Replicas)
	}
	return plan, nil
}

// ReassignmentOf is a plan file for moves, to their new replicas or back.
func ReassignmentOf(moves []Move, back bool) PlanFile {
	file := PlanFile{Version: 1, Partitions: []PlanPartition{}}
	for _, m := range moves {
		replicas := m.To
		if back {
			replicas = m.From
		}
		file.Partitions = append(file.Partitions, PlanPartition{Topic: m.Topic, Partition: m.Partition, Replicas: replicas})
	}
	return file
}

// PlanMoves says what the wanted replicas change. Partitions that have them
// already are left out.
func (c *Cluster) PlanMoves(ctx context.Context, wanted map[string]map[int32][]int32) ([]Move, error) {
	m, err := c.metadata(ctx)
	if err != nil {
		return nil, err
	}
	brokers := m.Brokers.NodeIDs()
	moves := []Move{}
	for _, topic := range slices.Sorted(maps.Keys(wanted)) {
		for _, id := range slices.Sorted(maps.Keys(wanted[topic])) {
			to := wanted[topic][id]
			p, ok := m.Topics[topic].Partitions[id]
			if !ok {
				return nil, fmt.Errorf("partition %s-%d does not exist", topic, id)
			}
			for _, b := range to {
				if !slices.Contains(brokers, b) {
					return nil, fmt.Errorf("move %s-%d: there is no live broker %d: `kvorum cluster brokers` shows those there are", topic, id, b)
				}
			}
			if !slices.Equal(p.Replicas, to) {
				moves = append(moves, Move{Topic: topic, Partition: id, From: p.Replicas, To: to, Bytes: -1})
			}
		}
	}
	return moves, c.sizes(ctx, moves)
}

// sizes fills in what a partition's largest replica takes.
func (c *Cluster) sizes(ctx context.Context, moves []Move) error {
	if len(moves) == 0 {
		return nil
	}
	ctx, cancel := c.within(ctx)
	defer cancel()
	all, err := c.admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return fmt.Errorf("describe the log directories: %w", err)
	}
	all.Each(func(d kadm.DescribedLogDir) {
		for i := range moves {
			if p, ok := d.Topics.Lookup(moves[i].Topic, moves[i].Partition); ok {
				moves[i].Bytes = max(moves[i].Bytes, p.Size)
			}
		}
	})
	return nil
}

// Balance wants the replicas of topics spread evenly over brokers, each partition
// with as many as it has, with as few moves as a replica by replica exchange
// finds: from the fullest broker to the emptiest, until none differs by more than
// one; then the preferred leaders in the same way, by reordering replicas.
func (c *Cluster) Balance(ctx context.Context, topics []string, brokers []int32) (map[string]map[int32][]int32, error) {
	m, err := c.metadata(ctx)
	if err != nil {
		return nil, err
	}
	if len(brokers) == 0 {
		brokers = m.Brokers.NodeIDs()
	}
	slices.Sort(brokers)
	var all []*placed
	for _, t := range m.Topics.Sorted() {
		if len(topics) > 0 && !slices.Contains(topics, t.Topic) {
			continue
		}
		for _, p := range t.Partitions.Sorted() {
			if len(p.Replicas) > len(brokers) {
				return nil, fmt.Errorf("%s-%d has %d replicas, more than the %d brokers", t.Topic, p.Partition, len(p.Replicas), len(brokers))
			}
			all = append(all, &placed{t.Topic, p.Partition, slices.Clone(p.Replicas)})
		}
	}
	spread(all, brokers)
	lead(all, brokers)
	wanted := map[string]map[int32][]int32{}
	for _, p := range all {
		add(wanted, p.topic, p.partition, p.replicas)
	}
	return wanted, nil
}

// placed is a partition that is being balanced.
type placed struct {
	topic     string
	partition int32
	replicas  []int32
}

// spread moves replicas until all are on the brokers and none has two more than
// another one could have less. Each step lowers the sum of squares of the counts
// or takes a replica off a broker that is to be empty, so that it ends.
func spread(all []*placed, brokers []int32) {
	count := map[int32]int{}
	for _, p := range all {
		for _, r := range p.replicas {
			count[r]++
		}
	}
	emptiest := func(p *placed) (int32, bool) {
		best, found := int32(0), false
		for _, b := range brokers {
			if !slices.Contains(p.replicas, b) && (!found || count[b] < count[best]) {
				best, found = b, true
			}
		}
		return best, found
	}
	for changed := true; changed; {
		changed = false
		for _, p := range all {
			for i, r := range p.replicas {
				to, ok := emptiest(p)
				if ok && (!slices.Contains(brokers, r) || count[r] > count[to]+1) {
					p.replicas[i] = to
					count[r]--
					count[to]++
					changed = true
				}
			}
		}
	}
}

// lead puts another replica first where its broker is preferred for at least two
// partitions less.
func lead(all []*placed, brokers []int32) {
	first := map[int32]int{}
	for _, p := range all {
		first[p.replicas[0]]++
	}
	for changed := true; changed; {
		changed = false
		for _, p := range all {
			for i, r := range p.replicas {
				if now := p.replicas[0]; first[now] > first[r]+1 {
					p.replicas[0], p.replicas[i] = r, now
					first[now]--
					first[r]++
					changed = true
				}
			}
		}
	}
}

// Move starts the moves; they go on when it has returned. bytesPerSecond limits
// what a broker gives and takes for them (leader and follower throttles); 0 is no
// limit. The throttle stays until Unthrottle.
func (c *Cluster) Move(ctx context.Context, moves []Move, bytesPerSecond int64) error {
	if bytesPerSecond > 0 {
		if err := c.throttle(ctx, moves, bytesPerSecond); err != nil {
			return err
		}
	}
	var req kadm.AlterPartitionAssignmentsReq
	for _, m := range moves {
		req.Assign(m.Topic, m.Partition, m.To)
	}
	return c.reassign(ctx, req)
}

func (c *Cluster) reassign(ctx context.Context, req kadm.AlterPartitionAssignmentsReq) error {
	ctx, cancel := c.within(ctx)
	defer cancel()
	answers, err := c.admin.AlterPartitionAssignments(ctx, req)
	if err != nil {
		return fmt.Errorf("reassign partitions: %w", err)
	}
	var all []error
	for _, r := range answers.Sorted() {
		if r.Err != nil {
			all = append(all, fmt.Errorf("reassign %s-%d: %w: %s", r.Topic, r.Partition, r.Err, r.ErrMessage))
		}
	}
	return errors.Join(all...)
}

// The keys of a throttle, as Apache's tool sets and removes them.
const (
	leaderReplicas   = "leader.replication.throttled.replicas"
	followerReplicas = "follower.replication.throttled.replicas"
	leaderRate       = "leader.replication.throttled.rate"
	followerRate     = "follower.replication.throttled.rate"
)

// throttle limits the old replicas of each partition as they are read and the new
// ones as they fetch.
func (c *Cluster) throttle(ctx context.Context, moves []Move, bytesPerSecond int64) error {
	sources, targets, involved := map[string][]string{}, map[string][]string{}, map[int32]bool{}
	for _, m := range moves {
		for _, r := range m.From {
			sources[m.Topic] = append(sources[m.Topic], fmt.Sprintf("%d:%d", m.Partition, r))
			involved[r] = true
		}
		for _, r := range m.To {
			involved[r] = true
			if !slices.Contains(m.From, r) {
				targets[m.Topic] = append(targets[m.Topic], fmt.Sprintf("%d:%d", m.Partition, r))
			}
		}
	}
	for topic := range sources {
		changes := []kadm.AlterConfig{
			{Op: kadm.SetConfig, Name: leaderReplicas, Value: kadm.StringPtr(strings.Join(sources[topic], ","))},
			{Op: kadm.SetConfig, Name: followerReplicas, Value: kadm.StringPtr(strings.Join(targets[topic], ","))},
		}
		if err := c.alterTopic(ctx, topic, changes); err != nil {
			return err
		}
	}
	rate := strconv.FormatInt(bytesPerSecond, 10)
	for _, b := range slices.Sorted(maps.Keys(involved)) {
		if err := c.AlterBrokerConfigs(ctx, b, map[string]string{leaderRate: rate, followerRate: rate}, nil, false); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) alterTopic(ctx context.Context, topic string, changes []kadm.AlterConfig) error {
	ctx, cancel := c.within(ctx)
	defer cancel()
	answers, err := c.admin.AlterTopicConfigs(ctx, changes, topic)
	if err != nil {
		return fmt.Errorf("alter the configs of topic %s: %w", topic, err)
	}
	for _, a := range answers {
		if a.Err != nil {
			return fmt.Errorf("alter the configs of topic %s: %w: %s", topic, a.Err, a.ErrMessage)
		}
	}
	return nil
}

// Unthrottle removes the throttles of topics and of all live brokers.
func (c *Cluster) Unthrottle(ctx context.Context, topics []string) error {
	for _, topic := range topics {
		err := c.alterTopic(ctx, topic, []kadm.AlterConfig{{Op: kadm.DeleteConfig, Name: leaderReplicas}, {Op: kadm.DeleteConfig, Name: followerReplicas}})
		if err != nil {
			return err
		}
	}
	m, err := c.metadata(ctx)
	if err != nil {
		return err
	}
	for _, b := range m.Brokers.NodeIDs() {
		if err := c.AlterBrokerConfigs(ctx, b, nil, []string{leaderRate, followerRate}, false); err != nil {
			return err
		}
	}
	return nil
}

// Moving is a partition that is being moved.
type Moving struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	Replicas  []int32 `json:"replicas"`
	Adding    []int32 `json:"adding"`
	Removing  []int32 `json:"removing"`
	// CaughtUp are the added replicas that are in sync.
	CaughtUp []int32 `json:"caught_up"`
}

// Moves lists the moves under way.
func (c *Cluster) Moves(ctx context.Context) ([]Moving, error) {
	within, cancel := c.within(ctx)
	defer cancel()
	answers, err := c.admin.ListPartitionReassignments(within, nil)
	if err != nil {
		return nil, fmt.Errorf("list the reassignments: %w", err)
	}
	moving := []Moving{}
	if len(answers) == 0 {
		return moving, nil
	}
	m, err := c.metadata(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range answers.Sorted() {
		one := Moving{Topic: r.Topic, Partition: r.Partition, Replicas: r.Replicas, Adding: r.AddingReplicas, Removing: r.RemovingReplicas, CaughtUp: []int32{}}
		for _, id := range m.Topics[r.Topic].Partitions[r.Partition].ISR {
			if slices.Contains(r.AddingReplicas, id) {
				one.CaughtUp = append(one.CaughtUp, id)
			}
		}
		moving = append(moving, one)
	}
	return moving, nil
}

// CancelMoves takes moves back; the partitions keep the replicas they had.
func (c *Cluster) CancelMoves(ctx context.Context, moving []Moving) error {
	var req kadm.AlterPartitionAssignmentsReq
	for _, m := range moving {
		req.CancelAssign(m.Topic, m.Partition)
	}
	return c.reassign(ctx, req)
}

// Election is the leader of a partition before and who is to lead it.
type Election struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Leader    int32  `json:"leader"` // -1: none
	Preferred int32  `json:"preferred"`
}

// PlanElect finds partitions that an election would change: those that are not led
// by their preferred replica though it is in sync, or with unclean those without a
// leader.
func (c *Cluster) PlanElect(ctx context.Context, topics []string, unclean bool) ([]Election, error) {
	m, err := c.metadata(ctx)
	if err != nil {
		return nil, err
	}
	plan := []Election{}
	m.Topics.EachPartition(func(p kadm.PartitionDetail) {
		if len(topics) > 0 && !slices.Contains(topics, p.Topic) || len(p.Replicas) == 0 {
			return
		}
		preferred := p.Replicas[0]
		if unclean && p.Leader < 0 || !unclean && p.Leader != preferred && slices.Contains(p.ISR, preferred) {
			plan = append(plan, Election{p.Topic, p.Partition, p.Leader, preferred})
		}
	})
	slices.SortFunc(plan, func(a, b Election) int {
		if n := strings.Compare(a.Topic, b.Topic); n != 0 {
			return n
		}
		return int(a.Partition - b.Partition)
	})
	return plan, nil
}

// Elect holds the elections of a plan.
func (c *Cluster) Elect(ctx context.Context, plan []Election, unclean bool) error {
	how := kadm.ElectPreferredReplica
	if unclean {
		how = kadm.ElectLiveReplica
	}
	var set kadm.TopicsSet
	for _, e := range plan {
		set.Add(e.Topic, e.Partition)
	}
	ctx, cancel := c.within(ctx)
	defer cancel()
	answers, err := c.admin.ElectLeaders(ctx, how, set)
	if err != nil {
		return fmt.Errorf("elect leaders: %w", err)
	}
	var all []error
	for topic, partitions := range answers {
		for id, r := range partitions {
			if r.Err != nil {
				all = append(all, fmt.Errorf("elect a leader of %s-%d: %w: %s", topic, id, r.Err, r.ErrMessage))
			}
		}
	}
	return errors.Join(all...)
}

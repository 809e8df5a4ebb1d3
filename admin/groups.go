package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Group is what describe tells of a group.
type Group struct {
	Name        string        `json:"group"`
	Coordinator int32         `json:"coordinator"`
	State       string        `json:"state"`
	Type        string        `json:"protocol_type"`
	Assignor    string        `json:"assignor,omitempty"`
	Members     []GroupMember `json:"members"`
	Offsets     []GroupOffset `json:"offsets"`
	// TotalLag is of all partitions with a committed offset.
	TotalLag int64 `json:"total_lag"`
}

// GroupMember is one member of a group.
type GroupMember struct {
	ID         string `json:"member_id"`
	InstanceID string `json:"instance_id,omitempty"`
	ClientID   string `json:"client_id"`
	Host       string `json:"host"`
	// Partitions is how many are assigned to it.
	Partitions int `json:"partitions"`
}

// GroupOffset is how far a group is in one partition.
type GroupOffset struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"` // -1 if there is none
	Start     int64  `json:"start"`
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"` // -1 if it is not known
	Member    string `json:"member_id,omitempty"`
	ClientID  string `json:"client_id,omitempty"`
	Host      string `json:"host,omitempty"`
	Error     string `json:"error,omitempty"`
}

// ListedGroup is one group of a list.
type ListedGroup struct {
	Name        string `json:"group"`
	Coordinator int32  `json:"coordinator"`
	Type        string `json:"protocol_type"`
	State       string `json:"state"`
}

// ListGroups lists all groups, or those in one of the states. It asks every
// broker, and for the state, both of which kafka-go's ListGroups does not.
func (c *Cluster) ListGroups(ctx context.Context, states ...string) ([]ListedGroup, error) {
	ctx, cancel := c.within(ctx)
	defer cancel()
	groups, err := c.admin.ListGroups(ctx, states...)
	if err != nil {
		return nil, fmt.Errorf("list the groups: %w", err)
	}
	out := []ListedGroup{}
	for _, g := range groups.Sorted() {
		out = append(out, ListedGroup{g.Group, g.Coordinator, g.ProtocolType, g.State})
	}
	return out, nil
}

// stateDead is the state of a group that does not exist.
const stateDead = "Dead"

// DescribeGroups describes groups with their members and lag. A group that does
// not exist is an error.
func (c *Cluster) DescribeGroups(ctx context.Context, names ...string) ([]Group, error) {
	ctx, cancel := c.within(ctx)
	defer cancel()
	lags, err := c.admin.Lag(ctx, slices.Clone(names)...) // it puts them into another order
	if err != nil {
		return nil, fmt.Errorf("describe groups %s: %w", strings.Join(names, ", "), err)
	}
	groups := []Group{}
	for _, l := range lags.Sorted() {
		if err := groupError("describe", l.Group, l.Error()); err != nil {
			return nil, err
		}
		if l.State == stateDead {
			return nil, groupError("describe", l.Group, kerr.GroupIDNotFound)
		}
		groups = append(groups, groupOf(l))
	}
	return groups, nil
}

// groupError says what a group's error means for a person.
func groupError(verb, group string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.GroupIDNotFound):
		return fmt.Errorf("%s group %s: there is none of this name: `kvorum group list` shows those there are", verb, group)
	case errors.Is(err, kerr.NonEmptyGroup):
		return fmt.Errorf("%s group %s: it has members: stop them first", verb, group)
	}
	return fmt.Errorf("%s group %s: %w", verb, group, err)
}

func groupOf(l kadm.DescribedGroupLag) Group {
	g := Group{Name: l.Group, Coordinator: l.Coordinator.NodeID, State: l.State, Type: l.ProtocolType, Assignor: l.Protocol, Members: []GroupMember{}, Offsets: []GroupOffset{}}
	for _, m := range l.Members {
		member := GroupMember{ID: m.MemberID, ClientID: m.ClientID, Host: m.ClientHost}
		if m.InstanceID != nil {
			member.InstanceID = *m.InstanceID
		}
		if a, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range a.Topics {
				member.Partitions += len(t.Partitions)
			}
		}
		g.Members = append(g.Members, member)
	}
	for _, p := range l.Lag.Sorted() {
		o := GroupOffset{Topic: p.Topic, Partition: p.Partition, Committed: p.Commit.At, Start: p.Start.Offset, End: p.End.Offset, Lag: p.Lag}
		if p.Member != nil {
			o.Member, o.ClientID, o.Host = p.Member.MemberID, p.Member.ClientID, p.Member.ClientHost
		}
		if p.Err != nil {
			o.Error = p.Err.Error()
		}
		if o.Lag > 0 {
			g.TotalLag += o.Lag
		}
		g.Offsets = append(g.Offsets, o)
	}
	return g
}

// DeleteGroups deletes groups that have no members, with their offsets. The error
// joins those of all groups that failed.
func (c *Cluster) DeleteGroups(ctx context.Context, names ...string) error {
	ctx, cancel := c.within(ctx)
	defer cancel()
	answers, err := c.admin.DeleteGroups(ctx, slices.Clone(names)...)
	if err != nil {
		return fmt.Errorf("delete groups %s: %w", strings.Join(names, ", "), err)
	}
	var all []error
	for _, r := range answers.Sorted() {
		all = append(all, groupError("delete", r.Group, r.Err))
	}
	return errors.Join(all...)
}

// Seek is one partition's committed offset that is to change; Old and New are -1
// for none.
type Seek struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Old       int64  `json:"old"`
	New       int64  `json:"new"`
}

// SeekTo says where a group's offsets go: to a place, to another group's offsets,
// or to those that are listed.
type SeekTo struct {
	At     *OffsetAt
	Group  string
	Listed map[string]map[int32]int64
}

// PlanSeek says what a seek would commit. topics is nil for those the group has
// committed offsets of. A group with members is refused: they would go on from
// where they are and commit over it.
func (c *Cluster) PlanSeek(ctx context.Context, group string, topics []string, to SeekTo) ([]Seek, error) {
	within, cancel := c.within(ctx)
	defer cancel()
	described, err := c.admin.DescribeGroups(within, group)
	if err == nil {
		err = described.Error()
	}
	if err != nil {
		return nil, groupError("describe", group, err)
	}
	if n := len(described[group].Members); n > 0 {
		return nil, fmt.Errorf("group %s has %d members and is %s: stop them first, or they go on from where they are", group, n, described[group].State)
	}
	old, err := c.committed(ctx, group)
	if err != nil {
		return nil, err
	}
	target, err := c.targets(ctx, group, old, topics, to)
	if err != nil {
		return nil, err
	}
	plan := []Seek{}
	for topic, partitions := range target {
		if topics != nil && !slices.Contains(topics, topic) {
			continue
		}
		for p, offset := range partitions {
			s := Seek{Topic: topic, Partition: p, Old: -1, New: offset}
			if o, ok := old[topic][p]; ok {
				s.Old = o
			}
			plan = append(plan, s)
		}
	}
	slices.SortFunc(plan, func(a, b Seek) int {
		if n := strings.Compare(a.Topic, b.Topic); n != 0 {
			return n
		}
		return int(a.Partition - b.Partition)
	})
	return plan, nil
}

func (c *Cluster) targets(ctx context.Context, group string, old map[string]map[int32]int64, topics []string, to SeekTo) (map[string]map[int32]int64, error) {
	switch {
	case to.Listed != nil:
		return to.Listed, nil
	case to.Group != "":
		return c.committed(ctx, to.Group)
	}
	if topics == nil {
		for t := range old {
			topics = append(topics, t)
		}
	}
	if len(topics) == 0 {
		return nil, fmt.Errorf("group %s has no committed offsets: name the topics (--topics)", group)
	}
	if err := c.known(ctx, topics); err != nil {
		return nil, err
	}
	b, err := c.bounds(ctx, false, topics...)
	if err != nil {
		return nil, err
	}
	return c.resolve(ctx, b, *to.At)
}

func (c *Cluster) committed(ctx context.Context, group string) (map[string]map[int32]int64, error) {
	ctx, cancel := c.within(ctx)
	defer cancel()
	answers, err := c.admin.FetchOffsets(ctx, group)
	if err == nil {
		err = answers.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("fetch the offsets of group %s: %w", group, err)
	}
	found := map[string]map[int32]int64{}
	answers.Each(func(r kadm.OffsetResponse) { add(found, r.Topic, r.Partition, r.At) })
	return found, nil
}

// Seek commits what a plan says.
func (c *Cluster) Seek(ctx context.Context, group string, plan []Seek) error {
	var offsets kadm.Offsets
	for _, s := range plan {
		offsets.AddOffset(s.Topic, s.Partition, s.New, -1)
	}
	ctx, cancel := c.within(ctx)
	defer cancel()
	if err := c.admin.CommitAllOffsets(ctx, group, offsets); err != nil {
		return fmt.Errorf("commit offsets for group %s: %w", group, err)
	}
	return nil
}

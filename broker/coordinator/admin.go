package coordinator

import (
	"context"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/group"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// OffsetFetch reads committed offsets of one group (before v8) or of many. With
// RequireStable it waits until what was committed before it is committed, and
// tells of offsets in open transactions. The handler has put the name of each
// topic beside its id (v10).
func (g *Groups) OffsetFetch(ctx context.Context, c group.Client, q *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchResponse {
	a := kmsg.NewPtrOffsetFetchResponse()
	a.Version = q.Version
	if q.Version >= 8 {
		for i := range q.Groups {
			a.Groups = append(a.Groups, g.fetch(ctx, c, &q.Groups[i], q.RequireStable))
		}
		return a
	}
	one := kmsg.OffsetFetchRequestGroup{Group: q.Group}
	if q.Topics != nil {
		one.Topics = make([]kmsg.OffsetFetchRequestGroupTopic, 0, len(q.Topics))
	}
	for _, t := range q.Topics {
		one.Topics = append(one.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: t.Topic, Partitions: t.Partitions})
	}
	r := g.fetch(ctx, c, &one, q.RequireStable)
	a.ErrorCode = r.ErrorCode
	if r.ErrorCode != 0 && q.Version < 2 {
		r.Topics = failedTopics(one.Topics, r.ErrorCode) // there is no other place
	}
	for _, t := range r.Topics {
		topic := kmsg.OffsetFetchResponseTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			topic.Partitions = append(topic.Partitions, kmsg.OffsetFetchResponseTopicPartition{
				Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: p.Metadata, ErrorCode: p.ErrorCode,
			})
		}
		a.Topics = append(a.Topics, topic)
	}
	return a
}

func failedTopics(topics []kmsg.OffsetFetchRequestGroupTopic, code int16) []kmsg.OffsetFetchResponseGroupTopic {
	var failed []kmsg.OffsetFetchResponseGroupTopic
	for _, t := range topics {
		r := kmsg.OffsetFetchResponseGroupTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			none := ""
			r.Partitions = append(r.Partitions, kmsg.OffsetFetchResponseGroupTopicPartition{Partition: p, Offset: -1, LeaderEpoch: -1, Metadata: &none, ErrorCode: code})
		}
		failed = append(failed, r)
	}
	return failed
}

func (g *Groups) fetch(ctx context.Context, c group.Client, q *kmsg.OffsetFetchRequestGroup, stable bool) kmsg.OffsetFetchResponseGroup {
	a := kmsg.OffsetFetchResponseGroup{Group: q.Group}
	s, code := g.of(q.Group)
	if code == errors.None {
		body := &kmsg.OffsetFetchRequest{Version: 8, Groups: []kmsg.OffsetFetchRequestGroup{*q}, RequireStable: stable}
		return s.ask(ctx, &Request{body: body, client: c}).response.(*kmsg.OffsetFetchResponse).Groups[0]
	}
	a.ErrorCode = int16(code)
	return a
}

// DescribeGroups describes groups. AuthorizedOperations are the handler's.
func (g *Groups) DescribeGroups(ctx context.Context, q *kmsg.DescribeGroupsRequest) *kmsg.DescribeGroupsResponse {
	a := kmsg.NewPtrDescribeGroupsResponse()
	a.Version = q.Version
	for _, id := range q.Groups {
		s, code := g.of(id)
		var d kmsg.DescribeGroupsResponseGroup
		if code == errors.None {
			var found kmsg.DescribeGroupsResponseGroup
			if code = s.read(ctx, func(st *group.State) { found = st.Describe(q.Version, id) }); code == errors.None {
				d = found
			}
		}
		if code != errors.None {
			d = kmsg.NewDescribeGroupsResponseGroup()
			d.Group, d.ErrorCode = id, int16(code)
		}
		a.Groups = append(a.Groups, d)
	}
	return a
}

// ListGroups lists the groups of all partitions that this broker leads. One that
// is still loading makes the whole list fail with COORDINATOR_LOAD_IN_PROGRESS, so
// that nobody takes a part for the whole; one that has just been lost is passed by.
func (g *Groups) ListGroups(ctx context.Context, q *kmsg.ListGroupsRequest) *kmsg.ListGroupsResponse {
	a := kmsg.NewPtrListGroupsResponse()
	a.Version = q.Version
	a.Groups = []kmsg.ListGroupsResponseGroup{}
	for _, s := range g.all() {
		var found []kmsg.ListGroupsResponseGroup
		code := s.read(ctx, func(st *group.State) { found = st.List(q.StatesFilter, q.TypesFilter) })
		switch code {
		case errors.None:
			a.Groups = append(a.Groups, found...)
		case errors.NotCoordinator:
		default:
			a.Groups, a.ErrorCode = nil, int16(code)
			return a
		}
	}
	slices.SortFunc(a.Groups, func(x, y kmsg.ListGroupsResponseGroup) int { return strings.Compare(x.Group, y.Group) })
	return a
}

// Count counts the groups and offsets that are coordinated here; those of a partition
// that is still loading are not yet (as in Apache's GroupMetadataManager). False when
// ctx ended first.
func (g *Groups) Count(ctx context.Context) (group.Counts, bool) {
	counts := group.Counts{Kept: map[string]int{"consumer": 0, "share": 0, "streams": 0}}
	for _, s := range g.all() {
		code := s.read(ctx, func(st *group.State) { st.Count(&counts) })
		if code == errors.CoordinatorNotAvailable { // the loop may still count: what it counts into is let go
			return group.Counts{}, false
		}
	}
	return counts, true
}

// all are the shards in the order of their partitions.
func (g *Groups) all() []*shard {
	g.mu.RLock()
	defer g.mu.RUnlock()
	all := make([]*shard, 0, len(g.shards))
	for _, s := range g.shards {
		all = append(all, s)
	}
	slices.SortFunc(all, func(x, y *shard) int { return int(x.partition - y.partition) })
	return all
}

// DeleteGroups deletes groups without members, and their offsets. A group that is
// named twice is deleted once.
func (g *Groups) DeleteGroups(ctx context.Context, c group.Client, q *kmsg.DeleteGroupsRequest) *kmsg.DeleteGroupsResponse {
	a := kmsg.NewPtrDeleteGroupsResponse()
	a.Version = q.Version
	byPartition := map[kafka.PartitionID][]string{}
	seen := map[string]bool{}
	for _, id := range q.Groups {
		p, err := g.PartitionOf(id)
		switch {
		case seen[id]:
		case err != nil:
			a.Groups = append(a.Groups, kmsg.DeleteGroupsResponseGroup{Group: id, ErrorCode: int16(errors.CodeOf(err))})
		default:
			byPartition[p] = append(byPartition[p], id)
		}
		seen[id] = true
	}
	for _, ids := range byPartition {
		part := &kmsg.DeleteGroupsRequest{Version: q.Version, Groups: ids}
		a.Groups = append(a.Groups, g.ask(ctx, ids[0], c, part).(*kmsg.DeleteGroupsResponse).Groups...)
	}
	return a
}

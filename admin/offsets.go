package admin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
)

// bounds are the offsets of the partitions of some topics.
type bounds struct{ start, end kadm.ListedOffsets }

// bounds asks for the first and the end offset of every partition of the topics.
// committed ends them at the first transaction that is open (the last stable
// offset).
func (c *Cluster) bounds(ctx context.Context, committed bool, topics ...string) (bounds, error) {
	ctx, cancel := c.within(ctx)
	defer cancel()
	start, err := c.admin.ListStartOffsets(ctx, topics...)
	if err == nil {
		err = start.Error()
	}
	if err != nil {
		return bounds{}, fmt.Errorf("list the first offsets of %s: %w", strings.Join(topics, ", "), err)
	}
	ends := c.admin.ListEndOffsets
	if committed {
		ends = c.admin.ListCommittedOffsets
	}
	end, err := ends(ctx, topics...)
	if err == nil {
		err = end.Error()
	}
	if err != nil {
		return bounds{}, fmt.Errorf("list the end offsets of %s: %w", strings.Join(topics, ", "), err)
	}
	return bounds{start, end}, nil
}

// partitions are the partitions of a topic, in order.
func (b bounds) partitions(topic string) []int32 { return slices.Sorted(maps.Keys(b.start[topic])) }

// resolve turns a place into an offset of every partition within the bounds.
func (c *Cluster) resolve(ctx context.Context, b bounds, at OffsetAt) (map[string]map[int32]int64, error) {
	var timed kadm.ListedOffsets
	if at.from == fromTime {
		ctx, cancel := c.within(ctx)
		defer cancel()
		var err error
		// A timestamp after the last record's gives the end.
		timed, err = c.admin.ListOffsetsAfterMilli(ctx, at.n, slices.Sorted(maps.Keys(b.start))...)
		if err == nil {
			err = timed.Error()
		}
		if err != nil {
			return nil, fmt.Errorf("list the offsets at timestamp %d: %w", at.n, err)
		}
	}
	found := map[string]map[int32]int64{}
	b.start.Each(func(s kadm.ListedOffset) {
		first, end := s.Offset, b.end[s.Topic][s.Partition].Offset
		var offset int64
		switch at.from {
		case fromStart:
			offset = first + at.n
		case fromEnd:
			offset = end - at.n
		case fromZero:
			offset = at.n
		case fromTime:
			offset = timed[s.Topic][s.Partition].Offset
		}
		if found[s.Topic] == nil {
			found[s.Topic] = map[int32]int64{}
		}
		found[s.Topic][s.Partition] = max(first, min(offset, end))
	})
	return found, nil
}

// known says which of the named topics do not exist.
func (c *Cluster) known(ctx context.Context, topics []string) error {
	ctx, cancel := c.within(ctx)
	defer cancel()
	found, err := c.admin.ListTopics(ctx, topics...)
	if err != nil {
		return fmt.Errorf("look for topics: %w", err)
	}
	for _, t := range topics {
		if !found.Has(t) {
			return fmt.Errorf("topic %s does not exist: `kvorum topic list` shows those there are", t)
		}
	}
	return nil
}

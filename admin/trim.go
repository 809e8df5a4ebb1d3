package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Trimmed is one partition from whose beginning records are deleted.
type Trimmed struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Start is the first offset before, NewStart afterwards; End is that of the
	// partition.
	Start    int64 `json:"start"`
	NewStart int64 `json:"new_start"`
	End      int64 `json:"end"`
}

// PlanTrim says what DeleteRecords before a place would do to a topic. partitions
// is nil for all of them.
func (c *Cluster) PlanTrim(ctx context.Context, topic string, partitions []int32, before OffsetAt) ([]Trimmed, error) {
	if err := c.known(ctx, []string{topic}); err != nil {
		return nil, err
	}
	b, err := c.bounds(ctx, false, topic)
	if err != nil {
		return nil, err
	}
	offsets, err := c.resolve(ctx, b, before)
	if err != nil {
		return nil, err
	}
	if partitions == nil {
		partitions = b.partitions(topic)
	}
	plan := []Trimmed{}
	for _, p := range partitions {
		start, ok := b.start.Lookup(topic, p)
		if !ok {
			return nil, fmt.Errorf("topic %s has no partition %d", topic, p)
		}
		plan = append(plan, Trimmed{Topic: topic, Partition: p, Start: start.Offset, NewStart: offsets[topic][p], End: b.end[topic][p].Offset})
	}
	return plan, nil
}

// Trim deletes the records that a plan says. Its error joins those of all
// partitions that failed; NewStart becomes what the broker answered.
func (c *Cluster) Trim(ctx context.Context, plan []Trimmed) error {
	var offsets kadm.Offsets
	for _, t := range plan {
		offsets.AddOffset(t.Topic, t.Partition, t.NewStart, -1)
	}
	ctx, cancel := c.within(ctx)
	defer cancel()
	answers, err := c.admin.DeleteRecords(ctx, offsets)
	if err != nil {
		return fmt.Errorf("delete records: %w", err)
	}
	var all []error
	answers.Each(func(r kadm.DeleteRecordsResponse) {
		if r.Err != nil {
			all = append(all, fmt.Errorf("delete records of %s-%d: %w", r.Topic, r.Partition, r.Err))
			return
		}
		i := slices.IndexFunc(plan, func(t Trimmed) bool { return t.Topic == r.Topic && t.Partition == r.Partition })
		plan[i].NewStart = r.LowWatermark
	})
	return errors.Join(all...)
}

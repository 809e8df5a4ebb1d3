package admin

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Consume says which records are read.
//
// franz-go reads them: its one client follows many partitions, patterns and
// leaders, and knows what a record format may show (leader epoch, producer,
// attributes), where kafka-go's Reader has one partition and none of these.
type Consume struct {
	// Topics are names, or with Regex patterns that match a whole name.
	Topics []string
	Regex  bool
	// Partitions are those to read of every topic; nil is all.
	Partitions []int32
	// Span is what is read of each partition. In a group only its beginning counts,
	// for partitions without a committed offset.
	Span Span
	// Count is how many records are read; 0 is no limit.
	Count int
	// Group commits what was read, and shares partitions with its other members.
	Group string
	// ReadCommitted leaves out records of transactions that are open or aborted.
	ReadCommitted bool
	// Control shows control records too.
	Control bool
}

// errEnough ends a loop over records: everything that was asked for was read.
var errEnough = errors.New("enough")

// Consume calls each for the records, in order within a partition, until all that
// was asked for was read, ctx ends, which is no error, or each returns an error. It
// calls polled when there are no more for now; only what came before that is
// committed.
func (c *Cluster) Consume(ctx context.Context, o *Consume, each func(*kgo.FetchPartition, *kgo.Record) error, polled func() error) error {
	topics, err := c.consumed(ctx, o)
	if err != nil {
		return err
	}
	options := []kgo.Opt{kgo.KeepControlRecords()} // a marker may be the last record before the end
	if o.ReadCommitted {
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	r := &reading{Consume: o, cluster: c, each: each, polled: polled}
	if o.Group != "" {
		options = append(options, groupOptions(o)...)
	} else {
		from, err := r.plan(ctx, c, topics)
		if err != nil {
			return err
		}
		if r.bounded && len(r.ends) == 0 {
			return nil // there is nothing between the bounds
		}
		options = append(options, kgo.ConsumePartitions(from))
	}
	client, err := kgo.NewClient(c.access.options(options...)...)
	if err != nil {
		return err
	}
	defer client.Close() // leaves the group
	err = r.poll(ctx, client)
	if o.Group != "" {
		committing, cancel := c.within(context.WithoutCancel(ctx))
		defer cancel()
		if failed := client.CommitMarkedOffsets(committing); failed != nil {
			err = errors.Join(err, fmt.Errorf("commit for group %s: %w", o.Group, failed))
		}
	}
	return err
}

// consumed are the topics that exist of those that are asked for.
func (c *Cluster) consumed(ctx context.Context, o *Consume) ([]string, error) {
	if !o.Regex {
		return o.Topics, c.known(ctx, o.Topics)
	}
	patterns := make([]*regexp.Regexp, len(o.Topics))
	for i, text := range o.Topics {
		var err error
		if patterns[i], err = regexp.Compile("^(?:" + text + ")$"); err != nil {
			return nil, fmt.Errorf("pattern %q: %w", text, err)
		}
	}
	within, cancel := c.within(ctx)
	defer cancel()
	all, err := c.admin.ListTopics(within)
	if err != nil {
		return nil, fmt.Errorf("list the topics: %w", err)
	}
	names := slices.DeleteFunc(all.Names(), func(name string) bool {
		return !slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(name) })
	})
	if len(names) == 0 {
		return nil, fmt.Errorf("no topic matches %s", strings.Join(o.Topics, " or "))
	}
	return names, nil
}

func groupOptions(o *Consume) []kgo.Opt {
	initial := kgo.NewOffset().AtStart()
	switch at := o.Span.From; at.from {
	case fromEnd:
		initial = kgo.NewOffset().AtEnd().Relative(-at.n)
	case fromStart:
		initial = initial.Relative(at.n)
	case fromZero:
		initial = kgo.NewOffset().At(at.n)
	case fromTime:
		initial = kgo.NewOffset().AfterMilli(at.n)
	}
	options := []kgo.Opt{kgo.ConsumerGroup(o.Group), kgo.ConsumeTopics(o.Topics...), kgo.ConsumeResetOffset(initial), kgo.AutoCommitMarks()}
	if o.Regex {
		options = append(options, kgo.ConsumeRegex())
	}
	return options
}

// reading is a Consume that is under way.
type reading struct {
	*Consume
	cluster *Cluster
	each    func(*kgo.FetchPartition, *kgo.Record) error
	polled  func() error
	read    int
	passed  []*kgo.Record // the last one of each partition since polled was called

	// ends are the offsets before which the partitions that are still read stop.
	// bounded says that there are such ends.
	ends    map[string]map[int32]int64
	bounded bool
	// next is the offset after the last record that was read, and at first that of
	// the span's beginning; only of partitions with an end.
	next map[string]map[int32]int64
}

// plan resolves the span to offsets, and leaves out partitions that have nothing
// in it.
func (r *reading) plan(ctx context.Context, c *Cluster, topics []string) (map[string]map[int32]kgo.Offset, error) {
	b, err := c.bounds(ctx, r.ReadCommitted, topics...)
	if err != nil {
		return nil, err
	}
	from, err := c.resolve(ctx, b, r.Span.From)
	if err != nil {
		return nil, err
	}
	var to map[string]map[int32]int64
	if r.Span.To != nil {
		r.bounded, r.ends, r.next = true, map[string]map[int32]int64{}, map[string]map[int32]int64{}
		if to, err = c.resolve(ctx, b, *r.Span.To); err != nil {
			return nil, err
		}
	}
	plan := map[string]map[int32]kgo.Offset{}
	for topic, partitions := range from {
		for partition, first := range partitions {
			if r.Partitions != nil && !slices.Contains(r.Partitions, partition) {
				continue
			}
			if r.bounded {
				if first >= to[topic][partition] {
					continue
				}
				add(r.ends, topic, partition, to[topic][partition])
				add(r.next, topic, partition, first)
			}
			add(plan, topic, partition, kgo.NewOffset().At(first))
		}
	}
	if len(plan) == 0 && !r.bounded {
		return nil, fmt.Errorf("no topic of %s has a partition of %v", strings.Join(topics, ", "), r.Partitions)
	}
	return plan, nil
}

func add[V any](m map[string]map[int32]V, topic string, partition int32, v V) {
	if m[topic] == nil {
		m[topic] = map[int32]V{}
	}
	m[topic][partition] = v
}

func (r *reading) poll(ctx context.Context, client *kgo.Client) error {
	for {
		fetches, quiet := r.fetch(ctx, client)
		if ctx.Err() != nil {
			return nil // Ctrl-C
		}
		if quiet {
			if err := r.passGaps(ctx, client); errors.Is(err, errEnough) {
				return nil
			} else if err != nil {
				return err
			}
			continue
		}
		if err := fetchError(fetches); err != nil {
			return err
		}
		err := r.take(fetches)
		if failed := r.polled(); failed != nil {
			return failed
		}
		if r.Group != "" {
			client.MarkCommitRecords(r.passed...)
		}
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// fetchError is the first error that the client does not get over by itself.
func fetchError(fetches kgo.Fetches) error {
	all := fetches.Errors()
	switch {
	case len(all) == 0:
		return nil
	case all[0].Topic == "":
		return all[0].Err
	default:
		return fmt.Errorf("read %s-%d: %w", all[0].Topic, all[0].Partition, all[0].Err)
	}
}

// take passes the records on that are wanted.
func (r *reading) take(fetches kgo.Fetches) error {
	var failed error
	r.passed = r.passed[:0]
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		var last *kgo.Record
		for _, record := range p.Records {
			if failed != nil {
				break
			}
			if failed = r.one(&p.FetchPartition, record); failed == nil || errors.Is(failed, errEnough) {
				last = record
			}
		}
		if last != nil {
			r.passed = append(r.passed, last)
		}
		// The rest of the partition may have been deleted meanwhile.
		if end, ok := r.ends[p.Topic][p.Partition]; ok && p.LogStartOffset >= end && failed == nil {
			failed = r.ended(p.Topic, p.Partition)
		}
	})
	return failed
}

// one passes a record on and ends its partition, or everything, where it is the
// last one.
func (r *reading) one(p *kgo.FetchPartition, record *kgo.Record) error {
	end, limited := r.ends[record.Topic][record.Partition]
	if limited {
		r.next[record.Topic][record.Partition] = record.Offset + 1
	}
	if r.bounded && !limited {
		return nil // read beyond the end
	}
	if !limited || record.Offset < end {
		if r.Control || !record.Attrs.IsControl() {
			if err := r.each(p, record); err != nil {
				return err
			}
			if r.read++; r.Count > 0 && r.read >= r.Count {
				return errEnough
			}
		}
	}
	if limited && record.Offset >= end-1 {
		return r.ended(record.Topic, record.Partition)
	}
	return nil
}

func (r *reading) ended(topic string, partition int32) error {
	delete(r.ends[topic], partition)
	for _, left := range r.ends {
		if len(left) > 0 {
			return nil
		}
	}
	return errEnough
}

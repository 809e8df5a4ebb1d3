package admin

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Health is what is wrong with the partitions of a cluster.
type Health struct {
	Healthy bool    `json:"healthy"`
	Brokers []int32 `json:"brokers"`
	// Missing are brokers that have replicas and do not answer for them.
	Missing    []int32   `json:"missing_brokers"`
	Partitions int       `json:"partitions"`
	Findings   []Finding `json:"findings"`
	// NotPreferred counts partitions led by another replica than the first; it
	// alone is not unhealthy.
	NotPreferred int `json:"not_led_by_preferred"`
}

// Finding is one thing that is wrong with some partitions.
type Finding struct {
	Problem string `json:"problem"`
	// Meaning says what does not work, and Remedy what to do.
	Meaning    string   `json:"meaning"`
	Remedy     string   `json:"remedy"`
	Partitions []string `json:"partitions"`
}

// The problems, worst first; each partition is in the first that it has.
var problems = []Finding{
	{Problem: "offline", Meaning: "they have no leader: nothing can be written or read",
		Remedy: "start a broker of their ISR; if none comes back, `kvorum partitions elect --unclean` loses records"},
	{Problem: "under min ISR", Meaning: "acks=all is refused",
		Remedy: "start the brokers that are missing; `kvorum topic describe` shows which"},
	{Problem: "at min ISR", Meaning: "the loss of one more replica stops acks=all",
		Remedy: "start the brokers that are missing, or lower min.insync.replicas"},
	{Problem: "under-replicated", Meaning: "a replica is behind or gone: fewer copies than asked for",
		Remedy: "start the brokers that are missing, or look for a slow disk or network"},
}

// Health looks at every partition.
func (c *Cluster) Health(ctx context.Context) (*Health, error) {
	m, err := c.metadata(ctx)
	if err != nil {
		return nil, err
	}
	needed, err := c.minISR(ctx, m.Topics.Names())
	if err != nil {
		return nil, err
	}
	h := &Health{Brokers: m.Brokers.NodeIDs(), Missing: []int32{}, Findings: []Finding{}}
	slices.Sort(h.Brokers)
	found := make([][]string, len(problems))
	for _, t := range m.Topics.Sorted() {
		for _, p := range t.Partitions.Sorted() {
			h.Partitions++
			if i := problem(p, needed[t.Topic]); i >= 0 {
				found[i] = append(found[i], p.Topic+"-"+strconv.Itoa(int(p.Partition)))
			}
			if p.Leader >= 0 && len(p.Replicas) > 0 && p.Leader != p.Replicas[0] {
				h.NotPreferred++
			}
			for _, r := range p.Replicas {
				if !slices.Contains(h.Brokers, r) && !slices.Contains(h.Missing, r) {
					h.Missing = append(h.Missing, r)
				}
			}
		}
	}
	for i, partitions := range found {
		if len(partitions) > 0 {
			f := problems[i]
			f.Partitions = partitions
			h.Findings = append(h.Findings, f)
		}
	}
	slices.Sort(h.Missing)
	h.Healthy = len(h.Findings) == 0 && len(h.Missing) == 0
	return h, nil
}

// problem is the index of the worst one, -1 for none. One replica with
// min.insync.replicas 1 is what was asked for, and not at its minimum.
func problem(p kadm.PartitionDetail, needed int) int {
	needed = min(max(needed, 1), len(p.Replicas)) // as the leader counts it (Partition.effectiveMinIsr)
	switch isr := len(p.ISR); {
	case p.Leader < 0:
		return 0
	case isr < needed:
		return 1
	case isr == needed && isr < len(p.Replicas):
		return 2
	case isr < len(p.Replicas):
		return 3
	}
	return -1
}

// topicsPerRequest bounds one DescribeConfigs.
const topicsPerRequest = 1000

func (c *Cluster) minISR(ctx context.Context, topics []string) (map[string]int, error) {
	needed := map[string]int{}
	for some := range slices.Chunk(topics, topicsPerRequest) {
		within, cancel := c.within(ctx)
		configs, err := c.admin.DescribeTopicConfigs(within, some...)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("describe the configs of the topics: %w", err)
		}
		for _, t := range configs {
			for _, f := range t.Configs {
				if f.Key == "min.insync.replicas" {
					needed[t.Name], _ = strconv.Atoi(strings.TrimSpace(f.MaybeValue()))
				}
			}
		}
	}
	return needed, nil
}

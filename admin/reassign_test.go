package admin

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestBalance balances any placement: replicas of a partition stay distinct and as
// many, all are on the brokers, and no broker could give one to another.
func TestBalance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old := rapid.IntRange(1, 8).Draw(t, "old brokers")
		brokers := make([]int32, rapid.IntRange(1, 8).Draw(t, "brokers"))
		for i := range brokers {
			brokers[i] = int32(i + rapid.IntRange(0, 1).Draw(t, "shift")*100 + 1)
		}
		slices.Sort(brokers)
		brokers = slices.Compact(brokers)
		factor := rapid.IntRange(1, min(old, len(brokers))).Draw(t, "replicas")
		all := make([]*placed, rapid.IntRange(1, 40).Draw(t, "partitions"))
		for i := range all {
			ids := rapid.Permutation([]int32{1, 2, 3, 4, 5, 6, 7, 8}[:old]).Draw(t, "placement")
			all[i] = &placed{"t", int32(i), slices.Clone(ids[:factor])}
		}
		spread(all, brokers)
		lead(all, brokers)
		count := map[int32]int{}
		for _, p := range all {
			if len(p.replicas) != factor || len(slices.Compact(slices.Sorted(slices.Values(p.replicas)))) != factor {
				t.Fatalf("partition %d has replicas %v, want %d distinct ones", p.partition, p.replicas, factor)
			}
			for _, r := range p.replicas {
				if !slices.Contains(brokers, r) {
					t.Fatalf("partition %d is on %d, not one of %v", p.partition, r, brokers)
				}
				count[r]++
			}
		}
		counts := make([]int, len(brokers))
		for i, b := range brokers {
			counts[i] = count[b]
		}
		if slices.Max(counts)-slices.Min(counts) > 1 {
			t.Fatalf("brokers %v have %v replicas", brokers, counts)
		}
	})
}

func TestParsePlan(t *testing.T) {
	for text, want := range map[string]string{
		`{"version":1,"partitions":[{"topic":"a","partition":0,"replicas":[1,2]}]}`:                                          "map[a:map[0:[1 2]]]",
		`{"version":1,"partitions":[{"topic":"a","partition":0,"replicas":[1],"log_dirs":["any"]}]}`:                         "map[a:map[0:[1]]]",
		`{"version":1,"partitions":[{"topic":"a","partition":0,"replicas":[1],"log_dirs":["/d"]}]}`:                          "into a certain directory",
		`{"version":1,"partitions":[{"topic":"a","partition":0,"replicas":[1]},{"topic":"a","partition":0,"replicas":[2]}]}`: "twice",
		`{"version":1,"partitions":[{"topic":"a","partition":0}]}`:                                                           "without topic or replicas",
		`{"version":2}`: "version 2",
		`{`:             "read the plan",
	} {
		plan, err := ParsePlan([]byte(text))
		got := fmt.Sprint(plan)
		if err != nil {
			got = err.Error()
		}
		if len(got) < len(want) || !contains(got, want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

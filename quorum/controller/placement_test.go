package controller

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// drawBrokers draws 1 to 24 brokers on up to 5 racks, some fenced.
func drawBrokers(t *rapid.T) []*image.Broker {
	racks := []*string{nil, ptr("a"), ptr("b"), ptr("c"), ptr("d")}
	racks = racks[:rapid.IntRange(1, len(racks)).Draw(t, "racks")]
	n := rapid.IntRange(1, 24).Draw(t, "brokers")
	out := make([]*image.Broker, n)
	for i := range out {
		out[i] = &image.Broker{
			ID:     kafka.BrokerID(i + 1),
			Rack:   rapid.SampledFrom(racks).Draw(t, "rack"),
			Fenced: rapid.IntRange(0, 4).Draw(t, "fenced") == 0,
		}
	}
	return out
}

func TestPlacementKeepsItsContract(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		brokers := drawBrokers(t)
		partitions := rapid.IntRange(1, 60).Draw(t, "partitions")
		factor := rapid.IntRange(1, len(brokers)).Draw(t, "factor")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		placed, err := placeReplicas(random, brokers, partitions, factor)
		unfenced := slices.ContainsFunc(brokers, func(b *image.Broker) bool { return !b.Fenced })
		if !unfenced {
			if err == nil || err.Code != errors.InvalidReplicationFactor {
				t.Fatalf("all fenced: %v", err)
			}
			return
		}
		if err != nil || len(placed) != partitions {
			t.Fatalf("%d of %d partitions placed: %v", len(placed), partitions, err)
		}
		leads := make(map[kafka.BrokerID]int)
		for i, replicas := range placed {
			checkPlaced(t, i, brokers, replicas, factor)
			leads[replicas[0]]++
		}
		checkLeads(t, brokers, leads)
	})
}

// checkPlaced checks one partition's replicas against the contract.
func checkPlaced(t *rapid.T, partition int, brokers []*image.Broker, replicas []kafka.BrokerID, factor int) {
	if len(replicas) != factor {
		t.Fatalf("partition %d has replicas %v, want %d", partition, replicas, factor)
	}
	sorted := slices.Clone(replicas)
	slices.Sort(sorted)
	if len(slices.Compact(sorted)) != factor {
		t.Fatalf("partition %d has a broker twice: %v", partition, replicas)
	}
	if brokers[replicas[0]-1].Fenced {
		t.Fatalf("partition %d is led by fenced broker %d", partition, replicas[0])
	}
	used, size := make(map[string]int), make(map[string]int)
	for _, b := range brokers {
		size[rackName(b)]++
	}
	fencedTaken, unfencedLeft := make(map[string]bool), make(map[string]bool)
	for _, b := range brokers {
		in := slices.Contains(replicas, b.ID)
		if in {
			used[rackName(b)]++
		}
		fencedTaken[rackName(b)] = fencedTaken[rackName(b)] || in && b.Fenced
		unfencedLeft[rackName(b)] = unfencedLeft[rackName(b)] || !in && !b.Fenced
	}
	for rack := range size {
		if fencedTaken[rack] && unfencedLeft[rack] {
			t.Fatalf("partition %d: rack %s gave a fenced broker before an unfenced one: %v", partition, rack, replicas)
		}
		for other := range size {
			if used[other] < size[other] && used[rack] > used[other]+1 {
				t.Fatalf("partition %d: rack %s has %d replicas and rack %s, which has a free broker, %d", partition, rack, used[rack], other, used[other])
			}
		}
	}
}

func rackName(b *image.Broker) string {
	if b.Rack == nil {
		return "(none)"
	}
	return *b.Rack
}

// checkLeads: within one call all unfenced brokers lead equally often, plus or
// minus one.
func checkLeads(t *rapid.T, brokers []*image.Broker, leads map[kafka.BrokerID]int) {
	var counts []int
	for _, b := range brokers {
		if !b.Fenced {
			counts = append(counts, leads[b.ID])
		}
	}
	if slices.Max(counts)-slices.Min(counts) > 1 {
		t.Fatalf("brokers lead unevenly: %v", leads)
	}
}

// On racks of equal size every broker gets nearly as many replicas as any other.
func TestPlacementSpreadsReplicas(t *testing.T) {
	for _, racks := range []int{1, 2, 3, 6} {
		var brokers []*image.Broker
		for i := range 12 {
			brokers = append(brokers, &image.Broker{ID: kafka.BrokerID(i + 1), Rack: ptr(string(rune('a' + i%racks)))})
		}
		placed, err := placeReplicas(rand.New(rand.NewPCG(7, 7)), brokers, 1200, 3)
		if err != nil {
			t.Fatal(err)
		}
		count := make(map[kafka.BrokerID]int)
		sets := make(map[string]bool)
		for _, replicas := range placed {
			var b strings.Builder
			for _, id := range slices.Sorted(slices.Values(replicas)) {
				count[id]++
				b.WriteByte(byte(id))
			}
			sets[b.String()] = true
		}
		for id, n := range count {
			if n < 295 || n > 305 {
				t.Errorf("%d racks: broker %d has %d replicas of 3600 on 12 brokers", racks, id, n)
			}
		}
		if len(sets) < 30 {
			t.Errorf("%d racks: only %d different replica sets", racks, len(sets))
		}
	}
}

func TestPlacementErrors(t *testing.T) {
	two := []*image.Broker{{ID: 1}, {ID: 2, Fenced: true}}
	for _, tc := range []struct {
		brokers []*image.Broker
		factor  int
		want    string
	}{
		{two, 0, "Invalid replication factor 0: the replication factor must be positive."},
		{two, -3, "Invalid replication factor -3: the replication factor must be positive."},
		{two[1:], 1, "All brokers are currently fenced, or have all their log directories cordoned."},
		{nil, 1, "All brokers are currently fenced, or have all their log directories cordoned."},
		{two, 3, "The target replication factor of 3 cannot be reached because only 2 broker(s) are registered or some brokers have all their log directories cordoned."},
	} {
		_, err := placeReplicas(rand.New(rand.NewPCG(0, 0)), tc.brokers, 1, tc.factor)
		if err == nil || err.Code != errors.InvalidReplicationFactor || err.Message != tc.want {
			t.Errorf("factor %d on %d brokers: %v, want %q", tc.factor, len(tc.brokers), err, tc.want)
		}
	}
}

func TestUsableBrokers(t *testing.T) {
	cordoned := func(dir kafka.DirectoryID) func(*record.RegisterBrokerRecord) {
		return func(r *record.RegisterBrokerRecord) { r.CordonedLogDirs = []kafka.UUID{dir} }
	}
	c := newCluster(t, image.MV43IV0, aBroker(1), aBroker(2, fenced), aBroker(3, shutting),
		aBroker(4, cordoned(dirOf(4))), aBroker(5, cordoned(kafka.DirectoryID{9: 9})))
	var ids []kafka.BrokerID
	for _, b := range usableBrokers(c.im) {
		ids = append(ids, b.ID)
	}
	if !slices.Equal(ids, []kafka.BrokerID{1, 2, 5}) {
		t.Errorf("usable are %v, want 1 (plain), 2 (fenced), 5 (another directory cordoned)", ids)
	}
}

func BenchmarkPlace20000Partitions(b *testing.B) {
	var brokers []*image.Broker
	for i := range 100 {
		brokers = append(brokers, &image.Broker{ID: kafka.BrokerID(i + 1), Rack: ptr(string(rune('a' + i%3)))})
	}
	random := rand.New(rand.NewPCG(7, 7))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := placeReplicas(random, brokers, 20_000, 3); err != nil {
			b.Fatal(err)
		}
	}
}

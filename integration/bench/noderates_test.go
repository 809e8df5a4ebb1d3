package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestNodeTraffic measures what one node takes and gives. Both sides run and take
// turns.
func TestNodeTraffic(t *testing.T) {
	both := startBoth(t)
	measureLatency(t, both)
	measureRates(t, both)
}

// measureRates measures how fast one node takes records and gives them back, and
// what processor time a gigabyte costs it, with a franz-go client on the same
// cores. The records are random, so that no compression helps. Each round begins
// with the other side, and what the one before has written is on the disk before
// the next one begins. The first round is not counted.
func measureRates(t *testing.T, both []contender) {
	t.Helper()
	var memory pages
	for _, size := range []int{1024, 100} {
		total := sizes.bytes
		if size < 1024 {
			total /= 4
		}
		measured := map[side]*rates{kvorum: {}, apache: {}}
		for round := range sizes.turns + 1 {
			for _, c := range both {
				memory.use(t)
				if round == 0 {
					c.transfer(t, new(rates), fmt.Sprintf("warm-%d", size), size, total/4)
					continue
				}
				c.transfer(t, measured[c.side], fmt.Sprintf("bytes-%d-%d", size, round), size, total)
			}
			slices.Reverse(both)
		}
		for _, c := range both {
			measured[c.side].note(t, c.side, size)
		}
	}
	for _, c := range both {
		noteResident(t, c.side, "resident after these rates", "", c.node)
	}
}

// rates are what the rounds of one side gave: bytes a second, and processor
// seconds of the node for each gigabyte.
type rates struct {
	produce, consume       []float64
	produceCPU, consumeCPU []float64
}

// transfer writes and reads a topic of its own once.
func (c contender) transfer(t *testing.T, r *rates, topic string, size, total int) {
	t.Helper()
	createOn(t, c.node.Bootstrap, topic, 6, 1)
	settleDisk()
	gigabytes := float64(total) / 1e9
	cpu, began := cpuSeconds(t, c.node), time.Now()
	produceBytes(t, c.node.Bootstrap, topic, size, total)
	r.produce = append(r.produce, float64(total)/time.Since(began).Seconds())
	r.produceCPU = append(r.produceCPU, (cpuSeconds(t, c.node)-cpu)/gigabytes)
	cpu, began = cpuSeconds(t, c.node), time.Now()
	consumeBytes(t, c.node.Bootstrap, topic, total/size)
	r.consume = append(r.consume, float64(total)/time.Since(began).Seconds())
	r.consumeCPU = append(r.consumeCPU, (cpuSeconds(t, c.node)-cpu)/gigabytes)
	removeOn(t, c.node.Bootstrap, topic)
}

func (r *rates) note(t *testing.T, s side, size int) {
	t.Helper()
	noteRate(t, s, fmt.Sprintf("produce %d B, acks=all", size), map[int]string{1024: "Krabka's 426-597 MB/s", 100: "2 M/s"}[size], size, r.produce)
	noteCPU(t, s, fmt.Sprintf("processor time of the node, produce %d B", size), map[int]string{1024: "1.2 s/GB"}[size], r.produceCPU)
	noteRate(t, s, fmt.Sprintf("consume %d B", size), map[int]string{1024: "1 GB/s", 100: "3.5 M/s"}[size], size, r.consume)
	noteCPU(t, s, fmt.Sprintf("processor time of the node, consume %d B", size), map[int]string{1024: "0.3 s/GB"}[size], r.consumeCPU)
}

// noteRate notes the median of the rounds, with the least and the most.
func noteRate(t *testing.T, s side, name, target string, size int, all []float64) {
	t.Helper()
	least, median, most := spread(all)
	text := fmt.Sprintf("%.0f MB/s (%.0f-%.0f)", median/1e6, least/1e6, most/1e6)
	if size < 1024 {
		per := float64(size) * 1e6
		text = fmt.Sprintf("%.2f M/s (%.2f-%.2f)", median/per, least/per, most/per)
	}
	note(t, s, name, target, median, text)
}

func noteCPU(t *testing.T, s side, name, target string, all []float64) {
	t.Helper()
	least, median, most := spread(all)
	note(t, s, name, target, median, fmt.Sprintf("%.2f s/GB (%.2f-%.2f)", median, least, most))
}

func spread(all []float64) (least, median, most float64) {
	slices.Sort(all)
	return all[0], all[len(all)/2], all[len(all)-1]
}

// measureLatency measures how long a record takes to be acknowledged at a steady
// rate.
func measureLatency(t *testing.T, both []contender) {
	t.Helper()
	for _, c := range both {
		createOn(t, c.node.Bootstrap, "steady", 6, 1)
	}
	for _, rate := range []int{1000, 5000} {
		for _, c := range both {
			settleDisk()
			all := steady(t, c.node.Bootstrap, "steady", rate, sizes.steady)
			target := map[int]string{1000: "p99 4 ms", 5000: "p99 3 ms"}[rate]
			p50, p99 := quantile(all, 0.5), quantile(all, 0.99)
			note(t, c.side, fmt.Sprintf("acknowledged at %d/s, p50 / p99", rate), target, p99.Seconds(), short(p50)+" / "+short(p99))
		}
	}
}

func removeOn(t *testing.T, bootstrap, topic string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
}

// produceBytes writes so many bytes of records; more options win.
func produceBytes(t *testing.T, bootstrap, topic string, size, total int, more ...kgo.Opt) {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(bootstrap), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(1_000_000), kgo.MaxBufferedRecords(200_000), kgo.RecordPartitioner(kgo.UniformBytesPartitioner(1_000_000, false, false, nil))}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	value := randomBytes(size)
	var first error
	var once sync.Once
	for range total / size {
		client.Produce(t.Context(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				once.Do(func() { first = err })
			}
		})
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first != nil {
		t.Fatal(first)
	}
}

func consumeBytes(t *testing.T, bootstrap, topic string, records int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(topic), kgo.FetchMaxBytes(50<<20), kgo.FetchMaxPartitionBytes(10<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for records > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d records have not come: %v", records, err)
		}
		records -= fetches.NumRecords()
	}
}

// steady sends records of 1 KiB at a rate and returns how long each took.
func steady(t *testing.T, bootstrap, topic string, rate int, length time.Duration) []time.Duration {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	value := randomBytes(1024)
	var mu sync.Mutex
	var took []time.Duration
	began, sent := time.Now(), 0
	for elapsed := time.Duration(0); elapsed < length; elapsed = time.Since(began) {
		for due := int(elapsed.Seconds() * float64(rate)); sent < due; sent++ {
			at := time.Now()
			client.Produce(t.Context(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("a record was not acknowledged: %v", err)
				}
				took = append(took, time.Since(at))
			})
		}
		time.Sleep(200 * time.Microsecond)
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(took[len(took)/5:]) // the first fifth warms up
}

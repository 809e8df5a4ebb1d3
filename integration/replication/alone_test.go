package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/integration/cluster"
	"kvorum/integration/loopback"
)

// leastAlone is for how long at least there is load without a controller: a minute,
// or KVORUM_ALONE (10m).
func leastAlone(t *testing.T) time.Duration {
	length := os.Getenv("KVORUM_ALONE")
	if length == "" {
		return time.Minute
	}
	d, err := time.ParseDuration(length)
	if err != nil || d <= 0 {
		t.Fatalf("KVORUM_ALONE=%s is no length of time: %v", length, err)
	}
	return d
}

// TestAllControllersGone kills all controllers under load. Nobody who writes, reads,
// commits offsets or asks what there is has an error; what needs a controller is told
// so in time. A broker that is killed meanwhile, and one that is stopped, serve again
// from their own copies of the metadata log. When the controllers are back everything
// heals by itself, nothing acknowledged is lost, and the replicas are equal.
func TestAllControllersGone(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Minute)
	defer cancel()
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 3})
	brokers := q.FormatKvorumBrokers(ctx, t, 4, map[string]string{"offsets.topic.num.partitions": "3"})
	damaged, fresh, brokers := brokers[2], brokers[3], brokers[:3]
	metrics := loopback.Addresses(t, 2)
	addProperty(t, damaged, "kvorum.metrics.listener", metrics[0])
	addProperty(t, fresh, "kvorum.metrics.listener", metrics[1])
	q.RunKvorumBrokers(ctx, t, brokers)
	seeds, dirs := addresses(brokers)
	admin := kadm.NewClient(newClient(t, kgo.SeedBrokers(seeds...)))
	const topic, partitions = "t", 6
	min := "2"
	if _, err := admin.CreateTopic(ctx, partitions, 3, map[string]*string{"min.insync.replicas": &min}, topic); err != nil {
		t.Fatal(err)
	}
	awaitISR(ctx, t, admin, topic, 3)
	p := startProducer(t, seeds, topic, partitions)
	g := startGroup(t, seeds, topic)
	p.more(ctx, 300)
	g.more(ctx, 5)
	awaitISR(ctx, t, admin, "__consumer_offsets", 3)

	for _, c := range q.Controllers {
		c.Kill()
	}
	gone, least := time.Now(), leastAlone(t)
	askNeedsController(ctx, t, admin)
	for round := 0; round < rounds(t, 1) || time.Since(gone) < least; round++ {
		p.more(ctx, 300)
		g.more(ctx, 5)
		askEverybody(ctx, t, seeds, topic)

		killed := brokers[round%len(brokers)]
		killed.Kill()
		restartAlone(ctx, t, killed, topic)
		p.more(ctx, 300)
		g.more(ctx, 5)

		stopped := brokers[(round+1)%len(brokers)]
		stopped.Stop(t)
		restartAlone(ctx, t, stopped, topic)
		p.more(ctx, 300)
		g.more(ctx, 5)
		askEverybody(ctx, t, seeds, topic)
	}
	t.Logf("without any controller for %v: %d records acknowledged, %d offsets committed", time.Since(gone).Round(time.Second), p.written(), g.done())

	t.Logf("what broker %d counts:\n%s", damaged.ID, unanswered(ctx, metrics[0]))
	damaged.Kill()
	if err := os.WriteFile(filepath.Join(damaged.DataDir(), "kvorum-isr-journal"), []byte("0\n1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	damaged.Start(t)
	stayFenced(ctx, t, damaged, metrics[0], "kvorum-isr-journal: the file is damaged")
	fresh.Start(t)
	stayFenced(ctx, t, fresh, metrics[1], "it does not say as which incarnation of the broker it was written")
	for _, c := range q.Controllers {
		c.Start(t)
	}
	back := time.Now()
	await(ctx, t, "a topic made when the controllers are back", func(ctx context.Context) error {
		_, err := admin.CreateTopic(ctx, 1, 3, nil, "after")
		if errors.Is(err, kerr.TopicAlreadyExists) {
			return nil // the answer to the request before was late
		}
		return err
	})
	awaitISR(ctx, t, admin, topic, 3)
	awaitISR(ctx, t, admin, "after", 3)
	for _, address := range metrics {
		await(ctx, t, "the brokers that had to wait are ready", func(ctx context.Context) error {
			if code, text := get(ctx, address, "/ready"); code != http.StatusOK {
				return fmt.Errorf("%d %s", code, text)
			}
			return nil
		})
	}
	if n := logged(t, q, bySession); n > 0 {
		t.Errorf("%d brokers were fenced because their session expired: a broker that restarted waited for that of its own last run", n)
	}
	t.Logf("healed %v after the start of the controllers", time.Since(back).Round(time.Millisecond))
	p.more(ctx, 300)
	g.more(ctx, 5)
	g.finish()
	p.finish(ctx, seeds)
	t.Logf("%d bytes are equal on all replicas", cluster.SameBytes(ctx, t, dirs, topic, partitions))
}

// addProperty adds a line to a node's server.properties.
func addProperty(t *testing.T, b *cluster.Node, key, value string) {
	t.Helper()
	text, err := os.ReadFile(b.PropertiesFile())
	if err == nil {
		err = os.WriteFile(b.PropertiesFile(), fmt.Appendf(text, "%s=%s\n", key, value), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// get asks a node's HTTP port.
func get(ctx context.Context, address, path string) (int, string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, fmt.Sprint(string(text), err)
}

// unanswered are the metrics of requests that no controller has answered.
func unanswered(ctx context.Context, address string) string {
	_, text := get(ctx, address, "/metrics")
	var found []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "kvorum_broker_controller_requests_unanswered_total") {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}

// stayFenced waits until a broker that has started says why it does not serve without
// a controller.
func stayFenced(ctx context.Context, t *testing.T, b *cluster.Node, metrics, why string) {
	t.Helper()
	await(ctx, t, b.String()+" says why it does not serve", func(ctx context.Context) error {
		code, text := get(ctx, metrics, "/ready")
		if code != http.StatusServiceUnavailable || !strings.Contains(text, why) {
			return fmt.Errorf("%d %s", code, text)
		}
		return nil
	})
}

// restartAlone starts a broker while there is no controller and waits until it leads
// and writes what it led.
func restartAlone(ctx context.Context, t *testing.T, b *cluster.Node, topic string) {
	t.Helper()
	began := time.Now()
	b.Start(t)
	c := newClient(t, kgo.SeedBrokers(b.Client))
	admin := kadm.NewClient(c)
	var served time.Duration
	await(ctx, t, b.String()+" serves without a controller", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		topics, err := admin.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		if served == 0 {
			served = time.Since(began)
		}
		var own int32 = -1
		for _, p := range topics[topic].Partitions {
			if p.Leader == b.ID {
				own = p.Partition
			}
		}
		if own < 0 {
			return fmt.Errorf("it leads none of %v", topics[topic].Partitions)
		}
		return fetchFrom(ctx, c, b.ID, topics[topic].ID, own)
	})
	t.Logf("%s: Metadata %v after its exec, and reads %v after", b, served.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
}

// fetchFrom reads from the start of a partition of one broker.
func fetchFrom(ctx context.Context, c *kgo.Client, broker int32, topic kadm.TopicID, partition int32) error {
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.MinBytes, req.MaxWaitMillis, req.ReplicaID = 1<<10, 1, 100, -1
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.PartitionMaxBytes, part.CurrentLeaderEpoch = partition, 1<<10, -1
	t := kmsg.NewFetchRequestTopic()
	t.TopicID, t.Partitions = topic, append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, c.Broker(int(broker)))
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 && len(p.RecordBatches) > 0 {
				return nil
			}
			err = kerr.ErrorForCode(p.ErrorCode)
		}
	}
	return errors.Join(errors.New("no records"), kerr.ErrorForCode(resp.ErrorCode), err)
}

// askNeedsController asks for what only a controller can do: it is refused, and not
// as if it never could be.
func askNeedsController(ctx context.Context, t *testing.T, admin *kadm.Client) {
	t.Helper()
	admin.SetTimeoutMillis(1000)
	defer admin.SetTimeoutMillis(15_000)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err := admin.CreateTopic(ctx, 1, 3, nil, "never")
	if err == nil || !kerr.IsRetriable(err) {
		t.Errorf("a topic is made without controllers: %v, which is no error that a client tries again after", err)
	}
	t.Logf("CreateTopics without controllers: %v", err)
}

// askEverybody asks each broker what needs no controller.
func askEverybody(ctx context.Context, t *testing.T, seeds []string, topic string) {
	t.Helper()
	for _, seed := range seeds {
		admin := kadm.NewClient(newClient(t, kgo.SeedBrokers(seed)))
		m, err := admin.Metadata(ctx, topic)
		if err != nil || len(m.Brokers) != len(seeds) {
			t.Errorf("Metadata of %s: %v, brokers %v", seed, err, m.Brokers)
		}
		if _, err := admin.DescribeTopicConfigs(ctx, topic); err != nil {
			t.Errorf("DescribeConfigs of %s: %v", seed, err)
		}
		if _, err := admin.DescribeGroups(ctx, "g"); err != nil {
			t.Errorf("DescribeGroups of %s: %v", seed, err)
		}
		if _, err := admin.ListEndOffsets(ctx, topic); err != nil {
			t.Errorf("ListOffsets of %s: %v", seed, err)
		}
		if _, err := admin.DescribeAllLogDirs(ctx, nil); err != nil {
			t.Errorf("DescribeLogDirs of %s: %v", seed, err)
		}
	}
}

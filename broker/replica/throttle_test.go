package replica

import (
	"testing"
	"testing/synctest"
	"time"

	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/listener/quota"
	"kvorum/metadatalog/image"
)

func TestThrottledHere(t *testing.T) {
	for _, c := range []struct {
		text string
		in   []kafka.PartitionID
		out  []kafka.PartitionID
	}{
		{"", nil, []kafka.PartitionID{0}},
		{"*", []kafka.PartitionID{0, 7}, nil},
		{"0:1", []kafka.PartitionID{0}, []kafka.PartitionID{1}},
		{"0:11,1:2", nil, []kafka.PartitionID{0, 1}},
		{"5:1, 3:1,4:2,10:1", []kafka.PartitionID{3, 5, 10}, []kafka.PartitionID{0, 1, 4}},
	} {
		th := throttleOf(c.text, 100)
		for _, id := range c.in {
			if !th.names(kafka.TopicPartition{Topic: "t", Partition: id}) {
				t.Errorf("%q does not name partition %d of broker 1", c.text, id)
			}
		}
		for _, id := range c.out {
			if th.names(kafka.TopicPartition{Topic: "t", Partition: id}) {
				t.Errorf("%q names partition %d of broker 1", c.text, id)
			}
		}
	}
}

// throttleOf is broker 1's throttle of topic t.
func throttleOf(list string, bound float64) *throttle {
	th := newThrottle(clock.System, "leader.replication.throttled.rate", "leader.replication.throttled.replicas", quota.DefaultWindow)
	th.meter.Bound = bound
	th.take("t", resourceConfig("t", th.listKey, list), 1)
	return th
}

func resourceConfig(topic, key, value string) *image.ResourceConfig {
	d := image.NewDelta(image.Empty())
	if err := d.Replay(setting1(topic, key, value)); err != nil {
		panic(err)
	}
	return d.Apply(image.Position{}).Config(image.Resource{Type: image.ResourceTopic, Name: topic})
}

// TestThrottle: bytes of throttled replicas count, those of others do not, and who
// is above the rate waits until it is within it again.
func TestThrottle(t *testing.T) { synctest.Test(t, testThrottle) }

func testThrottle(t *testing.T) {
	one, two := kafka.TopicPartition{Topic: "t", Partition: 1}, kafka.TopicPartition{Topic: "t", Partition: 2}
	other := kafka.TopicPartition{Topic: "u", Partition: 1}
	th := throttleOf("1:1", 1000)
	th.count(two, 1<<30)
	th.count(other, 1<<30)
	if w := th.exceeded(one); w != 0 {
		t.Fatalf("what others cost holds it back for %v", w)
	}
	th.count(one, 10_000) // ten seconds' worth, and the window has ten and the one under way
	if w := th.exceeded(one); w != 0 {
		t.Fatalf("within the rate it waits %v", w)
	}
	th.count(one, 1_000)
	w := th.exceeded(one)
	if w <= 0 || w > time.Second {
		t.Fatalf("above the rate it waits %v", w)
	}
	if w := th.exceeded(two); w != 0 {
		t.Fatalf("a replica that is not throttled waits %v", w)
	}
	for steps := 0; th.exceeded(one) > 0; steps++ {
		if steps > 20 {
			t.Fatal("it waits for good")
		}
		time.Sleep(th.exceeded(one))
	}
	th.count(one, 1<<30)
	th.take("t", nil, 1)
	if w := th.exceeded(one); w != 0 {
		t.Fatalf("the topic throttles nothing any more, and it waits %v", w)
	}
}

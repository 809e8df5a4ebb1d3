package handler

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

// Each topic has counters as long as it is there; beyond the limit (2 in these
// tests) they are counted together.
func TestTopicCounts(t *testing.T) {
	w := newWorld(t)
	w.publish(topic("a"), partition("a", 0, self), topic("b"), partition("b", 0, self), topic("c"), partition("c", 0, self))
	w.produce(9, produceTo("a", 0, records("x", "y")))
	w.produce(9, produceTo("a", 0, []byte{}))
	w.produce(9, produceTo("b", 0, records("x")))
	w.produce(9, produceTo("c", 0, records("x")))
	w.produce(9, produceTo("none", 0, records("x")))
	ask[*kmsg.FetchResponse](w, 12, fetchOf("a", 0))
	ask[*kmsg.FetchResponse](w, 12, fetchOf("a", 99))
	counts := func() map[string]string {
		out := map[string]string{}
		w.handlers.EachTopic(func(name string, c *TopicCounts) {
			out[name] = fmt.Sprint(c.MessagesIn.Load(), c.ProduceRequests.Load(), c.FailedProduceRequests.Load(), c.FetchRequests.Load(), c.FailedFetchRequests.Load(),
				c.BytesIn.Load() > 0, c.BytesOut.Load() == c.BytesIn.Load())
		})
		return out
	}
	want := map[string]string{"a": "2 1 0 2 1 true true", "b": "1 1 0 0 0 true false", OtherTopics: "1 1 0 0 0 true false"}
	if got := counts(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	w.publish(&record.RemoveTopicRecord{TopicID: w.image.Load().TopicByName("b").ID})
	if got := counts(); len(got) != 2 {
		t.Errorf("after the removal of b: %v", got)
	}
	w.produce(9, produceTo("c", 0, records("x")))
	if got := counts(); got["c"] != "1 1 0 0 0 true false" || got[OtherTopics] != want[OtherTopics] {
		t.Errorf("with room for c: %v", got)
	}
}

func BenchmarkTopicCounts(b *testing.B) {
	w := newWorld(b)
	w.publish(topic("a"), partition("a", 0, self))
	counters, im := newTopicCounters(1000), w.image.Load()
	b.ReportAllocs()
	for b.Loop() {
		c := counters.of("a", im)
		c.BytesIn.Add(1)
		c.MessagesIn.Add(1)
	}
}

// Finding counters allocates nothing, with room and without.
func TestTopicCountsAllocateNothing(t *testing.T) {
	im := image.Empty()
	counters := newTopicCounters(0)
	if n := testing.AllocsPerRun(100, func() { counters.of("b", im).BytesIn.Add(1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

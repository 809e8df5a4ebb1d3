package replica

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestMoreFetchers: with num.replica.fetchers raised while a follower fetches, the
// partitions of one leader are shared by more fetchers, each at where it was.
func TestMoreFetchers(t *testing.T) {
	w := newWorld(t)
	s := w.follows(t)
	w.publish(topic("a"), partition("a", 0, other, self))
	s.asks()
	s.tell("a", func(p *kmsg.FetchResponseTopicPartition) { p.RecordBatches = batchAt(0, 0, 3) })
	s.asks() // the first three are in the log
	p := w.led("a")
	// So many that the partition comes to another fetcher, whatever its topic's hash is.
	for n := 2; ; n++ {
		w.ps.SetFetchers(n)
		w.ps.fetchers.mu.Lock()
		moved := w.ps.fetchers.of[p] != w.ps.fetchers.all[fetcherKey{other, 0}]
		w.ps.fetchers.mu.Unlock()
		if moved {
			break
		}
	}
	s.tell("a", nil) // to the first fetcher, which has nothing to ask for after that
	if req, asked := s.asks(); req.SessionEpoch != 0 || asked.FetchOffset != 3 {
		t.Fatalf("the other fetcher asked %+v", req)
	}
	s.tell("a", func(p *kmsg.FetchResponseTopicPartition) { p.HighWatermark, p.RecordBatches = 6, batchAt(3, 0, 3) })
	s.next()
	if end := p.Log().LogEnd(); end != 6 {
		t.Errorf("the log ends at %d, want 6", end)
	}
}

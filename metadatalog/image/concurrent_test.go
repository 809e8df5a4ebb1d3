package image

import (
	"fmt"
	"sync"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
)

// TestDeltasOfOneBaseAtOnce is for the race detector, and for what btree's copy
// on write would mix up if two deltas took nodes for their own.
func TestDeltasOfOneBaseAtOnce(t *testing.T) {
	old := base(t)
	for n := range 200 {
		old = mustFold(t, old, &record.TopicRecord{Name: fmt.Sprintf("t%d", n), TopicID: kafka.TopicID{1, byte(n)}})
	}
	hash := old.Hash()
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			im := old
			for n := range 50 {
				id := kafka.TopicID{2, byte(g), byte(n)}
				d := NewDelta(im)
				for _, r := range []record.Record{&record.TopicRecord{Name: fmt.Sprintf("new%d-%d", g, n), TopicID: id}, partitionRecord(id, 0, 1),
					changeOf(idA, 0), &record.RemoveTopicRecord{TopicID: kafka.TopicID{1, byte(n)}}} {
					if err := d.Replay(r); err != nil {
						t.Error(err)
						return
					}
				}
				im = d.Apply(Position{Offset: im.At().Offset + 1})
			}
			if im.TopicCount() != old.TopicCount() || im.Partition(idA, 0).PartitionEpoch != 50 || im.TopicByName(fmt.Sprintf("new%d-49", g)) == nil {
				t.Errorf("delta chain %d lost something: %d topics", g, im.TopicCount())
			}
		})
	}
	all.Wait()
	if old.Hash() != hash {
		t.Error("the base has changed")
	}
}

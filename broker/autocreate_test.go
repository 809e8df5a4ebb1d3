package broker

import (
	"slices"
	"testing"
	"time"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

// TestDeletedNamesRest: a topic that was deleted is not made again, for a while,
// for somebody who has not heard of it.
func TestDeletedNamesRest(t *testing.T) {
	id := kafka.TopicID{1}
	fold := func(base *image.Image, r record.Record) *image.Image {
		im, err := image.Fold(base, base.At().Offset+1, 1, 0, []record.Message{{Record: r}})
		if err != nil {
			t.Fatal(err)
		}
		return im
	}
	with := fold(image.Empty(), &record.TopicRecord{Name: "gone", TopicID: id})
	without := fold(with, &record.RemoveTopicRecord{TopicID: id})
	again := fold(without, &record.TopicRecord{Name: "gone", TopicID: kafka.TopicID{2}})
	now := time.Now()
	for _, c := range []struct {
		name    string
		changes *image.Changes
		after   time.Duration
		made    []string
	}{
		{"a new topic", image.Diff(image.Empty(), with), 0, []string{"gone", "other"}},
		{"right after its deletion", image.Diff(with, without), deletedRest - 1, []string{"other"}},
		{"after its rest", image.Diff(with, without), deletedRest, []string{"gone", "other"}},
		{"unchanged", image.Diff(with, with), 0, []string{"gone", "other"}},
		{"made again since", image.Diff(with, again), 0, []string{"other"}},
	} {
		a := &autoCreate{making: map[string]chan struct{}{}, resting: map[string]time.Time{}}
		a.deleted(c.changes, now)
		if mine, _ := a.claim([]string{"gone", "other"}, now.Add(c.after)); !slices.Equal(mine, c.made) {
			t.Errorf("%s: %v are made, want %v", c.name, mine, c.made)
		}
	}
}

// TestCreationIsAskedForOnce: who comes second waits for the first.
func TestCreationIsAskedForOnce(t *testing.T) {
	a := &autoCreate{making: map[string]chan struct{}{}, resting: map[string]time.Time{}}
	mine, others := a.claim([]string{"a", "b"}, time.Now())
	if len(mine) != 2 || len(others) != 0 {
		t.Fatalf("the first makes %v and waits for %d", mine, len(others))
	}
	if mine, others = a.claim([]string{"b", "c"}, time.Now()); !slices.Equal(mine, []string{"c"}) || len(others) != 1 {
		t.Errorf("the second makes %v and waits for %d", mine, len(others))
	}
}

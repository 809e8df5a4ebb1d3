package image

import (
	"cmp"
	"iter"
	"slices"

	"kvorum/internal/kafka"
)

// Topic is a topic and its partitions. Immutable.
type Topic struct {
	ID    kafka.TopicID
	Name  string
	owner *owner
	count int
	// chunks hold the partitions by ascending number. Partitions are numbered
	// without gaps by every controller, so that chunk i is nearly always that of
	// the partitions from i*chunkSize; a log with gaps is searched instead.
	chunks []*chunk
}

// chunkSize is the number of partitions in a chunk. A change of one partition
// copies its chunk (at most 512 bytes) and the topic's list of chunks (2.5 KiB
// for 20,000 partitions).
const chunkSize = 64

// chunk is the partitions first..first+chunkSize-1 of a topic, nil where there
// is none. The slice ends with the last partition.
type chunk struct {
	first      kafka.PartitionID
	owner      *owner
	partitions []*Partition
}

// owner marks what a delta has made itself and may still write to. It is
// compared by address only, so it must have a size.
type owner struct{ _ byte }

// Partition returns a partition, nil if there is none of that number.
func (t *Topic) Partition(id kafka.PartitionID) *Partition {
	if id < 0 {
		return nil
	}
	i, found := t.chunkIndex(id)
	if !found {
		return nil
	}
	c := t.chunks[i]
	if at := int(id - c.first); at < len(c.partitions) {
		return c.partitions[at]
	}
	return nil
}

// Partitions iterates by ascending number.
func (t *Topic) Partitions() iter.Seq2[kafka.PartitionID, *Partition] {
	return func(yield func(kafka.PartitionID, *Partition) bool) {
		for _, c := range t.chunks {
			for i, p := range c.partitions {
				if p != nil && !yield(c.first+kafka.PartitionID(i), p) {
					return
				}
			}
		}
	}
}

// PartitionCount is the number of partitions.
func (t *Topic) PartitionCount() int { return t.count }

// chunkIndex finds the chunk for a partition, or the place where it belongs.
func (t *Topic) chunkIndex(id kafka.PartitionID) (int, bool) {
	first := id - id%chunkSize
	if i := int(id / chunkSize); i < len(t.chunks) && t.chunks[i].first == first {
		return i, true
	}
	return slices.BinarySearchFunc(t.chunks, first, func(c *chunk, first kafka.PartitionID) int {
		return cmp.Compare(c.first, first)
	})
}

// ownedBy returns the topic itself if o made it, else a copy that o may write
// to. Its chunks are still shared.
func (t *Topic) ownedBy(o *owner) *Topic {
	if t.owner == o {
		return t
	}
	own := *t
	own.owner = o
	own.chunks = slices.Clone(t.chunks)
	return &own
}

// setPartition writes one partition of a topic that o owns; id is not negative.
func (t *Topic) setPartition(o *owner, id kafka.PartitionID, p *Partition) {
	i, found := t.chunkIndex(id)
	switch {
	case !found:
		t.chunks = slices.Insert(t.chunks, i, &chunk{first: id - id%chunkSize, owner: o})
	case t.chunks[i].owner != o:
		old := t.chunks[i]
		t.chunks[i] = &chunk{first: old.first, owner: o, partitions: slices.Clone(old.partitions)}
	}
	c := t.chunks[i]
	at := int(id - c.first)
	if missing := at + 1 - len(c.partitions); missing > 0 {
		c.partitions = append(c.partitions, make([]*Partition, missing)...)
	}
	if c.partitions[at] == nil {
		t.count++
	}
	c.partitions[at] = p
}

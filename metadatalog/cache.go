package metadatalog

import (
	"sort"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// chunkBytes is the size of the cache's pieces: small enough for an idle node,
// large enough that a tail read of several batches is one piece.
const chunkBytes = 64 << 10

// cache holds the log's newest batches in memory, so that readers at the tail
// (every broker that has caught up) cost no read of pebble and no copy. Bytes
// that were put in are never changed or moved: a reader's slice stays good
// after truncation and eviction. The Store's mutex guards it.
type cache struct {
	limit  int // bytes; a chunk is dropped when the rest is still above it
	size   int
	chunks []*chunk // contiguous in offsets, the newest is written to
}

// chunk is a string of whole batches.
type chunk struct {
	base kafka.Offset
	buf  []byte
	ends []chunkEnd
}

// chunkEnd is where one batch of a chunk ends: offset and place, exclusive.
type chunkEnd struct {
	offset kafka.Offset
	at     int
}

func (c *chunk) end() kafka.Offset { return c.ends[len(c.ends)-1].offset }

// add puts in a batch that continues the log.
func (c *cache) add(v batch.View) {
	if c.limit <= 0 {
		return
	}
	last := c.newest()
	if last != nil && last.end() != v.BaseOffset() {
		c.clear()
		last = nil
	}
	if last == nil || len(last.buf)+v.Size() > cap(last.buf) {
		last = &chunk{base: v.BaseOffset(), buf: make([]byte, 0, max(chunkBytes, v.Size()))}
		c.chunks = append(c.chunks, last)
		c.size += cap(last.buf)
		c.evict()
	}
	last.buf = append(last.buf, v...)
	last.ends = append(last.ends, chunkEnd{v.EndOffset(), len(last.buf)})
}

func (c *cache) newest() *chunk {
	if len(c.chunks) == 0 {
		return nil
	}
	return c.chunks[len(c.chunks)-1]
}

// evict drops the oldest chunks above the limit, but never the newest.
func (c *cache) evict() {
	for len(c.chunks) > 1 && c.size > c.limit {
		c.size -= cap(c.chunks[0].buf)
		c.chunks[0] = nil
		c.chunks = c.chunks[1:]
	}
}

// trim forgets the chunks that end at or before the log's start. One that begins
// before it may stay: nobody reads there.
func (c *cache) trim(start kafka.Offset) {
	for len(c.chunks) > 0 && c.chunks[0].end() <= start {
		c.size -= cap(c.chunks[0].buf)
		c.chunks = c.chunks[1:]
	}
}

func (c *cache) clear() { c.chunks, c.size = nil, 0 }

// read returns whole batches from the one that holds from on, at most maxBytes
// but at least one; nil when from is not in the cache. The slice is the cache's.
func (c *cache) read(from kafka.Offset, maxBytes int) []byte {
	i := sort.Search(len(c.chunks), func(i int) bool { return c.chunks[i].end() > from })
	if i == len(c.chunks) || c.chunks[i].base > from {
		return nil
	}
	ch := c.chunks[i]
	first := sort.Search(len(ch.ends), func(i int) bool { return ch.ends[i].offset > from })
	begin := 0
	if first > 0 {
		begin = ch.ends[first-1].at
	}
	above := first + sort.Search(len(ch.ends)-first, func(i int) bool { return ch.ends[first+i].at-begin > maxBytes })
	stop := ch.ends[max(above-1, first)].at
	return ch.buf[begin:stop:stop]
}

package listener

import (
	"math/bits"
	"sync"
)

// Frames of Produce requests are used again: at 600 MB/s their garbage would
// have the collector run many times a second. They come in sizes of powers of
// two, so at most half of one is waste, and the pools hold no more than was read
// at once, which the Budget bounds; two collections without use empty them.
const (
	minFrameBits = 12 // smaller frames are not worth it
	maxFrameBits = 24 // larger ones are rare; a producer's limit is 1 MiB by default
	// firstChunk is how much is allocated before any of the body has come where
	// no used frame is at hand; a larger body doubles from there, so that
	// announcing bytes costs nothing but budget.
	firstChunk = 64 << 10
)

var framePools [maxFrameBits - minFrameBits + 1]sync.Pool

// frameClass is the pool of frames that hold size bytes; ok is false where there
// is none.
func frameClass(size int) (class int, ok bool) {
	class = max(bits.Len(uint(size-1)), minFrameBits) - minFrameBits
	return class, class < len(framePools)
}

// takeFrame returns an empty buffer for a frame of size bytes: a used one that
// holds all of it, or a new one to begin with.
func takeFrame(size int) []byte {
	class, ok := frameClass(size)
	if !ok {
		return make([]byte, 0, firstChunk)
	}
	if used, ok := framePools[class].Get().(*[]byte); ok {
		return (*used)[:0]
	}
	return make([]byte, 0, min(1<<(class+minFrameBits), firstChunk))
}

// giveFrame takes a frame back that nobody reads any more. The box that came with
// it is lost, which costs 24 bytes for each frame.
func giveFrame(b []byte) {
	size := cap(b)
	class, ok := frameClass(size)
	if ok && size == 1<<(class+minFrameBits) {
		framePools[class].Put(&b)
	}
}

// grow returns b with room for more of a frame of size bytes.
func grow(b []byte, size int) []byte {
	want := min(2*cap(b), 1<<bits.Len(uint(size-1)))
	return append(make([]byte, 0, want), b...)
}

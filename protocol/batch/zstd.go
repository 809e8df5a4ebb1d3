package batch

import (
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	// maxZstdWindow is the largest window that zstd-jni, and so every Java client,
	// opens without being told to (ZSTD_WINDOWLOG_LIMIT_DEFAULT, 27). No memory is
	// allocated for it: whole batches are decoded into dst, which is the window.
	maxZstdWindow = 128 << 20
	// maxZstdBlock is the most that one compressed block makes.
	maxZstdBlock = 128 << 10
	// zstdSlack is the room beyond the output that the library asks for.
	zstdSlack = maxZstdBlock + 64
	// zstdWindow is how far back a match may lie in what we compress: as far as a
	// batch of Kafka's default size reaches. A wider one costs memory on both sides.
	zstdWindow = 1 << 20
)

// unzstd decodes whole batches, on as many goroutines at once as there are
// processors; others wait. Its memory is a few hundred KiB for each.
var unzstd = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxZstdWindow), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic(fmt.Sprintf("batch: zstd decoder: %v", err)) // the options are constants
	}
	return d
})

// inflateZstd decodes into the room that dst has, as the library cannot be told
// a limit for one call but that. Most frames do not say how large they are (a
// streaming writer cannot), so the room is guessed, and quadrupled on any error
// as long as the blocks could make more than it: with a reused dst that is rare.
func inflateZstd(dst, src []byte, limit int) ([]byte, error) {
	bound, err := zstdBound(src)
	if err != nil {
		return dst, err
	}
	start := len(dst)
	most := int(min(bound, int64(limit))) + zstdSlack
	room := min(most, max(4*len(src), 4*maxZstdBlock, cap(dst)-start))
	for {
		dst = slices.Grow(dst, room)
		out, err := unzstd().DecodeAll(src, dst[:start:start+room])
		switch {
		case err == nil && len(out)-start <= limit:
			return out, nil
		case err == nil || room == most && bound > int64(limit):
			return dst, tooLarge(limit) // or corrupt: the library does not always tell
		case room == most:
			return dst, corrupt(err)
		}
		room = min(4*room, most)
	}
}

// zstdBound is the most that the frames of src can inflate to, from the headers
// of their blocks alone.
func zstdBound(src []byte) (bound int64, err error) {
	for len(src) > 0 {
		var h zstd.Header
		if err := h.Decode(src); err != nil {
			return 0, corrupt(err)
		}
		size := int64(h.HeaderSize)
		var made int64
		if h.Skippable {
			size += int64(h.SkippableSize)
		} else if size, made, err = zstdBlocks(src, size); err != nil {
			return 0, err
		}
		if h.HasCheckSum {
			size += 4
		}
		if h.HasFCS && !h.Skippable && h.FrameContentSize < uint64(made) {
			made = int64(h.FrameContentSize)
		}
		if size > int64(len(src)) {
			return 0, fmt.Errorf("%w: zstd frame is cut short", ErrCorrupt)
		}
		bound += made
		src = src[size:]
	}
	return bound, nil
}

// zstdBlocks walks the blocks of a frame from at to the last; it returns where
// they end and what they make at most. A block's header has 3 bytes: 1 bit of
// "last", 2 of its kind (raw, one byte repeated, compressed) and 21 of its size.
func zstdBlocks(src []byte, at int64) (end, made int64, err error) {
	for {
		if at+3 > int64(len(src)) {
			return 0, 0, fmt.Errorf("%w: zstd frame is cut short", ErrCorrupt)
		}
		head := int64(src[at]) | int64(src[at+1])<<8 | int64(src[at+2])<<16
		at += 3
		size := head >> 3
		switch head >> 1 & 3 {
		case 0:
			at, made = at+size, made+size
		case 1:
			at, made = at+1, made+size
		case 2:
			at, made = at+size, made+maxZstdBlock
		default:
			return 0, 0, fmt.Errorf("%w: reserved kind of zstd block", ErrCorrupt)
		}
		if head&1 != 0 {
			return at, made, nil
		}
	}
}

// zstdEncoders has an encoder for each level of the library; each works on as
// many goroutines at once as there are processors, others wait.
var zstdEncoders = [...]func() *zstd.Encoder{
	zstd.SpeedFastest:           newZstdEncoder(zstd.SpeedFastest),
	zstd.SpeedDefault:           newZstdEncoder(zstd.SpeedDefault),
	zstd.SpeedBetterCompression: newZstdEncoder(zstd.SpeedBetterCompression),
	zstd.SpeedBestCompression:   newZstdEncoder(zstd.SpeedBestCompression),
}

func newZstdEncoder(level zstd.EncoderLevel) func() *zstd.Encoder {
	return sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithWindowSize(zstdWindow),
			zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
		if err != nil {
			panic(fmt.Sprintf("batch: zstd encoder of level %v: %v", level, err)) // the options are constants
		}
		return e
	})
}

func appendZstd(dst, src []byte, level int) []byte {
	if level == DefaultLevel {
		level = 3
	}
	return zstdEncoders[zstd.EncoderLevelFromZstd(level)]().EncodeAll(src, dst)
}

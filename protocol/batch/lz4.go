package batch

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/pierrec/lz4/v4"
)

// The records of an lz4 batch are one frame of the LZ4 frame format, as far as
// Apache's Lz4BlockInputStream reads it: version 1, independent blocks, no
// dictionary. The frame is taken apart here, not by the library's reader,
// because what Apache refuses must not get in, and because it decodes straight
// into the caller's buffer.
const (
	lz4Magic = 0x184D2204
	// FLG byte.
	lz4Version         = 1 << 6
	lz4VersionMask     = 3 << 6
	lz4Independent     = 1 << 5
	lz4BlockChecksum   = 1 << 4
	lz4ContentSize     = 1 << 3
	lz4ContentChecksum = 1 << 2
	lz4Reserved        = 3 // and the dictionary id, which Apache takes for reserved
	// lz4Stored marks a block that is not compressed.
	lz4Stored = 1 << 31
	// lz4Ratio is more than a block can inflate: a length byte stands for 255.
	lz4Ratio = 256
)

// lz4Frame reads the parts of a frame.
type lz4Frame struct {
	src      []byte
	flags    byte
	maxBlock int
}

func inflateLZ4(dst, src []byte, limit int) ([]byte, error) {
	f := lz4Frame{src: src}
	if err := f.header(); err != nil {
		return dst, err
	}
	start := len(dst)
	for {
		block, stored, err := f.block()
		if err != nil {
			return dst, err
		}
		if block == nil {
			return dst, f.checkContent(dst[start:])
		}
		if dst, err = f.inflate(dst, block, stored, limit-(len(dst)-start)); err != nil {
			return dst, err
		}
	}
}

// header reads magic, FLG, BD, the content size and the header's checksum.
func (f *lz4Frame) header() error {
	if len(f.src) < 7 || binary.LittleEndian.Uint32(f.src) != lz4Magic {
		return fmt.Errorf("%w: no lz4 frame", ErrCorrupt)
	}
	flags, size := f.src[4], f.src[5]
	switch {
	case flags&lz4VersionMask != lz4Version || flags&lz4Reserved != 0 || size&0x8f != 0 || size>>4 < 4:
		return fmt.Errorf("%w: lz4 frame with the flags %02x%02x", ErrCorrupt, flags, size)
	case flags&lz4Independent == 0:
		return fmt.Errorf("%w: lz4 frame with dependent blocks, which Kafka does not read", ErrCorrupt)
	}
	end := 6
	if flags&lz4ContentSize != 0 {
		end += 8
	}
	if len(f.src) <= end || byte(xxh32(f.src[4:end])>>8) != f.src[end] {
		return fmt.Errorf("%w: checksum of the lz4 frame's header", ErrCorrupt)
	}
	f.flags, f.maxBlock, f.src = flags, 1<<(2*(size>>4)+8), f.src[end+1:]
	return nil
}

// block returns the next block, nil after the last one.
func (f *lz4Frame) block() (block []byte, stored bool, err error) {
	if len(f.src) < 4 {
		return nil, false, fmt.Errorf("%w: lz4 frame without an end", ErrCorrupt)
	}
	size := binary.LittleEndian.Uint32(f.src)
	f.src = f.src[4:]
	if size == 0 {
		return nil, false, nil
	}
	stored = size&lz4Stored != 0
	n := int64(size &^ lz4Stored)
	trailer := int64(0)
	if f.flags&lz4BlockChecksum != 0 {
		trailer = 4
	}
	if n == 0 || n > int64(f.maxBlock) || n+trailer > int64(len(f.src)) {
		return nil, false, fmt.Errorf("%w: an lz4 block of %d bytes, %d are left", ErrCorrupt, n, len(f.src))
	}
	block = f.src[:n:n]
	if trailer > 0 && binary.LittleEndian.Uint32(f.src[n:]) != xxh32(block) {
		return nil, false, fmt.Errorf("%w: checksum of an lz4 block", ErrCorrupt)
	}
	f.src = f.src[n+trailer:]
	return block, stored, nil
}

// inflate appends one block to dst, at most limit bytes.
func (f *lz4Frame) inflate(dst, block []byte, stored bool, limit int) ([]byte, error) {
	if stored {
		if len(block) > limit {
			return dst, tooLarge(limit)
		}
		return append(dst, block...), nil
	}
	most := min(f.maxBlock, lz4Ratio*len(block))
	dst = slices.Grow(dst, most)
	n, err := lz4.UncompressBlock(block, dst[len(dst):len(dst)+most])
	switch {
	case err != nil:
		return dst, corrupt(err)
	case n > limit:
		return dst, tooLarge(limit)
	}
	return dst[:len(dst)+n], nil
}

// checkContent verifies the checksum of the whole frame where it has one.
// Apache does not, librdkafka and franz-go do: what they cannot read stays out.
func (f *lz4Frame) checkContent(content []byte) error {
	if f.flags&lz4ContentChecksum == 0 {
		return nil
	}
	if len(f.src) < 4 || binary.LittleEndian.Uint32(f.src) != xxh32(content) {
		return fmt.Errorf("%w: checksum of the lz4 frame's content", ErrCorrupt)
	}
	return nil
}

// lz4BlockSize is what Lz4BlockOutputStream puts into one block.
const lz4BlockSize = 64 << 10

// lz4Fast is the level of lz4 at which Apache takes the fast compressor.
const lz4Fast = 9

// lz4Compressor has a compressor of each kind; each keeps its hash tables.
type lz4Compressor struct {
	fast lz4.Compressor
	high lz4.CompressorHC
}

var lz4Compressors = sync.Pool{New: func() any { return new(lz4Compressor) }}

// appendLZ4 writes what Lz4BlockOutputStream writes: blocks of 64 KiB, no
// checksums but the header's.
func appendLZ4(dst, src []byte, level int) []byte {
	c := lz4Compressors.Get().(*lz4Compressor)
	defer lz4Compressors.Put(c)
	dst = binary.LittleEndian.AppendUint32(dst, lz4Magic)
	dst = append(dst, lz4Version|lz4Independent, 4<<4)
	dst = append(dst, byte(xxh32(dst[len(dst)-2:])>>8))
	for len(src) > 0 {
		block := src[:min(len(src), lz4BlockSize)]
		src = src[len(block):]
		dst = slices.Grow(dst, 4+len(block))
		start := len(dst)
		// Room for less than the block: what does not shrink is stored.
		n := c.compress(block, dst[start+4:start+4+len(block)-1], level)
		if n == 0 {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(len(block))|lz4Stored)
			dst = append(dst, block...)
			continue
		}
		dst = binary.LittleEndian.AppendUint32(dst, uint32(n))[:start+4+n]
	}
	return binary.LittleEndian.AppendUint32(dst, 0)
}

// compress returns the compressed size, 0 where the block does not shrink.
func (c *lz4Compressor) compress(block, dst []byte, level int) int {
	var n int
	var err error
	if level == DefaultLevel || level == lz4Fast {
		n, err = c.fast.CompressBlock(block, dst)
	} else {
		// Apache's 17 levels are those of LZ4_compress_HC; the library has 9.
		c.high.Level = lz4.CompressionLevel(1 << (8 + min(max(level, 1), 9)))
		n, err = c.high.CompressBlock(block, dst)
	}
	if err != nil {
		return 0 // it does not fit
	}
	return n
}

package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/golang/snappy"
)

// The records of a snappy batch are either in the framing of snappy-java (the
// "xerial" format of SnappyOutputStream: Apache's clients and most others) or
// one raw block (some versions of librdkafka and of other clients, which
// SnappyInputStream takes, too).
//
// The framing is a header of 16 bytes, magic and two int32 versions, then blocks,
// each an int32 length before a raw block. A header may come again between
// blocks, where streams were concatenated.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const (
	xerialHeader = 16
	// xerialBlock is how much SnappyOutputStream puts into one block.
	xerialBlock = 32 << 10
	// snappyRatio is more than the format can inflate: an element of 3 bytes
	// makes 64 at most.
	snappyRatio = 22
)

func inflateSnappy(dst, src []byte, limit int) ([]byte, error) {
	if len(src) < xerialHeader || !bytes.HasPrefix(src, xerialMagic) {
		return inflateSnappyBlock(dst, src, limit)
	}
	start := len(dst)
	for src = src[xerialHeader:]; len(src) > 0; {
		if len(src) >= xerialHeader && bytes.HasPrefix(src, xerialMagic) {
			src = src[xerialHeader:]
			continue
		}
		if len(src) < 4 {
			return dst, fmt.Errorf("%w: %d bytes after the last snappy block", ErrCorrupt, len(src))
		}
		n := int64(int32(binary.BigEndian.Uint32(src)))
		if src = src[4:]; n < 0 || n > int64(len(src)) {
			return dst, fmt.Errorf("%w: a snappy block of %d bytes, %d are left", ErrCorrupt, n, len(src))
		}
		var err error
		if dst, err = inflateSnappyBlock(dst, src[:n], limit-(len(dst)-start)); err != nil {
			return dst, err
		}
		src = src[n:]
	}
	return dst, nil
}

func inflateSnappyBlock(dst, src []byte, limit int) ([]byte, error) {
	n, err := snappy.DecodedLen(src)
	switch {
	case err != nil:
		return dst, corrupt(err)
	case n > snappyRatio*len(src):
		return dst, fmt.Errorf("%w: a snappy block of %d bytes declares %d", ErrCorrupt, len(src), n)
	case n > limit:
		return dst, tooLarge(limit)
	}
	dst = slices.Grow(dst, n)
	start := len(dst)
	if _, err := snappy.Decode(dst[start:start+n], src); err != nil {
		return dst, corrupt(err)
	}
	return dst[:start+n], nil
}

// appendSnappy writes what SnappyOutputStream writes.
func appendSnappy(dst, src []byte) []byte {
	dst = append(dst, xerialMagic...)
	dst = append(dst, 0, 0, 0, 1, 0, 0, 0, 1)
	for len(src) > 0 {
		block := src[:min(len(src), xerialBlock)]
		src = src[len(block):]
		most := snappy.MaxEncodedLen(len(block))
		dst = slices.Grow(dst, 4+most)
		start := len(dst)
		n := len(snappy.Encode(dst[start+4:start+4+most], block))
		dst = binary.BigEndian.AppendUint32(dst, uint32(n))[:start+4+n]
	}
	return dst
}

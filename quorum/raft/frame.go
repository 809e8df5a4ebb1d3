package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Limits of one frame's payload by what the connection carries, in bytes.
const (
	// A hello has a cluster id of 64 bytes and 60 bytes of numbers; a refusal
	// has a sentence.
	maxHelloFrame = 512
	// An exchange names at most 15 controllers with 28 bytes each, and a reason.
	maxExchangeFrame = 1024
	// Dragonboat fills a batch of messages up to 64 MiB, and one message may
	// pass that by the entry that no longer fits: 8 MiB of records and its
	// header.
	maxMessageFrame = 80 << 20
	// Dragonboat cuts snapshots into chunks of 2 MiB, each with the membership.
	maxChunkFrame = 3 << 20
)

// frameHeader is the size of what precedes a payload: its length and its
// CRC-32C, both big endian. TLS protects from people; the checksum is for the
// network cards that TCP's own does not catch when there is no TLS.
const frameHeader = 8

// frameStep bounds how much is allocated ahead of the bytes that have arrived:
// a peer can make us hold no more than it sends, whatever length it declares.
const frameStep = 1 << 20

var (
	errFrameLength   = errors.New("frame is longer than its limit")
	errFrameChecksum = errors.New("frame fails its checksum")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealFrame fills in the header of a frame whose payload begins at frameHeader.
func sealFrame(frame []byte) []byte {
	payload := frame[frameHeader:]
	binary.BigEndian.PutUint32(frame, uint32(len(payload)))
	binary.BigEndian.PutUint32(frame[4:], crc32.Checksum(payload, castagnoli))
	return frame
}

// readFrame reads one frame with at most limit bytes of payload, which it
// returns in buf's memory when that is large enough. At the clean end of the
// stream the error is io.EOF.
func readFrame(r io.Reader, buf []byte, limit int) ([]byte, error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(header[:])
	if uint64(length) > uint64(limit) {
		return nil, fmt.Errorf("%w: %d bytes declared, %d allowed", errFrameLength, length, limit)
	}
	buf = buf[:0]
	for n := int(length); len(buf) < n; {
		step := min(n-len(buf), max(frameStep, cap(buf)-len(buf)))
		at := len(buf)
		if cap(buf)-at < step {
			grown := make([]byte, at, min(n, max(2*at, at+step)))
			copy(grown, buf)
			buf = grown
		}
		buf = buf[:at+step]
		if _, err := io.ReadFull(r, buf[at:]); err != nil {
			return nil, fmt.Errorf("read %d of %d bytes of a frame: %w", at, n, noEOF(err))
		}
	}
	if crc32.Checksum(buf, castagnoli) != binary.BigEndian.Uint32(header[4:]) {
		return nil, errFrameChecksum
	}
	return buf, nil
}

// noEOF turns the end of a stream inside a frame into an error that no caller
// takes for a clean end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

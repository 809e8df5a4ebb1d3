package batch

import (
	"encoding/binary"
	"fmt"

	"kvorum/protocol/errors"
)

// recordCheck walks the records of a batch that a client sent. It is RecordIter
// once more, without its results and its generality, because every record that
// a cluster stores goes through it: some 15 ns each.
type recordCheck struct {
	rules *Rules
	view  View
	nowMs int64

	newest      int64 // largest timestamp, -1 where there is none
	newestDelta int32
	code        errors.Code // of the errors
	bad         int         // records at fault
	errors      []RecordError
}

// noTimestamp is the timestamp of a record that has none.
const noTimestamp = -1

// check walks all records, so that a client hears of every one that is at fault.
func (w *recordCheck) check(b []byte) *Refusal {
	w.newest = noTimestamp
	base, count := w.view.BaseTimestamp(), w.view.Count()
	stamped := w.view.LogAppendTime()
	oldest, latest := w.timeLimits()
	for i := range count {
		size, delta, hasKey := plainRecord(b, i)
		if size == 0 {
			if size, delta, hasKey = anyRecord(b, i); size == 0 {
				return w.malformed(i)
			}
		}
		b = b[size:]
		timestamp := base + delta
		if timestamp > w.newest {
			w.newest, w.newestDelta = timestamp, i
		}
		switch {
		case !hasKey && w.rules.Compacted:
			w.fault(errors.InvalidRecord, i, "a record without a key in a compacted topic")
		case timestamp != noTimestamp && (timestamp < oldest || timestamp > latest):
			w.fault(errors.InvalidTimestamp, i, fmt.Sprintf("timestamp %d is not within %d and %d", timestamp, oldest, latest))
		case stamped:
			w.fault(errors.InvalidTimestamp, i, "a producer may not set the timestamp type to LogAppendTime")
		}
	}
	if len(b) > 0 {
		return refuse(errors.InvalidRecord, "%d bytes after the %d records that the batch declares", len(b), count)
	}
	return w.refusal()
}

// timeLimits are the least and the largest timestamp that the topic takes.
func (w *recordCheck) timeLimits() (oldest, latest int64) {
	const least, most = -1 << 63, 1<<63 - 1
	if w.rules.LogAppendTime {
		return least, most
	}
	if oldest = w.nowMs - w.rules.MaxBeforeMs; w.rules.MaxBeforeMs > w.nowMs {
		oldest = least // nothing that a clock shows is as old
	}
	if latest = w.nowMs + w.rules.MaxAfterMs; latest < w.nowMs {
		latest = most
	}
	return oldest, latest
}

// plainRecord is anyRecord for what nearly every record is: lengths below 8 KiB, a
// timestamp near the first one's, no headers. Its size is 0 for any other, also for a
// good one. It must not take what anyRecord refuses.
func plainRecord(b []byte, index int32) (size int, timestampDelta int64, hasKey bool) {
	length, at := shortVarint(b, 0)
	if at == 0 {
		return 0, 0, false
	}
	end := at + int(length)
	timestampDelta, at = shortVarint(b, at+1) // after the attributes
	if at == 0 || index >= 1<<20 || len(b)-at < 4 {
		return 0, 0, false
	}
	// The offset delta has to be index: its bytes are compared, not decoded.
	want, mask, n := shortZigzag(uint32(index))
	if (binary.LittleEndian.Uint32(b[at:])^want)&mask != 0 {
		return 0, 0, false
	}
	keyLen, at := shortVarint(b, at+n)
	if at == 0 || keyLen < -1 {
		return 0, 0, false
	}
	valueLen, at := shortVarint(b, at+int(max(keyLen, 0)))
	if at == 0 || valueLen < -1 {
		return 0, 0, false
	}
	at += int(max(valueLen, 0))
	if at >= len(b) || b[at] != 0 || at+1 != end { // the count of headers ends it
		return 0, 0, false
	}
	return end, timestampDelta, keyLen >= 0
}

// shortVarint reads a varint of one or two bytes and returns the place after it, 0
// where it is longer or closer than four bytes to the end.
func shortVarint(b []byte, at int) (x int64, next int) {
	if len(b)-at < 4 {
		return 0, 0
	}
	u := uint32(b[at])
	if u < 0x80 {
		return int64(u>>1) ^ -int64(u&1), at + 1
	}
	v := uint32(b[at+1])
	if v >= 0x80 {
		return 0, 0
	}
	u = u&0x7f | v<<7
	return int64(u>>1) ^ -int64(u&1), at + 2
}

// shortZigzag is the varint of an x below 1<<20, as the low bytes of a little-endian
// word, the mask of those bytes, and their number.
func shortZigzag(x uint32) (word, mask uint32, n int) {
	switch {
	case x < 1<<6:
		return x << 1, 0xff, 1
	case x < 1<<13:
		return x<<1&0x7f | 0x80 | x>>6<<8, 0xffff, 2
	}
	return x<<1&0x7f | 0x80 | (x>>6&0x7f|0x80)<<8 | x>>13<<16, 0xffffff, 3
}

// anyRecord checks the record that b begins with and returns its size with its
// length prefix, 0 where it is malformed.
func anyRecord(b []byte, index int32) (size int, timestampDelta int64, hasKey bool) {
	length, n := varint(b)
	if n <= 0 || length <= 0 || length > int64(len(b)-n) {
		return 0, 0, false
	}
	size = n + int(length)
	timestampDelta, hasKey, ok := checkBody(b[n:size], index)
	if !ok {
		return 0, 0, false
	}
	return size, timestampDelta, hasKey
}

// checkBody walks one record, from its attributes to its last header.
func checkBody(b []byte, index int32) (timestampDelta int64, hasKey, ok bool) {
	at := 1 // attributes: no bit of them is defined
	if len(b) < 6 {
		return 0, false, false
	}
	timestampDelta, n := varint(b[at:])
	if at += n; n <= 0 {
		return 0, false, false
	}
	offsetDelta, n := varint(b[at:])
	if at += n; n <= 0 || offsetDelta != int64(index) {
		return 0, false, false
	}
	keyLen, n := varint(b[at:])
	if at += n; n <= 0 || keyLen < -1 || keyLen > int64(len(b)-at) {
		return 0, false, false
	}
	at += int(max(keyLen, 0))
	valueLen, n := varint(b[at:])
	if at += n; n <= 0 || valueLen < -1 || valueLen > int64(len(b)-at) {
		return 0, false, false
	}
	at += int(max(valueLen, 0))
	headers, n := varint(b[at:])
	if at += n; n <= 0 || headers < 0 || headers > int64(len(b)-at) {
		return 0, false, false
	}
	if headers > 0 && !checkHeaders(b[at:], headers) || headers == 0 && at != len(b) {
		return 0, false, false
	}
	return timestampDelta, keyLen >= 0, true
}

// checkHeaders walks n headers that must fill b. Each takes two bytes or more.
func checkHeaders(b []byte, n int64) bool {
	for range n {
		for least := range int64(2) { // a key is never null, a value may be
			size, k := varint(b)
			if k <= 0 || size < -least || size > int64(len(b)-k) {
				return false
			}
			b = b[k+int(max(size, 0)):]
		}
	}
	return len(b) == 0
}

// varint is binary.Varint with the lengths of one and two bytes first.
func varint(b []byte) (int64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return int64(b[0]>>1) ^ -int64(b[0]&1), 1
	}
	if len(b) > 1 && b[1] < 0x80 {
		u := uint64(b[0]&0x7f) | uint64(b[1])<<7
		return int64(u>>1) ^ -int64(u&1), 2
	}
	return binary.Varint(b)
}

func (w *recordCheck) malformed(i int32) *Refusal {
	return refuse(errors.InvalidRecord, "record %d of %d is malformed: its lengths do not fit its bytes, or its offset delta is not %d", i, w.view.Count(), i)
}

// fault notes a record that the topic does not take. An invalid timestamp anywhere
// decides the code of the whole, as in LogValidator.processRecordErrors.
func (w *recordCheck) fault(code errors.Code, i int32, message string) {
	w.bad++
	if w.code != errors.InvalidTimestamp {
		w.code = code
	}
	if len(w.errors) < maxRecordErrors {
		w.errors = append(w.errors, RecordError{Index: i, Message: message})
	}
}

func (w *recordCheck) refusal() *Refusal {
	if w.bad == 0 {
		return nil
	}
	first := w.errors[0]
	r := refuse(w.code, "%d of %d records are refused; the first is record %d: %s", w.bad, w.view.Count(), first.Index, first.Message)
	r.Records = w.errors
	return r
}

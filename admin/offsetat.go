package admin

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// OffsetAt names a place in a partition the way people do.
type OffsetAt struct {
	from offsetFrom
	n    int64 // records, or milliseconds since 1970
}

type offsetFrom int

const (
	fromStart offsetFrom = iota // n records after the first
	fromEnd                     // n records before the end
	fromZero                    // offset n
	fromTime                    // the first record of timestamp n or later
)

// StartOfPartition and EndOfPartition are the two ends of a partition.
var (
	StartOfPartition = OffsetAt{from: fromStart}
	EndOfPartition   = OffsetAt{from: fromEnd}
)

// ParseOffsetAt reads start, end, N, +N (after the start), -N (before the end) or
// @TIMESTAMP (milliseconds since 1970, a date, RFC 3339, or -DURATION before now).
func ParseOffsetAt(text string, now time.Time) (OffsetAt, error) {
	switch {
	case text == "start" || text == "earliest":
		return StartOfPartition, nil
	case text == "end" || text == "latest":
		return EndOfPartition, nil
	case strings.HasPrefix(text, "@"):
		ms, err := parseTimestamp(text[1:], now)
		return OffsetAt{fromTime, ms}, err
	}
	kind, digits := fromZero, text
	if rest, ok := strings.CutPrefix(text, "+"); ok {
		kind, digits = fromStart, rest
	} else if rest, ok := strings.CutPrefix(text, "-"); ok {
		kind, digits = fromEnd, rest
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return OffsetAt{}, fmt.Errorf("%q is no offset: use start, end, N, +N, -N or @TIMESTAMP", text)
	}
	return OffsetAt{kind, int64(n)}, nil
}

// timeLayouts are the dates that a timestamp may be; a date without a zone is UTC.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999", "2006-01-02T15:04", "2006-01-02"}

func parseTimestamp(text string, now time.Time) (int64, error) {
	if rest, ok := strings.CutPrefix(text, "-"); ok {
		if d, err := time.ParseDuration(rest); err == nil {
			return now.Add(-d).UnixMilli(), nil
		}
	}
	if ms, err := strconv.ParseUint(text, 10, 63); err == nil {
		return int64(ms), nil
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UnixMilli(), nil
		}
	}
	return 0, fmt.Errorf("%q is no time: use milliseconds since 1970, 2006-01-02, 2006-01-02T15:04:05Z or -1h", text)
}

// Span is a run of offsets, the end exclusive.
type Span struct {
	From OffsetAt
	// To is nil for records without end.
	To *OffsetAt
}

// ParseSpan reads what ParseOffsetAt does, or two of them with a colon between
// them: A:B. An end without a start, :B, begins at the start. A timestamp with
// colons in it needs none of A:B.
func ParseSpan(text string, now time.Time) (Span, error) {
	from, err := ParseOffsetAt(text, now)
	if err == nil {
		return Span{From: from}, nil
	}
	for i := range text {
		if text[i] != ':' {
			continue
		}
		first, last := text[:i], text[i+1:]
		if first == "" {
			first = "start"
		}
		a, errA := ParseOffsetAt(first, now)
		b, errB := ParseOffsetAt(last, now)
		if errA == nil && errB == nil {
			return Span{a, &b}, nil
		}
	}
	return Span{}, fmt.Errorf("%w, or a range A:B of two of them", err)
}

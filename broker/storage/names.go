package storage

import (
	"fmt"
	"strconv"
	"strings"

	"kvorum/internal/kafka"
)

// Suffixes of the files of a partition (LogFileUtils, UnifiedLog).
const (
	logSuffix       = ".log"
	indexSuffix     = ".index"
	timeIndexSuffix = ".timeindex"
	txnIndexSuffix  = ".txnindex"
	snapshotSuffix  = ".snapshot"

	// deletedSuffix: out of the log, to be removed.
	deletedSuffix = ".deleted"
	// cleanedSuffix: the output of a compaction that has not finished; thrown
	// away when a log is opened.
	cleanedSuffix = ".cleaned"
	// swapSuffix: the output of a compaction that has finished; it takes the
	// place of the segments it was made from when a log is opened.
	swapSuffix = ".swap"
	// tmpSuffix: a file that was being replaced.
	tmpSuffix = ".tmp"
)

// baseDigits is the width of an offset in a file name.
const baseDigits = 20

// fileName is the name of a file that begins at offset base.
func fileName(base kafka.Offset, suffix string) string {
	return fmt.Sprintf("%0*d%s", baseDigits, base, suffix)
}

// parseName splits the name of a segment's or a snapshot's file; suffix is all
// that follows the digits, ".log" or ".timeindex.swap". ok is false for other
// files.
func parseName(name string) (base kafka.Offset, suffix string, ok bool) {
	digits, _, found := strings.Cut(name, ".")
	if !found || len(digits) != baseDigits {
		return 0, "", false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || digits[0] == '+' {
		return 0, "", false
	}
	return kafka.Offset(n), name[baseDigits:], true
}

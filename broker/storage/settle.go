package storage

import (
	"errors"
	"math"
	"strings"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// settleNames finishes what a crash interrupted (LogLoader
// .removeTempFilesAndCollectSwapFiles and what follows it) and returns the names
// that stay: deletions are finished, compactions that had not ended are thrown
// away, and those that had ended take the place of the segments they were made
// from.
func (l *Log) settleNames() ([]string, error) {
	names, err := l.fs().List(l.dir)
	if err != nil {
		return nil, err
	}
	swaps, changed, err := l.removeRemains(names)
	if err != nil {
		return nil, err
	}
	if len(swaps) > 0 {
		changed = true
		if err := l.finishSwap(swaps); err != nil {
			return nil, err
		}
	}
	if names, err = l.fs().List(l.dir); err != nil {
		return nil, err
	}
	orphans, err := l.removeOrphans(names)
	if err != nil || !changed && !orphans {
		return names, err
	}
	if err := vfs.SyncDir(l.fs(), l.dir); err != nil {
		return nil, err
	}
	return l.fs().List(l.dir)
}

// removeRemains removes what is to be deleted or was never finished, and returns
// the files of finished compactions. A compaction that was about to give its
// files their names has both kinds: all of it is thrown away.
func (l *Log) removeRemains(names []string) (swaps []string, changed bool, err error) {
	unfinished := kafka.Offset(math.MaxInt64)
	for _, name := range names {
		base, suffix, ok := parseName(name)
		switch {
		case strings.HasSuffix(name, tmpSuffix):
		case ok && strings.HasSuffix(suffix, deletedSuffix):
		case ok && strings.HasSuffix(suffix, cleanedSuffix):
			unfinished = min(unfinished, base)
		default:
			continue
		}
		changed = true
		err = errors.Join(err, l.fs().Remove(l.at(name)))
	}
	for _, name := range names {
		base, suffix, ok := parseName(name)
		switch {
		case !ok || !strings.HasSuffix(suffix, swapSuffix):
		case base >= unfinished:
			changed = true
			err = errors.Join(err, l.fs().Remove(l.at(name)))
		default:
			swaps = append(swaps, name)
		}
	}
	return swaps, changed, err
}

// finishSwap removes the segments that the finished ones replace and gives these
// their names.
func (l *Log) finishSwap(swaps []string) error {
	first, end := kafka.Offset(math.MaxInt64), kafka.Offset(0)
	for _, name := range swaps {
		base, suffix, _ := parseName(name)
		if suffix != logSuffix+swapSuffix {
			continue
		}
		next, err := l.endOf(name, base)
		if err != nil {
			return err
		}
		first, end = min(first, base), max(end, next)
	}
	names, err := l.fs().List(l.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		base, suffix, ok := parseName(name)
		if !ok || base < first || base >= end || !segmentFile(suffix) {
			continue
		}
		if err := l.fs().Remove(l.at(name)); err != nil {
			return err
		}
	}
	for _, name := range swaps {
		if err := l.fs().Rename(l.at(name), l.at(strings.TrimSuffix(name, swapSuffix))); err != nil {
			return err
		}
	}
	return nil
}

// endOf is the offset after the last batch of a segment's file.
func (l *Log) endOf(name string, base kafka.Offset) (kafka.Offset, error) {
	f, err := l.fs().Open(l.at(name))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	w := walk(f, l.at(name))
	defer w.done()
	end := base
	for position := int64(0); position < info.Size(); {
		h, err := w.next(position, info.Size())
		if err != nil {
			return 0, err
		}
		position, end = h.end(), h.last+1
	}
	return end, nil
}

func segmentFile(suffix string) bool {
	switch suffix {
	case logSuffix, indexSuffix, timeIndexSuffix, txnIndexSuffix:
		return true
	}
	return false
}

// removeOrphans removes indexes whose log file is gone.
func (l *Log) removeOrphans(names []string) (changed bool, err error) {
	logs := map[kafka.Offset]bool{}
	for _, name := range names {
		if base, suffix, ok := parseName(name); ok && suffix == logSuffix {
			logs[base] = true
		}
	}
	for _, name := range names {
		if base, suffix, ok := parseName(name); ok && segmentFile(suffix) && !logs[base] {
			changed = true
			err = errors.Join(err, l.fs().Remove(l.at(name)))
		}
	}
	return changed, err
}

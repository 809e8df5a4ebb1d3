package storage

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sort"

	"kvorum/broker/storage/checkpoint"
	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// Open opens the log in a directory, or begins one in an empty directory. After
// an unclean stop it checks what lies past the recovery point, cuts the log
// before the first batch that is torn or damaged, and builds the indexes of what
// it read anew (LogLoader). The caller opens a directory once.
func Open(o Options) (*Log, error) {
	l := newLog(o)
	if err := l.load(); err != nil {
		return nil, fmt.Errorf("open the log of %s in %s: %w", o.Partition, o.Dir, err)
	}
	for _, s := range *l.segments.Load() { // a log that nobody uses holds no descriptor
		if err := s.rest(); err != nil {
			return nil, fmt.Errorf("open the log of %s in %s: %w", o.Partition, o.Dir, err)
		}
	}
	return l, nil
}

func newLog(o Options) *Log {
	l := &Log{options: o, files: o.Files, dir: o.Dir, logger: o.Logger}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	l.SetConfig(o.Config)
	l.producers = producer.New(o.LogStart, o.ProducerExpirationMs)
	return l
}

// begin returns the empty log of a new partition. It touches no file: Make or the
// first append makes the directory (see makeDir).
func begin(o Options) *Log {
	l := newLog(o)
	l.epochs, l.unmade = new(checkpoint.Epochs), true
	end := l.beginAt(o.LogStart)
	if err := l.begin(end); err != nil {
		panic(fmt.Sprintf("storage: begin the log of %s: %v", o.Partition, err))
	}
	return l
}

// beginAt gives the log its first segment, which has no file before the first
// append.
func (l *Log) beginAt(base kafka.Offset) kafka.Offset {
	l.newDir = true
	l.segments.Store(&[]*segment{freshSegment(l.files, l.dir, base, l.options.NowMs, l.prepare)})
	l.producers.Clear(base)
	return base
}

func (l *Log) load() error {
	names, err := l.settleNames()
	if err != nil {
		return err
	}
	if l.epochs, err = checkpoint.ReadEpochs(l.fs(), l.dir); err != nil {
		if !errors.Is(err, checkpoint.ErrDamaged) {
			return err
		}
		l.logger.Warn("the leader epochs are read from the batches", "partition", l.options.Partition.String(), "error", err)
		l.epochs, l.options.Clean, l.options.RecoveryPoint = new(checkpoint.Epochs), false, 0
	} else {
		l.epochSum = sumOf(l.epochs)
	}
	all, err := l.openSegments(names)
	if err != nil {
		return err
	}
	l.findSnapshots(names)
	end, err := l.findLog(all, names)
	if err != nil {
		return err
	}
	return l.begin(end)
}

// findLog finds the end of the log in its segments, or begins one.
func (l *Log) findLog(all []*segment, names []string) (kafka.Offset, error) {
	if len(all) == 0 {
		if err := l.dropSnapshots(0); err != nil {
			return 0, err
		}
		return l.beginAt(l.options.LogStart), nil
	}
	l.newDir = !l.options.Clean
	if err := l.completeIndexes(all, names); err != nil {
		return 0, err
	}
	if l.options.Clean {
		return l.trust(all)
	}
	return l.recover(all)
}

// completeIndexes builds the indexes that are missing.
func (l *Log) completeIndexes(all []*segment, names []string) error {
	there := make(map[string]bool, len(names))
	for _, name := range names {
		there[name] = true
	}
	for _, s := range all {
		if there[fileName(s.base, indexSuffix)] && there[fileName(s.base, timeIndexSuffix)] {
			continue
		}
		if !l.options.Clean && s.base >= l.options.RecoveryPoint {
			continue // recovery indexes it
		}
		l.logger.Warn("an index is missing and built anew", "partition", l.options.Partition.String(), "file", s.log.name())
		if err := l.rebuildIndexes(s, s.size.Load()); err != nil {
			return err
		}
	}
	return nil
}

// begin sets the offsets of a log whose segments are right.
func (l *Log) begin(end kafka.Offset) error {
	start := max(l.options.LogStart, (*l.segments.Load())[0].base)
	if start > end {
		return fmt.Errorf("the log starts at offset %d by its checkpoint and ends at %d", start, end)
	}
	l.start.Store(int64(start))
	l.end.Store(int64(end))
	l.high.Store(int64(start))
	point := min(l.options.RecoveryPoint, end)
	if l.options.Clean {
		point = end
	}
	l.recoveryPoint.Store(int64(point))
	l.newEpochs = l.epochs.TruncateEnd(end) || l.newEpochs
	l.newEpochs = l.epochs.TruncateStart(start) || l.newEpochs
	l.producing.Lock()
	defer l.producing.Unlock()
	l.producers.LogStart(start)
	l.producers.HighWatermark(start)
	l.showUnstable()
	return nil
}

// openSegments describes the segments that are there, in order.
func (l *Log) openSegments(names []string) ([]*segment, error) {
	var all []*segment
	for _, name := range names {
		base, suffix, ok := parseName(name)
		if !ok || suffix != logSuffix {
			continue
		}
		s := newSegment(l.files, l.dir, base, "", l.options.NowMs)
		info, err := l.fs().Stat(s.log.name())
		if err != nil {
			return nil, err
		}
		s.size.Store(info.Size())
		s.modified = info.ModTime().UnixMilli()
		all = append(all, s)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].base < all[j].base })
	return all, nil
}

// readFile reads a small file whole.
func readFile(fsys vfs.FS, path string) ([]byte, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	return data, errors.Join(err, f.Close())
}

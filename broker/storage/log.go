package storage

import (
	"io/fs"
	"log/slog"
	"sort"
	"sync"
	"sync/atomic"

	"kvorum/broker/storage/checkpoint"
	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/internal/vfs"
	"kvorum/protocol/errors"
)

// errNotExist is what the file systems say of a file that is not there.
var errNotExist = fs.ErrNotExist

// Options say where a log is and what is known of it. They are a value that
// Open does not change.
type Options struct {
	Partition kafka.TopicPartition
	TopicID   kafka.TopicID
	Dir       string // the partition's directory; it exists
	Files     *Files
	Config    LogConfig

	// LogStart and RecoveryPoint are the directory's checkpoints, 0 where they
	// have none of this partition.
	LogStart, RecoveryPoint kafka.Offset
	// Clean says that the broker was stopped in order, and so that the files are
	// as Close left them.
	Clean bool

	// ProducerExpirationMs is producer.id.expiration.ms.
	ProducerExpirationMs int64
	// JitterMs is what this log takes off segment.ms, drawn by the caller within
	// segment.jitter.ms.
	JitterMs int64
	NowMs    int64

	Logger *slog.Logger // nil: nothing is logged

	// Rolled is called when a segment is full and wants a Flush by somebody who
	// need not hurry; Failed when the disk refuses a write or a read, after which
	// the log answers KAFKA_STORAGE_ERROR. Both may be nil, are called with the
	// log's locks held and must not call it.
	Rolled func(*Log)
	Failed func(*Log, error)
	// LowerRecoveryPoint is called by a truncation below the recovery point,
	// before bytes are taken away: the new point has to be durable when it
	// returns, or a crash would trust what was never fsynced. It may be nil.
	LowerRecoveryPoint func(*Log, kafka.Offset) error
	// SyncParent makes the name of Dir durable; many logs share one call. It may be
	// nil where Dir is durable already, and is called with the log's locks held.
	SyncParent func() error
}

// Log is one partition on disk. It is safe for concurrent use: appends and
// whatever else changes it wait for each other; reads wait for neither appends
// nor fsyncs.
type Log struct {
	options Options
	files   *Files
	dir     string
	logger  *slog.Logger

	config atomic.Pointer[settings]
	broken atomic.Pointer[error] // not nil: offline
	shut   atomic.Bool

	// segments is the row of segments by base, never empty. The slice is
	// replaced, never changed.
	segments atomic.Pointer[[]*segment]

	start, end, high atomic.Int64
	// unstable is the first offset that is not stable for its transaction, or
	// noUnstable.
	unstable atomic.Int64

	// appending serialises all that changes the log.
	appending sync.Mutex
	unmade    bool           // the log's directory is not there yet
	newDir    bool           // the directory or its partition.metadata may not be fsynced
	unflushed int64          // records since the recovery point
	newFiles  bool           // names in the directory that are not fsynced
	snapshots []kafka.Offset // of the producers, ascending

	// producing guards producers; it is held neither over write(2) nor fsync, and
	// taken inside appending.
	producing sync.Mutex
	producers *producer.State

	// epochLock guards the leader epochs, which requests read beside appends.
	epochLock sync.Mutex
	epochs    *checkpoint.Epochs
	newEpochs bool                    // epochs that are not in their file
	epochSum  uint64                  // sumOf what is there; 0: not known
	doubted   []checkpoint.EpochStart // while the log is recovered: what the file has past the recovery point

	// flushing serialises fsyncs; it is taken outside of appending.
	flushing      sync.Mutex
	recoveryPoint atomic.Int64
}

const noUnstable = int64(1<<63 - 1)

// Partition is the partition that the log holds.
func (l *Log) Partition() kafka.TopicPartition { return l.options.Partition }

// TopicID is the id of the partition's topic.
func (l *Log) TopicID() kafka.TopicID { return l.options.TopicID }

// Dir is the partition's directory.
func (l *Log) Dir() string { return l.dir }

// LogStart is the first offset that can be read.
func (l *Log) LogStart() kafka.Offset { return kafka.Offset(l.start.Load()) }

// LogEnd is the offset of the next record (exclusive end).
func (l *Log) LogEnd() kafka.Offset { return kafka.Offset(l.end.Load()) }

// HighWatermark is the offset below which everything is replicated.
func (l *Log) HighWatermark() kafka.Offset { return kafka.Offset(l.high.Load()) }

// LastStable is the offset below which every transaction has ended, at most the
// high watermark.
func (l *Log) LastStable() kafka.Offset {
	if planted.Is(planted.ShowOpenTransactions) {
		return l.HighWatermark()
	}
	return kafka.Offset(min(l.high.Load(), l.unstable.Load()))
}

// RecoveryPoint is the offset below which everything is fsynced.
func (l *Log) RecoveryPoint() kafka.Offset { return kafka.Offset(l.recoveryPoint.Load()) }

// Config is the configuration in effect.
func (l *Log) Config() LogConfig { return l.config.Load().LogConfig }

// SetConfig takes another configuration from the next append on.
func (l *Log) SetConfig(c LogConfig) { l.config.Store(newSettings(c)) }

// Size is the number of bytes in all segments, indexes apart.
func (l *Log) Size() int64 {
	var n int64
	for _, s := range *l.segments.Load() {
		n += s.size.Load()
	}
	return n
}

// SetHighWatermark moves the high watermark, forwards or back, within the log,
// and returns where it is then.
func (l *Log) SetHighWatermark(hw kafka.Offset) kafka.Offset {
	l.producing.Lock()
	defer l.producing.Unlock()
	hw = min(max(hw, l.LogStart()), l.LogEnd())
	l.high.Store(int64(hw))
	l.producers.HighWatermark(hw)
	l.showUnstable()
	return hw
}

// showUnstable publishes the first unstable offset; producing is held.
func (l *Log) showUnstable() {
	if first, ok := l.producers.FirstUnstable(); ok {
		l.unstable.Store(int64(first))
	} else {
		l.unstable.Store(noUnstable)
	}
}

// active is the segment that appends go to.
func (l *Log) active() *segment {
	all := *l.segments.Load()
	return all[len(all)-1]
}

// floor is the place of the last segment that begins at or before an offset, -1
// if there is none.
func floor(all []*segment, at kafka.Offset) int {
	return sort.Search(len(all), func(i int) bool { return all[i].base > at }) - 1
}

// check gives the error of a log that can do nothing more.
func (l *Log) check() error {
	if l.shut.Load() {
		return errors.New(errors.NotLeaderOrFollower, "the log of %s is closed", l.options.Partition)
	}
	if err := l.broken.Load(); err != nil {
		return errors.New(errors.KafkaStorageError, "the log of %s in %s is offline", l.options.Partition, l.dir)
	}
	return nil
}

// Fail takes the log offline: its directory has failed. What is in it stays as
// it is.
func (l *Log) Fail(cause error) { l.broken.CompareAndSwap(nil, &cause) }

// Err is why the log is offline; nil while it is not.
func (l *Log) Err() error {
	if err := l.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// fail takes the log offline for an error of the disk, tells the owner once, and
// returns the error for the client.
func (l *Log) fail(cause error) error {
	if l.broken.CompareAndSwap(nil, &cause) {
		l.logger.Error("a log went offline", "partition", l.options.Partition.String(), "dir", l.dir, "error", cause)
		if l.options.Failed != nil {
			l.options.Failed(l, cause)
		}
	}
	return l.check()
}

// at is the path of a file of the partition.
func (l *Log) at(name string) string { return l.fs().PathJoin(l.dir, name) }

func (l *Log) fs() vfs.FS { return l.files.fs }

package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kvorum/broker/storage/checkpoint"
	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	wire "kvorum/protocol/errors"
)

// ErrNoLog says that no log directory holds the partition.
var ErrNoLog = errors.New("no log directory holds the partition")

// DirsOptions say where the logs of a broker are and how they are kept. They are
// a value that OpenDirs does not change.
type DirsOptions struct {
	FS          vfs.FS
	Directories []Directory // at least one
	// OpenFiles bounds the descriptors of all logs.
	OpenFiles int
	// Config is the effective configuration of a topic when one of its logs is
	// opened; SetConfig changes it later. It must not call Dirs.
	Config func(topic string) LogConfig
	// RecoveryThreads is num.recovery.threads.per.data.dir: how many logs of a
	// directory are recovered or closed at a time.
	//
	// This, ProducerExpirationMs and Cleaner are what Tune changes later.
	RecoveryThreads      int
	ProducerExpirationMs int64
	Times                DirsTimes
	Cleaner              CleanerOptions

	Clock  clock.Clock
	Random io.Reader // names of deleted and stray directories
	Logger *slog.Logger

	// Failed is called once for each directory that went offline for good: its
	// disk has failed. All logs in it answer KAFKA_STORAGE_ERROR by then. It may
	// be nil and is called by Run.
	Failed func(kafka.DirectoryID, error)
	// Reopened is called when a log that had gone offline because the disk was full
	// has been opened again as another Log, and when one was opened at last that
	// could not be opened before. It may be nil and is called by Run.
	Reopened func(*Log)
}

// DirsTimes are how often the chores of the log directories are done.
type DirsTimes struct {
	HighWatermark time.Duration // replica.high.watermark.checkpoint.interval.ms
	RecoveryPoint time.Duration // log.flush.offset.checkpoint.interval.ms
	LogStart      time.Duration // log.flush.start.offset.checkpoint.interval.ms
	Retention     time.Duration // log.retention.check.interval.ms
	// FirstRetention is how long after the start retention is looked at first.
	FirstRetention time.Duration
	// ProducerExpiry is producer.id.expiration.check.interval.ms.
	ProducerExpiry time.Duration
	// Probe is how often flush.ms, deleted directories and full disks are looked at.
	Probe time.Duration
}

// DefaultDirsTimes are Kafka's.
var DefaultDirsTimes = DirsTimes{
	HighWatermark: 5 * time.Second, RecoveryPoint: time.Minute, LogStart: time.Minute,
	Retention: 5 * time.Minute, FirstRetention: 30 * time.Second, ProducerExpiry: 10 * time.Minute, Probe: time.Second,
}

// Dirs are the log directories of a broker (LogManager): which partition is in
// which directory, and the chores that all logs need. It is safe for concurrent
// use.
//
// OpenDirs reads the names in each directory and the checkpoints, and no log: a
// log is opened when it is asked for, or by Run, which recovers what an unclean
// stop left behind. So a start does not grow with the data.
//
// A directory goes offline when its disk refuses something, and stays so until
// the broker is started again; its logs answer KAFKA_STORAGE_ERROR. A full disk is
// not a failed one, nor is a process without descriptors: only the logs that could not
// write go offline, and Run opens them again, from what is on the disk, as soon as there
// is room (minFree).
//
// Order of locks: Dirs.mu is held for a look at the maps only, never while a log
// is called or a file is touched; holding.mu while a log is opened or taken out, and
// outside of the log's own.
type Dirs struct {
	o      DirsOptions
	steady clock.Steady
	files  *Files
	dirs   []*directory

	mu       sync.RWMutex
	holdings map[kafka.TopicPartition]*holding
	// futures are moves between directories that are under way.
	futures map[kafka.TopicPartition]*holding
	// preferred are directories for partitions that are not here yet.
	preferred map[kafka.TopicPartition]*directory
	// doomed are directories that wait to be removed.
	doomed []doomed
	// rolled are logs with a full segment that is not flushed, short those that wait
	// for room on the disk or a descriptor; both hold a log once.
	rolled, short map[*Log]bool
	unmade        []*holding // new ones that may have no directory yet
	cleaner       cleanState

	tuning atomic.Pointer[Tuning]
	tuned  chan struct{} // tuning has changed: more compactions may be wanted

	failures  chan *directory // each directory once
	wake      chan struct{}   // rolled is not empty
	wakeMaker chan struct{}   // unmade is not empty
}

// directory is one of log.dirs.
type directory struct {
	Directory
	lock    io.Closer
	clean   bool              // it was closed in order the last time
	epoch   kafka.BrokerEpoch // that was said then
	failure atomic.Pointer[error]
	logs    int // in holdings; Dirs.mu guards it

	// writing serialises the checkpoint files.
	writing sync.Mutex
	written map[string]uint64 // a hash of what a file holds

	// syncing shares one fsync of the directory among those who wait for one.
	syncing groupSync
}

// holding is a partition in a directory.
type holding struct {
	partition kafka.TopicPartition
	home      *directory
	future    bool                // in Dirs.futures, not in holdings
	log       atomic.Pointer[Log] // nil until it is asked for

	mu                 sync.Mutex
	name               string // of its directory within home
	err                error  // why it cannot be opened; retryMs and backoffMs say when it is tried again
	retryMs, backoffMs int64
	gone               bool // deleted, stray or moved

	// What the checkpoints say, for as long as the log is not open; high is
	// NoOffset where they say nothing.
	recovery, start, high kafka.Offset
	clean                 bool
	flushedMs             atomic.Int64 // when flush.ms began to count
}

// OpenDirs locks the log directories and finds the partitions in them. A
// directory that cannot be read begins offline, as long as another one can; two
// directories with one partition are an error that names both. The caller
// closes what was opened.
func OpenDirs(o DirsOptions) (*Dirs, error) {
	d := &Dirs{
		o: o, steady: clock.SteadyFrom(o.Clock.Now()), files: NewFiles(o.FS, o.OpenFiles),
		holdings: map[kafka.TopicPartition]*holding{}, futures: map[kafka.TopicPartition]*holding{}, preferred: map[kafka.TopicPartition]*directory{},
		rolled: map[*Log]bool{}, short: map[*Log]bool{},
		cleaner:  cleanState{offsets: map[*directory]checkpoint.Offsets{}, busy: map[*Log]context.CancelFunc{}, failed: map[*Log]bool{}},
		failures: make(chan *directory, len(o.Directories)), wake: make(chan struct{}, 1), wakeMaker: make(chan struct{}, 1), tuned: make(chan struct{}, 1),
	}
	d.tuning.Store(&Tuning{o.RecoveryThreads, o.ProducerExpirationMs, o.Cleaner})
	if d.o.Logger == nil {
		d.o.Logger = slog.New(slog.DiscardHandler)
	}
	var failed error
	online := 0
	for _, where := range o.Directories {
		dir := &directory{Directory: where, written: map[string]uint64{}}
		d.dirs = append(d.dirs, dir)
		err := where.Err
		if err == nil {
			err = d.scan(dir)
		}
		var twice *duplicateError
		if errors.Is(err, errLocked) || errors.As(err, &twice) {
			return nil, errors.Join(err, d.unlock())
		}
		if err == nil {
			online++
			continue
		}
		d.fail(dir, err)
		failed = errors.Join(failed, err)
	}
	if online == 0 {
		return nil, fmt.Errorf("no log directory can be used: %w", errors.Join(failed, d.unlock()))
	}
	return d, nil
}

// errLocked is in the chain of an error about a directory that another process
// has open.
var errLocked = errors.New("another broker has the directory open, or it may not be locked")

// duplicateError says that two directories hold one partition.
type duplicateError struct{ name, first, second string }

func (e *duplicateError) Error() string {
	return fmt.Sprintf("%s is in %s and in %s: remove the one that is older (a failed disk that came back), and start again", e.name, e.first, e.second)
}

// scan reads the names and the checkpoints of one directory.
func (d *Dirs) scan(dir *directory) error {
	lock, err := d.o.FS.Lock(d.o.FS.PathJoin(dir.Path, ".lock"))
	if err != nil {
		if _, e := d.o.FS.Stat(dir.Path); e != nil {
			return fmt.Errorf("open log directory %s: %w", dir.Path, e)
		}
		return fmt.Errorf("lock log directory %s: %w: %w", dir.Path, errLocked, err)
	}
	dir.lock = lock
	// The marker goes before anything in the directory changes (KAFKA-10471).
	if dir.epoch, dir.clean, err = checkpoint.ReadCleanShutdown(d.o.FS, dir.Path); err != nil {
		return err
	}
	if err := checkpoint.RemoveCleanShutdown(d.o.FS, dir.Path); err != nil {
		return err
	}
	names, err := d.o.FS.List(dir.Path)
	if err != nil {
		return fmt.Errorf("list log directory %s: %w", dir.Path, err)
	}
	recovery, err1 := d.readOffsets(dir, checkpoint.RecoveryPoint)
	start, err2 := d.readOffsets(dir, checkpoint.LogStart)
	high, err3 := d.readOffsets(dir, checkpoint.HighWatermark)
	cleaned, err4 := d.readOffsets(dir, checkpoint.Cleaner)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	d.cleaner.offsets[dir] = cleaned
	for _, name := range names {
		p, kind := parseDirName(name)
		e := &holding{partition: p, home: dir, name: name, clean: dir.clean, recovery: recovery[p], start: start[p], high: kafka.NoOffset}
		if hw, ok := high[p]; ok {
			e.high = hw
		}
		if err := d.place(e, kind); err != nil {
			return err
		}
	}
	return nil
}

// foundDelayMs is when a directory is removed that an earlier process deleted:
// its topic's configuration is gone, so it is the default of file.delete.delay.ms.
const foundDelayMs = 60_000

// place puts a directory that was found where it belongs.
func (d *Dirs) place(e *holding, kind dirKind) error {
	switch kind {
	case current:
		if other := d.holdings[e.partition]; other != nil {
			return &duplicateError{e.name, other.home.Path, e.home.Path}
		}
		d.holdings[e.partition] = e
		e.home.logs++
	case future:
		if other := d.futures[e.partition]; other != nil {
			d.o.Logger.Warn("a second future log of a partition is not used; remove it",
				"path", d.o.FS.PathJoin(e.home.Path, e.name), "used", d.o.FS.PathJoin(other.home.Path, other.name))
			return nil
		}
		e.future = true
		d.futures[e.partition] = e
	case deleting:
		d.doom(e.home, e.name, foundDelayMs)
	case stray:
		d.o.Logger.Warn("a stray log is kept; remove it when nobody needs it", "path", d.o.FS.PathJoin(e.home.Path, e.name))
	}
	return nil
}

// readOffsets reads a checkpoint of a directory. One that is damaged is as good
// as none: logs are then recovered from their beginning, start at their first
// segment, and have a high watermark as soon as they have a leader.
func (d *Dirs) readOffsets(dir *directory, name string) (checkpoint.Offsets, error) {
	offsets, err := checkpoint.ReadOffsets(d.o.FS, d.o.FS.PathJoin(dir.Path, name))
	if errors.Is(err, checkpoint.ErrDamaged) {
		d.o.Logger.Warn("a checkpoint is not used", "error", err)
		return checkpoint.Offsets{}, nil
	}
	return offsets, err
}

// Get returns the log of a partition and opens it if it has not been asked for
// yet, which reads what an unclean stop left unchecked. It fails with ErrNoLog
// where there is none, and with KAFKA_STORAGE_ERROR where its directory is
// offline or its files cannot be opened.
func (d *Dirs) Get(p kafka.TopicPartition) (*Log, error) {
	d.mu.RLock()
	e := d.holdings[p]
	d.mu.RUnlock()
	if e == nil {
		return nil, fmt.Errorf("%s: %w", p, ErrNoLog)
	}
	if l := e.log.Load(); l != nil {
		return l, nil
	}
	return d.open(e)
}

// Unopened reports whether a directory holds the partition and its log was not
// asked for yet: Get and Create will have to read it.
func (d *Dirs) Unopened(p kafka.TopicPartition) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	e := d.holdings[p]
	return e != nil && e.log.Load() == nil
}

// open opens a partition's log, once.
func (d *Dirs) open(e *holding) (*Log, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.log.Load(); l != nil {
		return l, nil
	}
	if e.gone {
		return nil, fmt.Errorf("%s: %w", e.partition, ErrNoLog)
	}
	if err := e.home.offline(); err != nil {
		return nil, err
	}
	if e.err == nil {
		l, err := d.openLog(e)
		if err == nil {
			return l, nil
		}
		d.refuse(e, err)
	}
	return nil, wire.New(wire.KafkaStorageError, "the log of %s cannot be opened", e.partition)
}

// openLog opens the log of e; e.mu is held.
func (d *Dirs) openLog(e *holding) (*Log, error) {
	path := d.o.FS.PathJoin(e.home.Path, e.name)
	id, ok, err := checkpoint.ReadTopicID(d.o.FS, path)
	if err != nil && !errors.Is(err, checkpoint.ErrDamaged) {
		return nil, err
	}
	if !ok {
		d.o.Logger.Warn("a log without a topic id; it is a stray unless it is given one", "path", path, "error", err)
	}
	l, err := Open(d.logOptions(e, id, d.o.Config(e.partition.Topic)))
	if err != nil {
		return nil, err
	}
	if e.high != kafka.NoOffset {
		l.SetHighWatermark(e.high)
	}
	e.flushedMs.Store(d.nowMs())
	e.log.Store(l)
	l.SetProducerExpiration(d.tuning.Load().ProducerExpirationMs) // Tune may have come meanwhile
	return l, nil
}

// logOptions are those of the log of e.
func (d *Dirs) logOptions(e *holding, topic kafka.TopicID, config LogConfig) Options {
	return Options{
		Partition: e.partition, TopicID: topic, Dir: d.o.FS.PathJoin(e.home.Path, e.name), Files: d.files, Config: config,
		LogStart: e.start, RecoveryPoint: e.recovery, Clean: e.clean,
		ProducerExpirationMs: d.tuning.Load().ProducerExpirationMs, JitterMs: jitter(config), NowMs: d.wallMs(),
		Logger: d.o.Logger, Rolled: d.noteRolled,
		Failed:             func(l *Log, cause error) { d.logFailed(e, l, cause) },
		LowerRecoveryPoint: func(_ *Log, to kafka.Offset) error { return d.lowerRecoveryPoint(e, to) },
		SyncParent:         func() error { return e.home.sync(d.o.FS) },
	}
}

// jitter spreads the rolls of logs that were begun together (segment.jitter.ms).
func jitter(c LogConfig) int64 {
	if most := min(c.SegmentJitterMs, c.SegmentMs); most > 0 {
		return rand.Int64N(most)
	}
	return 0
}

// wallMs is what the age of records is reckoned by, and goes into files.
func (d *Dirs) wallMs() int64 { return d.o.Clock.Now().UnixMilli() }

// nowMs is what this process waits by: it does not jump with the wall clock.
func (d *Dirs) nowMs() int64 { return d.steady.Ms(d.o.Clock.Now()) }

// Stored is a partition that a log directory holds.
type Stored struct {
	Partition kafka.TopicPartition
	Directory kafka.DirectoryID
	Path      string
	Future    bool // a move between directories that is not finished
}

// All lists the partitions in the directories that are online, in no order,
// without opening a log.
func (d *Dirs) All() []Stored {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := make([]Stored, 0, len(d.holdings)+len(d.futures))
	for _, list := range []map[kafka.TopicPartition]*holding{d.holdings, d.futures} {
		for _, e := range list {
			if e.home.failure.Load() == nil {
				all = append(all, Stored{
					Partition: e.partition, Directory: e.home.ID, Path: d.o.FS.PathJoin(e.home.Path, e.name),
					Future: d.futures[e.partition] == e})
			}
		}
	}
	return all
}

// TopicIDOf reads whose partition a stored directory is, without opening the
// log; zero where it does not say: a stray.
func (d *Dirs) TopicIDOf(s Stored) (kafka.TopicID, error) {
	d.mu.RLock()
	e := d.holdings[s.Partition]
	d.mu.RUnlock()
	if e != nil && !s.Future {
		if l := e.log.Load(); l != nil {
			return l.TopicID(), nil
		}
	}
	id, _, err := checkpoint.ReadTopicID(d.o.FS, s.Path)
	if errors.Is(err, checkpoint.ErrDamaged) {
		d.o.Logger.Warn("partition.metadata is damaged", "error", err)
		err = nil
	}
	return id, err
}

// Where is the directory that holds a partition.
func (d *Dirs) Where(p kafka.TopicPartition) (kafka.DirectoryID, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if e := d.holdings[p]; e != nil {
		return e.home.ID, true
	}
	return kafka.DirectoryUnassigned, false
}

// Online are the ids of the directories that work, in the order of log.dirs.
func (d *Dirs) Online() []kafka.DirectoryID {
	var ids []kafka.DirectoryID
	for _, dir := range d.dirs {
		if dir.failure.Load() == nil {
			ids = append(ids, dir.ID)
		}
	}
	return ids
}

// PreviousEpoch is the broker epoch of the last registration, where all
// directories were closed in order by it; NoBrokerEpoch otherwise. A broker tells
// the controllers so that they know that nothing was lost (KIP-966).
func (d *Dirs) PreviousEpoch() kafka.BrokerEpoch {
	epoch := d.dirs[0].epoch
	for _, dir := range d.dirs {
		if !dir.clean || dir.epoch != epoch {
			return kafka.NoBrokerEpoch
		}
	}
	return epoch
}

// Mark is how a log directory was found.
type Mark struct {
	Directory
	// Clean says that it had been closed in order, by the registration Epoch.
	Clean bool
	Epoch kafka.BrokerEpoch
}

// Marks are how the log directories were found, in the order of log.dirs; Err says
// which of them have failed since.
func (d *Dirs) Marks() []Mark {
	var marks []Mark
	for _, dir := range d.dirs {
		m := Mark{dir.Directory, dir.clean, dir.epoch}
		if err := dir.failure.Load(); err != nil {
			m.Err = *err
		}
		marks = append(marks, m)
	}
	return marks
}

// list copies the entries, by ascending name so that chores go through a
// directory in a known order.
func (d *Dirs) list(of func(*holding) bool) []*holding {
	d.mu.RLock()
	all := slices.Collect(maps.Values(d.holdings))
	d.mu.RUnlock()
	return inOrder(all, of)
}

// listAll is list of current and future logs.
func (d *Dirs) listAll(of func(*holding) bool) []*holding {
	d.mu.RLock()
	all := slices.AppendSeq(slices.Collect(maps.Values(d.holdings)), maps.Values(d.futures))
	d.mu.RUnlock()
	return inOrder(all, of)
}

func inOrder(all []*holding, of func(*holding) bool) []*holding {
	if of != nil {
		all = slices.DeleteFunc(all, func(e *holding) bool { return !of(e) })
	}
	slices.SortFunc(all, func(a, b *holding) int {
		if c := strings.Compare(a.partition.Topic, b.partition.Topic); c != 0 {
			return c
		}
		return int(a.partition.Partition) - int(b.partition.Partition)
	})
	return all
}

// unlock gives the directories free for other processes.
func (d *Dirs) unlock() error {
	var err error
	for _, dir := range d.dirs {
		if dir.lock != nil {
			err = errors.Join(err, dir.lock.Close())
			dir.lock = nil
		}
	}
	return err
}

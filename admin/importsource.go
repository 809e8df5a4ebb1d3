package admin

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/metadatalog"
	"kvorum/metadatalog/nodedir"
	"kvorum/snapshot"
)

// source is the directory of one old controller.
type source struct {
	dir         string // its log directory
	metadataDir string
	meta        *nodedir.MetaProperties
	segments    []logSegment
	checkpoints []checkpoint // whole ones that belong to the log, oldest first
	start       kafka.Offset
	end         kafka.EpochOffset // of the log, as Apache would open it
	highest     kafka.LeaderEpoch // of every epoch that its files know
	staticIDs   []kafka.NodeID    // the voters of its quorum-state, with kraft.version 0
	notes       []string
}

// ImportSource describes one source.
type ImportSource struct {
	Directory    string            `json:"directory"`
	NodeID       kafka.NodeID      `json:"node_id"`
	LogStart     kafka.Offset      `json:"log_start"`
	EndOffset    kafka.Offset      `json:"end_offset"`
	LastEpoch    kafka.LeaderEpoch `json:"last_epoch"`
	HighestEpoch kafka.LeaderEpoch `json:"highest_epoch"`
}

func (s *source) summary() ImportSource {
	return ImportSource{s.dir, s.meta.NodeID, s.start, s.end.Offset, s.end.Epoch, s.highest}
}

// better is the order in which logs are taken.
func (s *source) better(o *source) bool {
	return cmp.Or(cmp.Compare(s.end.Epoch, o.end.Epoch), cmp.Compare(s.end.Offset, o.end.Offset),
		cmp.Compare(o.start, s.start), cmp.Compare(o.meta.NodeID, s.meta.NodeID)) > 0
}

// readSources reads all sources, which must be of one cluster and of different
// nodes, none of which runs.
func readSources(dirs []string) ([]*source, error) {
	if len(dirs) == 0 {
		return nil, errors.New("no directory to import is named")
	}
	var sources []*source
	for _, dir := range dirs {
		s, err := readSource(dir)
		if err != nil {
			return nil, err
		}
		for _, o := range sources {
			switch {
			case o.meta.ClusterID != s.meta.ClusterID:
				return nil, fmt.Errorf("%s is of cluster %s, but %s of cluster %s", s.dir, s.meta.ClusterID, o.dir, o.meta.ClusterID)
			case o.meta.NodeID == s.meta.NodeID:
				return nil, fmt.Errorf("%s and %s are both of node %d: name one directory of each controller", o.dir, s.dir, s.meta.NodeID)
			}
		}
		sources = append(sources, s)
	}
	return sources, nil
}

func readSource(dir string) (*source, error) {
	if filepath.Base(dir) == nodedir.MetadataDir {
		dir = filepath.Dir(dir)
	}
	s := &source{dir: dir, metadataDir: filepath.Join(dir, nodedir.MetadataDir)}
	var err error
	if s.meta, err = nodedir.ReadMeta(dir); err != nil {
		return nil, err
	}
	if isDir(filepath.Join(s.metadataDir, nodedir.StoreDir)) {
		return nil, fmt.Errorf("%s is a kvorum controller's: only directories of Apache Kafka are imported", dir)
	}
	if err := checkStopped(dir); err != nil {
		return nil, err
	}
	var found []checkpoint
	if s.segments, found, err = listMetadataDir(s.metadataDir); err != nil {
		return nil, fmt.Errorf("%s has no metadata log: name the metadata.log.dir (or first log.dirs) of a controller: %w", dir, err)
	}
	if err := s.readQuorumState(); err != nil {
		return nil, err
	}
	if err := s.readLog(); err != nil {
		return nil, err
	}
	return s, s.readCheckpoints(found)
}

// quorumState is the file in which a KRaft node keeps its vote; version 0 is
// written while kraft.version is 0.
type quorumState struct {
	LeaderEpoch   kafka.LeaderEpoch `json:"leaderEpoch"`
	CurrentVoters []struct {
		VoterID kafka.NodeID `json:"voterId"`
	} `json:"currentVoters"`
	DataVersion int `json:"data_version"`
}

// quorumStateFile is Kafka's name of the file (KafkaMetadataLog).
const quorumStateFile = "quorum-state"

// maxQuorumState bounds what is read of the file: a line for a few voters.
const maxQuorumState = 64 << 10

func (s *source) readQuorumState() error {
	path := filepath.Join(s.metadataDir, quorumStateFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		s.notes = append(s.notes, path+" does not exist: this controller has never voted")
		return nil
	}
	if err == nil && info.Size() > maxQuorumState {
		err = fmt.Errorf("%s has %d bytes, far more than such a file has", path, info.Size())
	}
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var q quorumState
	if err := json.Unmarshal(text, &q); err != nil || q.DataVersion > 1 || q.LeaderEpoch < 0 {
		return fmt.Errorf("%s cannot be understood (version %d, epoch %d): %w", path, q.DataVersion, q.LeaderEpoch, err)
	}
	s.highest = q.LeaderEpoch
	for _, v := range q.CurrentVoters {
		s.staticIDs = append(s.staticIDs, v.VoterID)
	}
	return nil
}

// readLog checks every batch of the segments and finds the log's end. A torn
// tail is left out, as Apache leaves it out when it opens the log.
func (s *source) readLog() error {
	if len(s.segments) == 0 {
		return nil
	}
	s.start = s.segments[0].base
	s.end.Offset = s.start
	m := s.metadata()
	var torn *metadatalog.TornError
	for v, err := range m.segmentBatches(s.start) {
		switch {
		case errors.As(err, &torn) && torn.Offset >= s.segments[len(s.segments)-1].base:
			s.notes = append(s.notes, fmt.Sprintf("%v: what follows is left out, as Apache Kafka would leave it out", err))
			return nil
		case err != nil:
			return err
		case v.Epoch() < s.end.Epoch:
			return fmt.Errorf("%s: the batch at offset %d is of epoch %d, after one of epoch %d: the log is damaged", s.metadataDir, v.BaseOffset(), v.Epoch(), s.end.Epoch)
		}
		s.end = kafka.EpochOffset{Offset: v.EndOffset(), Epoch: v.Epoch()}
		s.highest = max(s.highest, v.Epoch())
	}
	return nil
}

// readCheckpoints keeps the whole checkpoints of the log. One that is beyond the
// log's end was fetched from a leader, and the log begins anew at it
// (KafkaRaftLog's constructor).
func (s *source) readCheckpoints(found []checkpoint) error {
	slices.SortFunc(found, func(a, b checkpoint) int {
		return cmp.Or(cmp.Compare(a.id.Epoch, b.id.Epoch), cmp.Compare(a.id.Offset, b.id.Offset))
	})
	for _, c := range found {
		s.highest = max(s.highest, c.id.Epoch)
		if err := verifyCheckpoint(c); errors.Is(err, snapshot.ErrDamaged) {
			s.notes = append(s.notes, err.Error()+": it is left out")
			continue
		} else if err != nil {
			return err
		}
		if c.id.Epoch > s.end.Epoch || c.id.Epoch == s.end.Epoch && c.id.Offset > s.end.Offset {
			s.segments, s.checkpoints, s.start, s.end = nil, nil, c.id.Offset, c.id
		}
		if c.id.Offset >= s.start && c.id.Offset <= s.end.Offset {
			s.checkpoints = append(s.checkpoints, c)
		}
	}
	if s.start > 0 && len(s.checkpoints) == 0 {
		return fmt.Errorf("%s begins at offset %d, and no whole checkpoint holds what was before", s.metadataDir, s.start)
	}
	return nil
}

func verifyCheckpoint(c checkpoint) error {
	r, err := snapshot.OpenFile(vfs.Default, c.path)
	if err != nil {
		return err
	}
	defer r.Close() // it was only read
	if err := r.Verify(); err != nil {
		return fmt.Errorf("%s: %w", c.path, err)
	}
	if r.Epoch() != c.id.Epoch {
		return fmt.Errorf("%s: %w: its batches are of epoch %d", c.path, snapshot.ErrDamaged, r.Epoch())
	}
	return nil
}

// metadata is the source as something to read.
func (s *source) metadata() *Metadata {
	return &Metadata{Path: s.metadataDir, segments: s.segments, checkpoints: s.checkpoints}
}

// digest is over the batches and over the names of the checkpoints that are
// taken: short enough to compare by eye.
func digest(m *Metadata, s *source) (string, error) {
	sum := sha256.New()
	for _, c := range s.checkpoints {
		sum.Write([]byte(filepath.Base(c.path)))
	}
	for v, err := range m.Batches(s.start, s.end.Offset) {
		if err != nil {
			return "", err
		}
		sum.Write(v)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

// copyLog appends the source's batches to an empty store, byte for byte.
func (s *source) copyLog(store *metadatalog.Store) error {
	if s.start > 0 {
		if err := store.Reset(kafka.EpochOffset{Offset: s.start, Epoch: s.epochBefore()}, 0, nil); err != nil {
			return err
		}
	}
	// Small batches are written together: one write each would take a disk's flush
	// for every record.
	const chunk = 4 << 20
	var pending []byte
	write := func(last bool) error {
		err := store.Append(metadatalog.Append{Batches: pending, Sync: last})
		pending = pending[:0]
		return err
	}
	for v, err := range s.metadata().Batches(s.start, s.end.Offset) {
		if err == nil && len(pending)+len(v) > chunk {
			err = write(false)
		}
		if err != nil {
			return err
		}
		pending = append(pending, v...)
	}
	return write(true)
}

// epochBefore is the epoch of the record before the log's start: that of the
// checkpoint that ends there, or else the highest that it can be, that of the
// first batch.
func (s *source) epochBefore() kafka.LeaderEpoch {
	for _, c := range s.checkpoints {
		if c.id.Offset == s.start {
			return c.id.Epoch
		}
	}
	for v, err := range s.metadata().segmentBatches(s.start) {
		if err == nil {
			return v.Epoch()
		}
		break
	}
	return s.end.Epoch
}

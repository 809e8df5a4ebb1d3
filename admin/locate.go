package admin

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"kvorum/broker/storage"
	dirfiles "kvorum/broker/storage/checkpoint"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
)

// Locate asks where on disk a record is. It reads the files alone, so that the
// broker may run or not.
type Locate struct {
	// LogDirs are searched for the partition.
	LogDirs []string
	// Topic is a name; TopicID, if it is not zero, is taken instead, and found in the
	// partition.metadata of each directory.
	Topic     string
	TopicID   kafka.TopicID
	Partition kafka.PartitionID
	Offset    kafka.Offset
}

// Location is the way from a record's address to its bytes.
type Location struct {
	Topic     string            `json:"topic"`
	TopicID   string            `json:"topic_id,omitempty"`
	Partition kafka.PartitionID `json:"partition"`
	Offset    kafka.Offset      `json:"offset"`
	Directory string            `json:"directory"`
	// Segment is the base offset that gives the file its name.
	Segment kafka.Offset `json:"segment_base_offset"`
	File    string       `json:"file"`
	Index   string       `json:"index"`
	// IndexOffset is the last entry of the index that is not after the offset, and
	// IndexPosition where it leads; -1 and 0 where the search begins with the file.
	IndexOffset   kafka.Offset `json:"index_offset"`
	IndexPosition int64        `json:"index_position"`
	// The batch.
	Position   int64             `json:"batch_position"`
	Size       int64             `json:"batch_bytes"`
	First      kafka.Offset      `json:"batch_first_offset"`
	Last       kafka.Offset      `json:"batch_last_offset"`
	Epoch      kafka.LeaderEpoch `json:"leader_epoch"`
	Codec      string            `json:"compression"`
	ProducerID kafka.ProducerID  `json:"producer_id"` // -1: none
	Control    bool              `json:"control"`
	// The record: its place in the batch from 0. Found is false if it was compacted
	// away; what is described then is the batch that follows.
	Found      bool  `json:"found"`
	Record     int   `json:"record"`
	Timestamp  int64 `json:"timestamp"` // milliseconds since 1970
	KeyBytes   int   `json:"key_bytes"` // -1: null
	ValueBytes int   `json:"value_bytes"`
}

// Run finds the record.
func (l *Locate) Run() (*Location, error) {
	dir, topic, id, err := l.directory()
	if err != nil {
		return nil, err
	}
	at, err := storage.LocateIn(vfs.Default, dir, l.Offset)
	if err != nil {
		return nil, err
	}
	where := &Location{
		Topic: topic, Partition: l.Partition, Offset: l.Offset, Directory: dir, Segment: at.Segment, File: at.File,
		Index: at.Index, IndexOffset: at.IndexOffset, IndexPosition: at.IndexPosition, Position: at.Position, Size: at.Size,
		First: at.Batch, Last: at.Last, Epoch: at.Epoch, Record: -1, Timestamp: -1, KeyBytes: -1, ValueBytes: -1,
	}
	if id != (kafka.TopicID{}) {
		where.TopicID = id.String()
	}
	return where, where.read()
}

// directory finds the partition's directory, and its topic's name and id.
func (l *Locate) directory() (dir, topic string, id kafka.TopicID, err error) {
	for _, logDir := range l.LogDirs {
		partitions, err := partitionDirs(logDir)
		if err != nil {
			return "", "", id, err
		}
		for _, p := range partitions {
			if p.partition.Partition != l.Partition || l.TopicID == (kafka.TopicID{}) && p.partition.Topic != l.Topic {
				continue
			}
			found, _, err := dirfiles.ReadTopicID(vfs.Default, p.path)
			if err != nil {
				return "", "", id, err
			}
			if l.TopicID == (kafka.TopicID{}) || found == l.TopicID {
				return p.path, p.partition.Topic, found, nil
			}
		}
	}
	name := l.Topic
	if l.TopicID != (kafka.TopicID{}) {
		name = l.TopicID.String()
	}
	return "", "", id, fmt.Errorf("no directory of %v holds partition %d of topic %s: is another broker its replica? `kvorum topic describe` shows them", l.LogDirs, l.Partition, name)
}

// read reads the batch and finds the record in it.
func (w *Location) read() (err error) {
	f, err := os.Open(w.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// The size is of a batch that lies within its file.
	data, err := io.ReadAll(io.NewSectionReader(f, w.Position, w.Size))
	if err != nil {
		return err
	}
	b, _, err := batch.Next(data)
	if err == nil {
		err = b.CheckCRC()
	}
	if err != nil {
		return fmt.Errorf("the batch at position %d of %s: %w", w.Position, w.File, err)
	}
	w.Codec, w.ProducerID, w.Control = b.Codec().String(), b.ProducerID(), b.Control()
	inflated, err := b.AppendInflated(nil, batch.DefaultInflateLimit)
	if err != nil {
		return fmt.Errorf("the batch at position %d of %s: %w", w.Position, w.File, err)
	}
	it := b.RecordsIn(inflated)
	for i := 0; it.Next(); i++ {
		if it.Offset() == w.Offset {
			w.describe(b, i, it.Record())
			break
		}
	}
	return it.Err()
}

func (w *Location) describe(b batch.View, i int, r batch.Record) {
	w.Found, w.Record = true, i
	if w.Timestamp = b.BaseTimestamp() + r.TimestampDelta; b.LogAppendTime() {
		w.Timestamp = b.MaxTimestamp()
	}
	if r.Key != nil {
		w.KeyBytes = len(r.Key)
	}
	if r.Value != nil {
		w.ValueBytes = len(r.Value)
	}
}

// partitionDir is a directory that holds a partition.
type partitionDir struct {
	path      string
	partition kafka.TopicPartition
}

// partitionDirs lists the partitions of a log directory, in order; a directory
// that is a partition's itself is its only one.
func partitionDirs(dir string) ([]partitionDir, error) {
	if p, ok := storage.PartitionOf(filepath.Base(filepath.Clean(dir))); ok {
		if segments, _ := filepath.Glob(filepath.Join(dir, "*.log")); len(segments) > 0 {
			return []partitionDir{{dir, p}}, nil
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []partitionDir
	for _, e := range entries {
		if p, ok := storage.PartitionOf(e.Name()); ok && e.IsDir() {
			found = append(found, partitionDir{filepath.Join(dir, e.Name()), p})
		}
	}
	return found, nil
}

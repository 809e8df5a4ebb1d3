package checkpoint

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// The offset checkpoints of a log directory.
const (
	// RecoveryPoint: up to where each log has been fsynced. After an unclean stop
	// what lies from there on is checked.
	RecoveryPoint = "recovery-point-offset-checkpoint"
	// LogStart: where a log begins, if that is later than its first segment does.
	LogStart = "log-start-offset-checkpoint"
	// HighWatermark: up to where each log was known to be committed.
	HighWatermark = "replication-offset-checkpoint"
	// Cleaner: up to where each log has been compacted.
	Cleaner = "cleaner-offset-checkpoint"
)

// Offsets is the content of an offset checkpoint: one offset a partition.
type Offsets map[kafka.TopicPartition]kafka.Offset

// ReadOffsets reads an offset checkpoint; it is empty where there is no file.
func ReadOffsets(fs vfs.FS, path string) (Offsets, error) {
	data, _, err := read(fs, path)
	if err != nil {
		return nil, err
	}
	return ParseOffsets(path, data)
}

// WriteOffsets replaces an offset checkpoint durably.
func WriteOffsets(fs vfs.FS, path string, offsets Offsets) error {
	if err := vfs.Replace(fs, path, offsets.Append(nil)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// ParseOffsets reads the content of an offset checkpoint (OffsetCheckpointFile):
// "topic partition offset" a line. path is for errors.
func ParseOffsets(path string, data []byte) (Offsets, error) {
	offsets := Offsets{}
	err := entries(path, data, func(line int, fields []string) error {
		if len(fields) != 3 {
			return damaged(path, line, "%d fields instead of topic, partition and offset", len(fields))
		}
		partition, err := strconv.ParseInt(fields[1], 10, 32)
		if err != nil || partition < 0 {
			return damaged(path, line, "%.40q is no partition", fields[1])
		}
		offset, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil || offset < 0 {
			return damaged(path, line, "%.40q is no offset", fields[2])
		}
		p := kafka.TopicPartition{Topic: fields[0], Partition: kafka.PartitionID(partition)}
		if _, twice := offsets[p]; twice {
			return damaged(path, line, "%s is in it twice", p)
		}
		offsets[p] = kafka.Offset(offset)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return offsets, nil
}

// Append appends the content of a checkpoint file to dst, by ascending topic and
// partition.
func (o Offsets) Append(dst []byte) []byte {
	dst = header(dst, len(o))
	for _, p := range slices.SortedFunc(maps.Keys(o), comparePartitions) {
		dst = append(dst, p.Topic...)
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, int64(p.Partition), 10)
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, int64(o[p]), 10)
		dst = append(dst, '\n')
	}
	return dst
}

func comparePartitions(a, b kafka.TopicPartition) int {
	if c := strings.Compare(a.Topic, b.Topic); c != 0 {
		return c
	}
	return int(a.Partition) - int(b.Partition)
}

package storage

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/nodedir"
)

// dirKind says what a directory within a log directory is.
type dirKind uint8

const (
	notOurs  dirKind = iota // nothing that holds a partition
	current                 // topic-partition
	deleting                // topic-partition.<32 hex digits>-delete: to be removed
	future                  // topic-partition.<32 hex digits>-future: a move between directories (KIP-113)
	stray                   // topic-partition.<32 hex digits>-stray: belongs to nobody, kept for the operator
)

// dirSuffixes are what follows the partition and an id, by kind.
var dirSuffixes = map[dirKind]string{deleting: "-delete", future: "-future", stray: "-stray"}

// maxDirName is the longest name of a directory (the file systems' limit).
const maxDirName = 255

// parseDirName reads the name of a directory (UnifiedLog.parseTopicPartitionName):
// the topic is everything before the last '-'. The topic of a deleted or stray
// directory may be cut to fit the name.
func parseDirName(name string) (kafka.TopicPartition, dirKind) {
	kind := current
	for k, suffix := range dirSuffixes {
		rest, found := strings.CutSuffix(name, suffix)
		if !found {
			continue
		}
		dot := strings.LastIndexByte(rest, '.')
		if dot < 0 {
			return kafka.TopicPartition{}, notOurs
		}
		name, kind = rest[:dot], k
		break
	}
	dash := strings.LastIndexByte(name, '-')
	if dash < 1 || name == nodedir.MetadataDir {
		return kafka.TopicPartition{}, notOurs
	}
	n, err := strconv.ParseUint(name[dash+1:], 10, 31)
	if err != nil {
		return kafka.TopicPartition{}, notOurs
	}
	return kafka.TopicPartition{Topic: name[:dash], Partition: kafka.PartitionID(n)}, kind
}

// PartitionOf reads the name of a partition's directory; ok is false for other
// directories, those that are deleted, moved or nobody's included.
func PartitionOf(name string) (p kafka.TopicPartition, ok bool) {
	p, kind := parseDirName(name)
	return p, kind == current
}

// dirName is the name of a partition's directory of a kind; id tells it from
// others of the same partition (UnifiedLog.logDirNameWithSuffixCappedLength).
func dirName(p kafka.TopicPartition, kind dirKind, id kafka.UUID) string {
	if kind == current {
		return p.String()
	}
	tail := fmt.Sprintf("-%d.%s%s", p.Partition, hex.EncodeToString(id[:]), dirSuffixes[kind])
	return p.Topic[:min(len(p.Topic), maxDirName-len(tail))] + tail
}

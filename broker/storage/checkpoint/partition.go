package checkpoint

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"strconv"
	"strings"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// PartitionMetadata is the name of the file that says whose partition a
// directory is.
const PartitionMetadata = "partition.metadata"

// ReadTopicID reads partition.metadata of a partition's directory. ok is false
// where there is no file: such a directory is a stray to a KRaft broker.
func ReadTopicID(fs vfs.FS, dir string) (id kafka.TopicID, ok bool, err error) {
	path := fs.PathJoin(dir, PartitionMetadata)
	data, missing, err := read(fs, path)
	if err != nil || missing {
		return kafka.TopicID{}, false, err
	}
	id, err = ParseTopicID(path, data)
	return id, err == nil, err
}

// WriteTopicID gives a partition's directory its partition.metadata. The file takes
// its name when it is whole, so that the end of the process leaves all of it or
// nothing; it is not fsynced, so that a power loss may leave it missing or empty.
// That is for SyncTopicID to rule out, before anything in the directory may count
// as durable: making a partition costs no fsync that way.
func WriteTopicID(fs vfs.FS, dir string, id kafka.TopicID) error {
	path := fs.PathJoin(dir, PartitionMetadata)
	err := write(fs, path+".tmp", AppendTopicID(nil, id))
	if err == nil {
		err = fs.Rename(path+".tmp", path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func write(fs vfs.FS, path string, data []byte) error {
	f, err := vfs.Create(fs, path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// SyncTopicID makes the content of partition.metadata durable; its name is with
// the next fsync of the partition's directory. A directory without the file is
// left as it is: it is one from before topics had ids.
func SyncTopicID(fs vfs.FS, dir string) error {
	path := fs.PathJoin(dir, PartitionMetadata)
	switch _, err := fs.Stat(path); {
	case err == nil:
		f, err := vfs.OpenReadWrite(fs, path)
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			return fmt.Errorf("fsync %s: %w", path, err)
		}
	case !errors.Is(err, iofs.ErrNotExist):
		return fmt.Errorf("look for %s: %w", path, err)
	}
	return nil
}

// AppendTopicID appends the content of partition.metadata to dst. It ends
// without a newline, as Kafka's does.
func AppendTopicID(dst []byte, id kafka.TopicID) []byte {
	return fmt.Appendf(dst, "version: %d\ntopic_id: %s", version, id)
}

// ParseTopicID reads the content of partition.metadata. A later version is
// taken, as by Kafka, so that a newer broker's directory can come back. path is
// for errors.
func ParseTopicID(path string, data []byte) (kafka.TopicID, error) {
	first, rest, _ := strings.Cut(string(data), "\n")
	second, _, _ := strings.Cut(rest, "\n")
	v, ok := value(first, "version")
	if n, err := strconv.ParseInt(v, 10, 32); !ok || err != nil || n < version {
		return kafka.TopicID{}, damaged(path, 1, "%.40q is no version", first)
	}
	text, ok := value(second, "topic_id")
	id, err := kafka.ParseUUID(text)
	if !ok || err != nil || id.IsZero() {
		return kafka.TopicID{}, damaged(path, 2, "%.60q is no topic id", second)
	}
	return id, nil
}

func value(line, key string) (string, bool) {
	k, v, ok := strings.Cut(strings.TrimSuffix(line, "\r"), ":")
	return strings.TrimSpace(v), ok && k == key
}

package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// CleanShutdown is the name of the file that a broker leaves in each log
// directory when it has closed all its logs.
const CleanShutdown = ".kafka_cleanshutdown"

// shutdown is its content. Kafka 3.7 and before have no epoch in it, and earlier
// ones an empty file: all of them say that the stop was clean.
type shutdown struct {
	Version     int    `json:"version"`
	BrokerEpoch *int64 `json:"brokerEpoch"`
}

// ReadCleanShutdown reports whether a log directory was closed cleanly, and by
// which registration of the broker; NoBrokerEpoch where the file does not say it.
func ReadCleanShutdown(fs vfs.FS, dir string) (epoch kafka.BrokerEpoch, clean bool, err error) {
	data, missing, err := read(fs, fs.PathJoin(dir, CleanShutdown))
	if err != nil || missing {
		return kafka.NoBrokerEpoch, false, err
	}
	return parseShutdown(data), true, nil
}

func parseShutdown(data []byte) kafka.BrokerEpoch {
	var s shutdown
	if json.Unmarshal(data, &s) != nil || s.BrokerEpoch == nil {
		return kafka.NoBrokerEpoch
	}
	return kafka.BrokerEpoch(*s.BrokerEpoch)
}

// WriteCleanShutdown says durably that everything in a log directory is closed
// and on disk. epoch is the broker's last registration.
func WriteCleanShutdown(fs vfs.FS, dir string, epoch kafka.BrokerEpoch) error {
	path := fs.PathJoin(dir, CleanShutdown)
	e := int64(epoch)
	data, err := json.Marshal(shutdown{Version: version, BrokerEpoch: &e})
	if err == nil {
		err = vfs.Replace(fs, path, data)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// RemoveCleanShutdown takes the word back, durably: it must not be there when
// the first byte of a log changes, or a crash would pass for a clean stop.
func RemoveCleanShutdown(fs vfs.FS, dir string) error {
	path := fs.PathJoin(dir, CleanShutdown)
	err := fs.Remove(path)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = vfs.SyncDir(fs, dir)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

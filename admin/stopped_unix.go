//go:build unix

package admin

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// checkStopped refuses the log directory of an Apache node that runs: it holds a
// lock on the file .lock (LogManager).
func checkStopped(dir string) error {
	path := filepath.Join(dir, ".lock")
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close() // it was only asked for its lock
	lock := syscall.Flock_t{Type: syscall.F_RDLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock); err != nil {
		return fmt.Errorf("look whether a node runs on %s: %w", dir, err)
	}
	if lock.Type != syscall.F_UNLCK {
		return fmt.Errorf("process %d runs on %s: stop every controller before the import", lock.Pid, dir)
	}
	return nil
}

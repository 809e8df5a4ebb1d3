package vfs

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSend bounds one call: a system call that moves more would keep the
// connection's deadline from being seen for long on a fast socket.
const maxSend = 4 << 20

func sendFile(raw syscall.RawConn, fd uintptr, at, n int64) (written int64, done bool, err error) {
	var failure error
	err = raw.Write(func(socket uintptr) bool {
		for written < n {
			offset := at + written
			sent, err := unix.Sendfile(int(socket), int(fd), &offset, int(min(n-written, maxSend)))
			switch {
			case sent > 0:
				written += int64(sent)
			case errors.Is(err, unix.EINTR):
			case errors.Is(err, unix.EAGAIN):
				return false // wait until the socket takes more
			case err != nil:
				failure = err
				return true
			default:
				failure = shortFile
				return true
			}
		}
		return true
	})
	if err == nil {
		err = failure
	}
	if written == 0 && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)) {
		return 0, false, nil // this file system or socket cannot
	}
	return written, true, err
}

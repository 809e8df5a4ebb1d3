package vfs

import (
	"io"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// SendFile moves n bytes of f from position at to a connection, inside the
// kernel where the system can (sendfile(2)). It uses no position of f, so that
// any number of connections may read one open file. done is false, and nothing
// is written, where the system or the file cannot: the caller copies then. A
// file that ends before n bytes gives io.ErrUnexpectedEOF.
func SendFile(conn syscall.Conn, f File, at, n int64) (written int64, done bool, err error) {
	if f.Fd() == vfs.InvalidFd {
		return 0, false, nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false, nil
	}
	return sendFile(raw, f.Fd(), at, n)
}

// shortFile is the error of a file that ends before its bytes are sent.
var shortFile = io.ErrUnexpectedEOF

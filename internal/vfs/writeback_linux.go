package vfs

import (
	"os"

	"golang.org/x/sys/unix"
)

func writeBack(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(d.Fd())))
}

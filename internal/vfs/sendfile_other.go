//go:build !linux

package vfs

import "syscall"

func sendFile(syscall.RawConn, uintptr, int64, int64) (int64, bool, error) { return 0, false, nil }

//go:build !linux

package process

import "syscall"

// ownGroup gives the child a process group; only Linux can tie its life to ours.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

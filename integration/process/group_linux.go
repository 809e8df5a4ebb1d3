package process

import "syscall"

// ownGroup gives the child a process group, and the kernel the order to kill it
// when the thread that started it ends.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

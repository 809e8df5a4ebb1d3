package vfs

import (
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// placeOf asks the kernel. Mount ids that are never used twice are there from Linux
// 6.8 on; before, the id of a mount that is gone may be that of the next one.
func placeOf(path string) (Place, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Place{}, fmt.Errorf("%w: %w", ErrNoPlace, err)
	}
	namespace, err := mountNamespace()
	if err != nil {
		return Place{}, fmt.Errorf("%w: %w", ErrNoPlace, err)
	}
	var s unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO|unix.STATX_BTIME|unix.STATX_MNT_ID|unix.STATX_MNT_ID_UNIQUE, &s); err != nil {
		return Place{}, fmt.Errorf("look at %s: %w", path, err)
	}
	return Place{
		Boot: strings.TrimSpace(string(boot)), Device: unix.Mkdev(s.Dev_major, s.Dev_minor), Inode: s.Ino,
		Born:      s.Btime.Sec*1e9 + int64(s.Btime.Nsec),
		Namespace: namespace, Mount: s.Mnt_id,
	}, nil
}

// mountNamespace names this process's mount namespace. The number that its link
// shows is given to the next namespace when it is gone, as with every restart of a
// container; the one that is never used twice is there from Linux 6.11 on.
func mountNamespace() (string, error) {
	const path = "/proc/self/ns/mnt"
	name, err := os.Readlink(path)
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() // nothing was written
	var id uint64
	if _, _, failed := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.NS_GET_MNTNS_ID, uintptr(unsafe.Pointer(&id))); failed != 0 {
		return name, nil
	}
	return fmt.Sprintf("%s:%d", name, id), nil
}

package vfs

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// placeOf asks the kernel. Mount ids that are never used twice are there from Linux
// 6.8 on; before, the id of a mount that is gone may be that of the next one.
func placeOf(path string) (Place, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Place{}, fmt.Errorf("%w: %w", ErrNoPlace, err)
	}
	namespace, err := os.Readlink("/proc/self/ns/mnt")
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

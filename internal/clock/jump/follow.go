//go:build planted && linux && (amd64 || arm64)

package jump

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	_ "unsafe" // go:linkname
)

// vdsoClockGettime is the function that the runtime calls for the time.
//
//go:linkname vdsoClockGettime runtime.vdsoClockgettimeSym
var vdsoClockGettime uintptr

// size is the length of the file: the seconds as a number of 64 bits.
const size = 8

// What shifted reads: the function of the vDSO, and where the seconds are that it adds.
var (
	kernels uintptr
	seconds *byte
)

// shifted is clock_gettime with C's calling convention.
func shifted()

// shiftedPC is its address.
func shiftedPC() uintptr

// Follow moves this process's wall clock by what Set has written and will write into a
// file, for as long as the process lives. Call it before anything else runs.
func Follow(path string) error {
	if vdsoClockGettime == 0 {
		return errors.New("follow a wall clock: the kernel has no vDSO with clock_gettime")
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("follow a wall clock: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() < size {
		return fmt.Errorf("follow a wall clock: %s has no %d bytes (%v)", path, size, err)
	}
	mapped, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("follow a wall clock: map %s: %w", path, err)
	}
	seconds = &mapped[0]
	if kernels == 0 {
		kernels = vdsoClockGettime
		vdsoClockGettime = shiftedPC()
	}
	return nil
}

// Package jump moves the wall clock of one process while its steady clock goes on, as
// an operator or an NTP client that sets the machine's clock does. A time namespace
// cannot: it has the wall clock of its machine.
//
// Go's runtime calls one function of the kernel's vDSO for both of its clocks. Follow
// puts another before it, which adds to the wall clock's answer what a file says: so
// every time.Now of the process jumps, those of its libraries, too. Files get their
// times from the kernel, and those do not.
//
// Only the server that is built with the tag planted can use it; the tests of
// integration/robustness start that one. A leaf.
package jump

import (
	"encoding/binary"
	"fmt"
	"os"
	"time"
)

// Set says by how much the wall clocks of those who follow the file are off from now
// on, in whole seconds. It makes the file if it is not there.
func Set(path string, by time.Duration) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("move a wall clock: %w", err)
	}
	// In one write of the bytes in place: who has them mapped never sees a part.
	_, err = f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(int64(by/time.Second))), 0)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("move a wall clock: %w", err)
	}
	return nil
}

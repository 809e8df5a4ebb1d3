// Package powerloss is the disk of a process that a test takes the power from: a
// file system that notes beside the files what a loss of power may take back, and
// Lose, which takes it back while the process is gone.
//
// A kill -9 loses nothing that was written: the kernel keeps it. So an FS keeps a
// journal in a directory of its own, on the same device as the files: before the
// first write since an fsync it notes the file's size, before it overwrites or cuts
// off bytes it notes those, and before it makes, renames or removes a name it notes
// how to undo that. An fsync of a file ends what is noted of its bytes, one of a
// directory what is noted of its names. The journal is written by write(2) and never
// fsynced: it has to outlive the process, and not the machine.
//
// Only the server that is built with the tag planted can use it; the tests of
// integration/robustness start that one. A leaf above internal/vfs.
package powerloss

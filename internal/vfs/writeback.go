package vfs

// WriteBack asks for what was written to the file system that path is on to be
// brought to the disk in one go, and waits. It makes the fsyncs after it cheap and
// stands for none of them: not every system does it, and some do not say what
// failed. It waits for what others wrote to that file system, too.
func WriteBack(fs FS, path string) error {
	if fs != Default {
		return nil
	}
	return writeBack(path)
}

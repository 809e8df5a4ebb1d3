package sim

// How a broker ends, and what of its disk is left then.

import (
	"io"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	kvfs "kvorum/internal/vfs"
)

// kill is kill -9: the kernel keeps what was written. In a plan where nobody goes on
// as who it was the next process is a new one, which says whose data it has.
func (b *broker) kill() {
	b.up = false
	b.hangUp()
	b.memory.Leaving = b.memory.Leaving || !b.w.plan.Resume
	b.w.tell("broker %d is killed", b.id)
	b.w.event("broker killed")
}

// losePower is a kill that takes what was not synced, but for files that the
// kernel has written back by chance.
func (b *broker) losePower() {
	b.up, b.dark = false, true
	b.boots++
	if b.w.chance(2) {
		b.writeBack("/")
	}
	before := b.fs
	b.fs = before.CrashClone(vfs.CrashCloneCfg{})
	if b.w.chance(2) {
		b.tear(before, "/")
	}
	b.w.tell("broker %d loses its power", b.id)
	b.w.event("broker lost power")
}

// failDisk is the end of a broker whose only disk for partitions refuses a write: what
// was not synced is lost, and the machine runs on.
func (b *broker) failDisk() {
	b.up, b.failed = false, true
	b.fs = b.fs.CrashClone(vfs.CrashCloneCfg{})
	b.hangUp()
	b.w.tell("the disk of broker %d fails, and it ends", b.id)
	b.w.event("disk failed")
}

// writeBack makes some of the files below a directory durable, in the order of
// their names: the file system's own choice would not be the same in each run.
func (b *broker) writeBack(dir string) {
	names, err := b.fs.List(dir)
	if err != nil {
		panic(err)
	}
	slices.Sort(names)
	for _, name := range names {
		file := b.fs.PathJoin(dir, name)
		info, err := b.fs.Stat(file)
		switch {
		case err != nil:
			panic(err)
		case info.IsDir():
			b.writeBack(file)
		case b.w.chance(3):
			syncFile(b, file)
		}
	}
	if b.w.chance(2) {
		syncFile(b, dir)
	}
}

// tear leaves, at the ends of some segments, what a write that was under way leaves:
// the first bytes of what was not synced, and zeros.
func (b *broker) tear(before *vfs.MemFS, dir string) {
	names, err := b.fs.List(dir)
	if err != nil {
		panic(err)
	}
	slices.Sort(names)
	for _, name := range names {
		file := b.fs.PathJoin(dir, name)
		if info, err := b.fs.Stat(file); err == nil && info.IsDir() {
			b.tear(before, file)
		} else if strings.HasSuffix(name, ".log") && b.w.chance(2) {
			was, is := contents(before, file), contents(b.fs, file)
			if len(was) > len(is) {
				torn := append(is, was[len(is):len(is)+b.w.rnd.IntN(len(was)-len(is))]...)
				torn = append(torn, make([]byte, len(was)-len(torn))...)
				if err := kvfs.Replace(b.fs, file, torn); err != nil {
					panic(err)
				}
				b.w.event("segment torn")
			}
		}
	}
}

// contents are a file's bytes, none where there is no file.
func contents(fs vfs.FS, name string) []byte {
	f, err := fs.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		panic(err)
	}
	return data
}

// stopped ends the process after a controlled shutdown.
func (b *broker) stopped() {
	for _, p := range b.partitions {
		if err := p.log.Close(); err != nil {
			panic(err)
		}
		b.checkpoints[p.name] = checkpoint{p.log.HighWatermark(), p.log.LogEnd()}
	}
	b.up, b.clean = false, true
	b.hangUp()
	b.w.tell("broker %d has stopped in order", b.id)
	b.w.event("controlled shutdown")
}

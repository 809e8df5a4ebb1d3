package broker

import "kvorum/internal/vfs"

const (
	// leastOpenFiles lets a broker work, slowly, where hardly any descriptors are
	// allowed; mostOpenFiles is the segment and the two indexes of 10,000 busy
	// partitions, above which an open file costs memory and saves hardly a system
	// call.
	leastOpenFiles, mostOpenFiles = 128, 32_768
	// unknownLimit is taken where the system does not tell its limit: what most give
	// a process.
	unknownLimit = 1024
)

// openFiles is how many files of logs may be open at a time: half of the
// descriptors that the process may have. Files are opened when they are used and
// closed when others need the place; the other half is for what cannot wait:
// connections, the metadata log and its store.
func openFiles(limit uint64) int {
	if limit == 0 {
		limit = unknownLimit
	}
	return int(min(max(limit/2, leastOpenFiles), mostOpenFiles))
}

func maxOpenFiles() int { return openFiles(vfs.DescriptorLimit()) }

package replica

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"kvorum/broker/replica/core"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// journal keeps on disk which ISR expansions leaders of this broker have proposed
// and the image has not decided yet. An expansion that the controllers have
// committed counts from then on, whether its leader has heard of it or not: the
// new member may be elected and acknowledge records. So a leader that was killed,
// and leads on in the same epoch from an image without it, must go on to wait for
// the proposed members too, or it would acknowledge other records at the same
// offsets.
//
// There is one file in each log directory, for the partitions that are in it. It
// is durable before the proposal is sent. Entries that an image has decided mean
// nothing; they are removed when the file is written next, or by tidy. One that was
// refused is removed, durably, before its leader goes on without it (forget).
type journal struct {
	ps *Partitions
	fs vfs.FS

	// writing is held while files are written, mu while the maps are looked at.
	// Neither is held while a partition's lock is taken; mu may be taken under one.
	writing sync.Mutex
	mu      sync.Mutex
	entries map[string]map[partitionKey]journaled // by log directory, once read
	written map[string][]byte                     // what each file holds
}

// journaled is one proposal. It has no partition as long as it was only read from
// the file.
type journaled struct {
	partition *Partition
	change    *core.Proposal
}

// journalName is the name of a log directory's file.
const journalName = "kvorum-isr-journal"

func newJournal(ps *Partitions, fs vfs.FS) *journal {
	return &journal{ps: ps, fs: fs, entries: map[string]map[partitionKey]journaled{}, written: map[string][]byte{}}
}

// logDirectory is the log directory that holds a partition.
func (p *Partition) logDirectory() string { return filepath.Dir(p.Log().Dir()) }

// logDirectories are logDirectory and, during a move, the one that will be it.
func (p *Partition) logDirectories() []string {
	dirs := []string{p.logDirectory()}
	if to, moving := p.owner.dirs.FutureIn(p.name); moving {
		dirs = append(dirs, to.Path)
	}
	return dirs
}

// follow notes what is undecided of a partition in the file of the directory that
// it is about to be moved to, durably. That file has been read; what is proposed
// after the call is in both anyway (record).
func (j *journal) follow(p *Partition, to string) error {
	key := partitionKey{p.topicID, p.name.Partition}
	j.mu.Lock()
	e, ok := j.entries[p.logDirectory()][key]
	if ok {
		j.entries[to][key] = e
	}
	j.mu.Unlock()
	if !ok {
		return nil
	}
	return j.write(to)
}

// read reads the file of a log directory, once. One that is damaged counts as
// empty: vfs.Replace leaves the old content or the new, so somebody else has
// written to it.
func (j *journal) read(dir string) {
	j.writing.Lock()
	defer j.writing.Unlock()
	j.mu.Lock()
	known := j.entries[dir] != nil
	j.mu.Unlock()
	if known {
		return
	}
	path := j.fs.PathJoin(dir, journalName)
	data, err := readJournal(j.fs, path)
	read := map[partitionKey]journaled{}
	if err == nil {
		var changes map[partitionKey]*core.Proposal
		changes, err = parseJournal(data)
		for key, change := range changes {
			read[key] = journaled{change: change}
		}
	}
	if err != nil {
		j.ps.logger.Error("the journal of in-sync replicas cannot be read and counts as empty", "path", path, "error", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries[dir], j.written[dir] = read, data
}

// adopt returns the proposal of a partition that state does not decide, nil if
// there is none. It is called under the partition's mu, when its log directory's
// file has been read.
func (j *journal) adopt(p *Partition, s core.State) *core.Proposal {
	j.mu.Lock()
	defer j.mu.Unlock()
	key := partitionKey{p.topicID, p.name.Partition}
	e, ok := j.entries[p.logDirectory()][key]
	if !ok || e.change.DecidedBy(s.LeaderEpoch, s.PartitionEpoch) {
		return nil
	}
	e.partition = p
	j.entries[p.logDirectory()][key] = e
	return e.change
}

// record makes the expansions among proposals durable; they are not sent before.
// It returns those that could not be.
func (j *journal) record(batch map[*Partition]*core.Proposal) (failed map[*Partition]error) {
	return j.change(batch, func(in map[partitionKey]journaled, key partitionKey, e journaled) { in[key] = e })
}

// forget removes the expansions among proposals, durably. It returns those that could
// not be.
func (j *journal) forget(batch map[*Partition]*core.Proposal) (failed map[*Partition]error) {
	failed = j.change(batch, func(in map[partitionKey]journaled, key partitionKey, _ journaled) { delete(in, key) })
	if failed != nil { // the files may have them still
		j.change(batch, func(in map[partitionKey]journaled, key partitionKey, e journaled) { in[key] = e })
	}
	return failed
}

// change changes the entries of the expansions among proposals, and writes the files.
func (j *journal) change(batch map[*Partition]*core.Proposal, f func(map[partitionKey]journaled, partitionKey, journaled)) (failed map[*Partition]error) {
	dirs := map[string][]*Partition{}
	j.mu.Lock()
	for p, change := range batch {
		if !change.Expands() {
			continue
		}
		for _, dir := range p.logDirectories() {
			if j.entries[dir] == nil {
				j.entries[dir] = map[partitionKey]journaled{}
			}
			f(j.entries[dir], partitionKey{p.topicID, p.name.Partition}, journaled{p, change})
			dirs[dir] = append(dirs[dir], p)
		}
	}
	j.mu.Unlock()
	for dir, partitions := range dirs {
		if err := j.write(dir); err != nil {
			if failed == nil {
				failed = map[*Partition]error{}
			}
			for _, p := range partitions {
				failed[p] = err
			}
		}
	}
	return failed
}

// tidy removes what images have decided.
func (j *journal) tidy() {
	j.mu.Lock()
	dirs := slices.Collect(maps.Keys(j.entries))
	j.mu.Unlock()
	for _, dir := range dirs {
		if err := j.write(dir); err != nil {
			j.ps.logger.Error("the journal of in-sync replicas cannot be written", "directory", dir, "error", err)
		}
	}
}

// write writes the undecided entries of a log directory, if the file holds others.
func (j *journal) write(dir string) error {
	j.writing.Lock()
	defer j.writing.Unlock()
	j.mu.Lock()
	all := maps.Clone(j.entries[dir])
	was := j.written[dir]
	j.mu.Unlock()
	undecided := map[partitionKey]*core.Proposal{}
	for key, e := range all {
		if j.decided(key, e) {
			continue
		}
		undecided[key] = e.change
	}
	data := appendJournal(nil, undecided)
	if slices.Equal(data, was) || len(undecided) == 0 && was == nil {
		return nil
	}
	if err := vfs.Replace(j.fs, j.fs.PathJoin(dir, journalName), data); err != nil {
		return fmt.Errorf("write the journal of in-sync replicas: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.written[dir] = data
	for key, e := range all {
		if undecided[key] == nil && j.entries[dir][key] == e {
			delete(j.entries[dir], key)
		}
	}
	return nil
}

// decided reports whether a proposal is in the image, or can never be.
func (j *journal) decided(key partitionKey, e journaled) bool {
	if e.partition != nil {
		return !e.partition.proposes(e.change)
	}
	im := j.ps.image.Load()
	if im.At().Offset == kafka.NoOffset {
		return false
	}
	state := im.Partition(key.topic, key.partition)
	return state == nil || e.change.DecidedBy(state.LeaderEpoch, state.PartitionEpoch)
}

package image

import (
	"slices"

	"kvorum/internal/kafka"
)

// shared makes partitions share equal slices, so that a cluster of a million
// partitions fits into memory: the ISR is mostly the replicas, absent is nil,
// and replicas with their directories repeat in a cluster of few brokers.
//
// It remembers a bounded number of slices, newest first per slot. It is off
// until a delta has stored enough partitions to be worth its tables.
type shared struct {
	stored int
	table  *sharedTable
}

// sharedAfter is the number of partitions in one delta before slices are
// remembered; sharedSlots is the size of each table (24 KiB): twelve brokers
// have 1,320 lists of three, and more brokers gain less.
const (
	sharedAfter = 256
	sharedSlots = 1024
)

type sharedTable struct {
	replicas    [sharedSlots][]kafka.BrokerID
	directories [sharedSlots][]kafka.DirectoryID
}

// compact rewrites p's slices to equal ones that take less memory.
func (s *shared) compact(p *Partition) {
	p.Replicas = orNil(p.Replicas)
	p.ISR = orNil(p.ISR)
	p.ELR = orNil(p.ELR)
	p.LastKnownELR = orNil(p.LastKnownELR)
	p.Adding = orNil(p.Adding)
	p.Removing = orNil(p.Removing)
	if !slices.ContainsFunc(p.Directories, func(d kafka.DirectoryID) bool { return d != kafka.DirectoryMigrating }) {
		p.Directories = nil // all of them read as DirectoryMigrating
	}
	s.remember(p)
	if slices.Equal(p.ISR, p.Replicas) {
		p.ISR = p.Replicas
	}
}

func (s *shared) remember(p *Partition) {
	if s.stored++; s.stored < sharedAfter {
		return
	}
	if s.table == nil {
		s.table = new(sharedTable)
	}
	replicas := &s.table.replicas[hashBrokers(p.Replicas)%sharedSlots]
	if !slices.Equal(*replicas, p.Replicas) {
		*replicas = p.Replicas
	}
	p.Replicas = *replicas
	directories := &s.table.directories[hashDirectories(p.Directories)%sharedSlots]
	if !slices.Equal(*directories, p.Directories) {
		*directories = p.Directories
	}
	p.Directories = *directories
}

// hashFactor is that of FNV-1a. A bad distribution only costs memory.
const hashFactor = 1099511628211

func hashBrokers(ids []kafka.BrokerID) (h uint64) {
	for _, id := range ids {
		h = (h ^ uint64(uint32(id))) * hashFactor
		h ^= h >> 32
	}
	return h
}

func hashDirectories(ids []kafka.DirectoryID) (h uint64) {
	for i := range ids {
		for _, b := range ids[i][8:] {
			h = (h ^ uint64(b)) * hashFactor
		}
	}
	return h ^ h>>32
}

//go:build planted && linux && (amd64 || arm64)

package main

import (
	"log"
	"os"
	"time"

	"kvorum/internal/clock/jump"
	"kvorum/internal/planted"
	"kvorum/internal/vfs"
	"kvorum/internal/vfs/powerloss"
	"kvorum/quorum/raft"
)

// The program of the tests that take the power away and set clocks
// (integration/robustness): its disk keeps the journal KVORUM_POWERLOSS, and with
// KVORUM_FREEZE it syncs nothing now and then for up to so long; its wall clock is off by what the file KVORUM_CLOCK says;
// KVORUM_PLANTED names a bug that it has.
func init() {
	if path := os.Getenv("KVORUM_CLOCK"); path != "" {
		if err := jump.Follow(path); err != nil {
			log.Fatalf("KVORUM_CLOCK: %v", err)
		}
	}
	if dir := os.Getenv("KVORUM_POWERLOSS"); dir != "" {
		fs, err := powerloss.New(dir)
		if err != nil {
			log.Fatalf("the journal of KVORUM_POWERLOSS: %v", err)
		}
		if text := os.Getenv("KVORUM_FREEZE"); text != "" {
			longest, err := time.ParseDuration(text)
			if err != nil || longest <= 0 {
				log.Fatalf("KVORUM_FREEZE: %q is no length of time above 0", text)
			}
			fs.Freeze(longest)
		}
		vfs.Default, raft.DragonboatFS = fs, fs.Dragonboat()
	}
	if name := os.Getenv("KVORUM_PLANTED"); name != "" {
		for b := range planted.Bugs {
			if b.String() == name {
				planted.Set(b)
				return
			}
		}
		log.Fatalf("KVORUM_PLANTED: no bug is called %q", name)
	}
}

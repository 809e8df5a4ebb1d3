//go:build planted && linux

package main

import (
	"log"
	"os"

	"kvorum/internal/planted"
	"kvorum/internal/vfs"
	"kvorum/internal/vfs/powerloss"
)

// The program of the tests that take the power away (integration/robustness): its disk
// keeps the journal KVORUM_POWERLOSS, and KVORUM_PLANTED names a bug that it has.
func init() {
	if dir := os.Getenv("KVORUM_POWERLOSS"); dir != "" {
		fs, err := powerloss.New(dir)
		if err != nil {
			log.Fatalf("the journal of KVORUM_POWERLOSS: %v", err)
		}
		vfs.Default = fs
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

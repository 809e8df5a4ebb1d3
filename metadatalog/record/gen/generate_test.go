package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestGeneratedFileIsCurrent fails when records.def or the generator changed and
// `go generate` was not run.
func TestGeneratedFileIsCurrent(t *testing.T) {
	definitions, err := os.ReadFile("../records.def")
	if err != nil {
		t.Fatal(err)
	}
	want, err := generate(string(definitions))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../records_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("records_gen.go is not what records.def generates: run go generate ./metadatalog/record")
	}
}

func TestDefinitionErrorsNameTheLine(t *testing.T) {
	for _, bad := range []string{"\nrecord x", "\nrecord 1 R 1-2", "\n  Field i32 0", "record 1 R 0-0\n  F i32", "record 1 R 0-0\n  F i32 0 tag=x", "record 1 R 0-0\n  F i32 0 odd"} {
		if _, err := parse(bad); err == nil || !strings.Contains(err.Error(), "records.def:2") && !strings.Contains(err.Error(), "records.def:1") {
			t.Errorf("parse(%q) = %v, want an error that names the line", bad, err)
		}
	}
}

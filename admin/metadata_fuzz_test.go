package admin

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"kvorum/metadatalog/nodedir"
)

// fuzzSeeds are a log and checkpoints that Apache wrote, and pieces of them.
func fuzzSeeds(f *testing.F) {
	for _, pattern := range []string{filepath.Join(goldenLogs, "4.3.1-small", "*.log"), filepath.Join(goldenCheckpoints, "4.3.1-main", "*.checkpoint")} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("no files %s: %v", pattern, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			// Short ones: the fuzzer shrinks what it finds, and takes a minute for a long one.
			f.Add(content[:min(len(content), 300)])
			f.Add(content[:min(len(content), 1200)])
		}
	}
	whole, err := os.ReadFile(filepath.Join(goldenCheckpoints, "4.3.1-main", "00000000000000000000-0000000000.checkpoint"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte{})
}

// FuzzMetadataFile: whatever lies in a .log or .checkpoint, reading it ends
// without a panic, and what is dumped as JSON is no more than a small multiple of
// the file.
func FuzzMetadataFile(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		for _, name := range []string{"00000000000000000000.log", "00000000000000000128-0000000001.checkpoint"} {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			m, err := OpenMetadata(path)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			dumpErr := m.Dump(&out, DumpJSON, 0, EndOfLog)
			if out.Len() > 1000+400*len(content) {
				t.Errorf("%d bytes of %d", out.Len(), len(content))
			}
			state, err := m.StateAt(EndOfLog)
			if err == nil {
				if err := state.Tree().WriteTree(io.Discard, 0); err != nil {
					t.Error(err)
				}
				if dumpErr != nil {
					t.Errorf("a file that cannot be dumped has a state: %v", dumpErr)
				}
			}
		}
	})
}

// FuzzQuorumState: a file is understood, with an epoch and nothing odd, or
// refused by its name.
func FuzzQuorumState(f *testing.F) {
	f.Add([]byte(`{"clusterId":"","leaderId":1,"leaderEpoch":2,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1}],"data_version":0}`))
	f.Add([]byte(`{"leaderId":-1,"leaderEpoch":5,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}`))
	f.Add([]byte(`{"leaderEpoch":-5}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		s := &source{metadataDir: filepath.Join(t.TempDir(), nodedir.MetadataDir)}
		if err := os.Mkdir(s.metadataDir, 0o755); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(s.metadataDir, quorumStateFile)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.readQuorumState(); err == nil && s.highest < 0 || err != nil && !bytes.Contains([]byte(err.Error()), []byte(quorumStateFile)) {
			t.Errorf("epoch %d, %v", s.highest, err)
		}
	})
}

package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"kvorum/broker/kvorumtest"
)

// TestStories runs the commands of each file in testdata/stories on a real node of
// its own and compares what they print. The first line of an entry is the command's
// words, ” around those with spaces, and what follows is its input. BROKER, DATA
// and FILES stand for the node's address, its log directory and a directory of the
// test's; TIME for what is a time of the day. Rewrite with -rewrite.
func TestStories(t *testing.T) {
	datadriven.Walk(t, filepath.Join("testdata", "stories"), func(t *testing.T, path string) {
		t.Setenv("XDG_CONFIG_HOME", t.TempDir())
		t.Setenv(profileVariable, "")
		data, files := filepath.Join(t.TempDir(), "data"), t.TempDir()
		broker := kvorumtest.Start(t, kvorumtest.Property("log.dirs", filepath.ToSlash(data)))
		in := strings.NewReplacer("BROKER", broker, "DATA", data, "FILES", files)
		out := strings.NewReplacer(broker, "BROKER", data, "DATA", files, "FILES")
		if r := kvorum(t, "profile", "create", "story", "--brokers", broker); r.code != exitOK {
			t.Fatalf("profile: %+v", r)
		}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "file" { // writes the input to FILES/NAME
				write(t, filepath.Join(files, d.CmdArgs[0].Key), d.Input)
				return ""
			}
			line, input, more := strings.Cut(d.Input, "\n")
			if more {
				input += "\n"
			}
			r := kvorumReads(t, input, words(in.Replace(line))...)
			text := r.stdout
			if r.stderr != "" {
				text += "stderr: " + r.stderr
			}
			if r.code != exitOK {
				text += fmt.Sprintf("exit %d\n", r.code)
			}
			if strings.Contains(text, data) || strings.Contains(text, files) {
				text = columns.ReplaceAllString(text, "$1  ") // as wide as the path
			}
			return topicID.ReplaceAllString(varying.ReplaceAllString(out.Replace(text), "TIME"), "(id ID)")
		})
	})
}

// varying are timestamps of the day.
var varying = regexp.MustCompile(`\b1[789][0-9]{11}\b|\b20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z?`)

var (
	topicID = regexp.MustCompile(`\(id [A-Za-z0-9_-]{22}\)`)
	columns = regexp.MustCompile(`(\S)  +`)
)

// words splits a line as a shell does, but for single quotes only.
func words(line string) []string {
	var out []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

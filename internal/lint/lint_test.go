package lint_test

import (
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cockroachdb/datadriven"

	"kvorum/internal/lint"
)

// TestTree applies the rules to this repository.
func TestTree(t *testing.T) {
	for _, v := range check(t, os.DirFS("../..")) {
		t.Error(v)
	}
}

// TestRules reads bad and good examples and what the rules say about each.
// "check" takes files as `-- path --` lines, each followed by its text; a file
// may be made longer with `lines N`.
func TestRules(t *testing.T) {
	datadriven.RunTest(t, "testdata/rules.txt", func(t *testing.T, d *datadriven.TestData) string {
		if d.Cmd != "check" {
			d.Fatalf(t, "unknown command %s", d.Cmd)
		}
		var out strings.Builder
		for _, v := range check(t, example(d)) {
			out.WriteString(v.String() + "\n")
		}
		if out.Len() == 0 {
			return "nothing\n"
		}
		return out.String()
	})
}

func check(t *testing.T, root fs.FS) []lint.Violation {
	t.Helper()
	tree, err := lint.Load(root)
	if err != nil {
		t.Fatal(err)
	}
	return tree.Check()
}

// example builds a module from the text of a test case. Every package that the
// case does not say otherwise about has its row in the map.
func example(d *datadriven.TestData) fs.FS {
	files := fstest.MapFS{"go.mod": {Data: []byte("module kvorum\n")}}
	rows := map[string]bool{}
	name := ""
	for line := range strings.Lines(d.Input) {
		if header, ok := strings.CutPrefix(line, "-- "); ok {
			name = strings.TrimSuffix(strings.TrimSpace(header), " --")
			files[name] = &fstest.MapFile{}
			if i := strings.LastIndexByte(name, '/'); strings.HasSuffix(name, ".go") {
				rows[name[:i]] = true
			}
			continue
		}
		if strings.TrimSpace(line) == "(600 more lines)" {
			line = strings.Repeat("//\n", 600)
		}
		files[name].Data = append(files[name].Data, line...)
	}
	if files["docs/README.md"] == nil {
		text := ""
		for dir := range rows {
			text += "| `" + dir + "` | |\n"
		}
		files["docs/README.md"] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

// Package printed makes what Apache's tools print comparable between two runs and
// two clusters: ids, ports, epochs, offsets of the metadata log and times differ
// from run to run and are replaced by what they are.
package printed

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// replacement is one thing that differs between two runs.
type replacement struct {
	what *regexp.Regexp
	with string
}

// replacements are applied in this order.
var replacements = []replacement{
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "<address>"},
	{regexp.MustCompile(`(LeaderEpoch|HighWatermark|MaxFollowerLag|MaxFollowerLagTimeMs):(\s+)-?\d+`), "$1: <n>"},
	{regexp.MustCompile(`LeaderId:\s+[123]\b`), "LeaderId: <controller>"},
	{regexp.MustCompile(`\bEpoch: \d+`), "Epoch: <n>"},
	// 22 characters of URL-safe base64 that stand alone: Kafka's text form of an id.
	{regexp.MustCompile(`(^|[^A-Za-z0-9_-])[A-Za-z0-9_][A-Za-z0-9_-]{21}($|[^A-Za-z0-9_-])`), "$1<id>$2"},
	{regexp.MustCompile(`Local controller [123]\b`), "Local controller <controller>"},
	// Where a tool's exception went through the tool is the release's own business.
	{regexp.MustCompile(`(?m)^\s+(at .*|\.\.\. \d+ more)\n?`), ""},
	{regexp.MustCompile(`"[^"]*/data"`), `"<path>"`},
	{regexp.MustCompile(`(?m)[ \t]+$`), ""},
}

// unordered are lists that come in any order: the in-sync replicas, which a
// broker proposes in an order of its own, and the observers of the quorum.
var unordered = []struct {
	list, separator *regexp.Regexp
	join            string
}{
	{regexp.MustCompile(`Isr: [\d,]+`), regexp.MustCompile(`,`), ","},
	{regexp.MustCompile(`CurrentObservers: +\[.*\]`), regexp.MustCompile(`, (?:\{)`), ", {"},
}

// valid is a list of words that a Java Set has in another order in each process.
var valid = regexp.MustCompile(`Valid (?:states|types) are: [A-Za-z, ]+[A-Za-z]`)

// Normalise replaces what differs between two runs of one step.
func Normalise(text string) string {
	for _, u := range unordered {
		text = u.list.ReplaceAllStringFunc(text, func(list string) string {
			open := strings.IndexAny(list, "0123456789{")
			if open < 0 {
				return list // an empty one
			}
			head, body, tail := list[:open], list[open:], ""
			if strings.HasSuffix(body, "]") {
				head, body, tail = head+"{", body[1:len(body)-1], "]"
			}
			items := u.separator.Split(body, -1)
			slices.Sort(items)
			return head + strings.Join(items, u.join) + tail
		})
	}
	text = valid.ReplaceAllStringFunc(text, func(list string) string {
		head, words, _ := strings.Cut(list, ": ")
		items := strings.Split(words, ", ")
		slices.Sort(items)
		return head + ": " + strings.Join(items, ", ")
	})
	for _, r := range replacements {
		text = r.what.ReplaceAllString(text, r.with)
	}
	return text
}

// voterRow is a line of metadata-quorum's table about a controller; which one
// leads, and the offsets and times of all, are chance.
var voterRow = regexp.MustCompile(`^\d+ \S+ -?\d+ -?\d+ -?\d+ -?\d+ (\w+)$`)

// Replication makes the table of `metadata-quorum describe --replication`
// comparable: columns by one space, numbers replaced, rows sorted.
func Replication(table string) string {
	lines := strings.Split(strings.TrimSpace(table), "\n")
	for i, line := range lines {
		line = strings.Join(strings.Fields(line), " ")
		if m := voterRow.FindStringSubmatch(line); m != nil {
			id, _, _ := strings.Cut(line, " ")
			if m[1] != "Observer" {
				id = "<controller>"
			}
			line = id + " <id> <offset> <lag> <time> <time> " + m[1]
		}
		lines[i] = line
	}
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n") + "\n"
}

// Sorted sorts the lines of an output whose order is chance.
func Sorted(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// Resources makes what the acls tool prints comparable: the resources sorted, and
// the entries of each; blanks, which differ between the releases, are gone. After
// adding, the tool lists what a broker knows, which on Apache's controllers may
// not have the addition yet: that list is left out.
func Resources(text string) string {
	var blocks []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case strings.HasPrefix(line, "(") && len(blocks) > 0:
			blocks[len(blocks)-1] += "\n " + line
		default:
			blocks = append(blocks, line)
		}
	}
	if strings.HasPrefix(text, "Adding ") {
		blocks = slices.DeleteFunc(blocks, func(b string) bool { return strings.HasPrefix(b, "Current ") })
	}
	for i, b := range blocks {
		head, entries, _ := strings.Cut(b, "\n")
		lines := strings.Split(entries, "\n")
		slices.Sort(lines)
		blocks[i] = strings.TrimSuffix(head+"\n"+strings.Join(lines, "\n"), "\n")
	}
	slices.Sort(blocks)
	return strings.Join(blocks, "\n") + "\n"
}

// Difference shows the lines that only one of two texts has, after the name of
// the section.
func Difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	var out strings.Builder
	fmt.Fprintln(&out, g[0])
	for _, line := range w {
		if !slices.Contains(g, line) {
			fmt.Fprintln(&out, "-", line)
		}
	}
	for _, line := range g {
		if !slices.Contains(w, line) {
			fmt.Fprintln(&out, "+", line)
		}
	}
	if strings.Count(out.String(), "\n") == 1 {
		fmt.Fprintf(&out, "the same lines in another order or number: want\n%s\ngot\n%s\n", want, got)
	}
	return out.String()
}

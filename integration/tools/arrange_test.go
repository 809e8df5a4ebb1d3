package tools

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"kvorum/integration/printed"
)

// normalise replaces what differs between two runs of one command.
func (s *story) normalise(text string) string {
	host, port, _ := strings.Cut(s.bootstrap, ":")
	text = strings.ReplaceAll(text, host+" "+port, "<host> <port>")
	for _, r := range []struct{ what, with string }{
		{`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`, "<uuid>"},
		{`"timestamp":\d+`, `"timestamp":<ms>`},
		{`CreateTime:\d{13}`, "CreateTime:<ms>"},
		{`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[:,.]\d+`, "<time>"},
		{`"/[^"]*"`, `"<path>"`},
		{`\S*/file\.json`, "FILE"},
		{`(log.dirs=)/[^ }]*`, "$1<path>"},
		{`(?m)^\s*kvorum\..*\n`, ""}, // keys of kvorum's own
		{`console-consumer-\d+`, "console-consumer-<n>"},
	} {
		text = regexp.MustCompile(r.what).ReplaceAllString(text, r.with)
	}
	return printed.Normalise(text)
}

// rates replaces every figure of a performance test: only the words and the
// number of records stay.
func rates(text string) string {
	return regexp.MustCompile(`\d+\.\d+|\d+ (ms|records/sec)|-?\d{4,}`).ReplaceAllStringFunc(text, func(n string) string {
		if n == "3000" {
			return n
		}
		return "<n>"
	})
}

// progress is rates without the lines that say how far a long test is.
func progress(text string) string {
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return strings.Contains(l, "max latency") && !strings.Contains(l, "99.9th") })
	return rates(strings.Join(lines, "\n"))
}

// csv replaces the figures of the consumer's performance test, whose columns are
// times and rates, but for the one that counts the records.
func csv(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		columns := strings.Split(line, ", ")
		if i > 0 && len(columns) > 4 {
			for k := range columns {
				if k != 4 {
					columns[k] = "<n>"
				}
			}
		}
		lines[i] = strings.Join(columns, ", ")
	}
	return strings.Join(lines, "\n")
}

// events makes the JSON lines of the verifiable clients comparable: how the records
// fall into polls is chance, so the counts of records_consumed are added up, and
// of the commits only the last of each partition stays. The lines come in any order.
func events(text string) string {
	var lines []string
	consumed, committed := 0, map[string]string{}
	for line := range strings.Lines(text) {
		var e struct {
			Name    string            `json:"name"`
			Count   int               `json:"count"`
			Offsets []json.RawMessage `json:"offsets"`
		}
		if json.Unmarshal([]byte(line), &e) != nil {
			lines = append(lines, strings.TrimSpace(line))
			continue
		}
		switch e.Name {
		case "records_consumed":
			consumed += e.Count
		case "offsets_committed":
			for _, o := range e.Offsets {
				var at struct {
					Topic     string
					Partition int
				}
				if json.Unmarshal(o, &at) == nil {
					committed[fmt.Sprint(at)] = "committed " + string(o)
				}
			}
		default:
			lines = append(lines, regexp.MustCompile(`"(avg_throughput|target_throughput)":-?[\d.E]+`).ReplaceAllString(strings.TrimSpace(line), `"$1":<n>`))
		}
	}
	for _, c := range committed {
		lines = append(lines, c)
	}
	if consumed > 0 {
		lines = append(lines, fmt.Sprintf("consumed %d", consumed))
	}
	return strings.Join(lines, "\n")
}

// columns puts one blank between the columns of a table, whose widths depend on
// ids, and sorts the rows below the head.
func columns(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	slices.Sort(lines[min(1, len(lines)):])
	return strings.Join(lines, "\n")
}

// logDirs prints a line for each partition: they come in any order. It sorts the elements of the lists of partitions, which come in any
// order, and hides the sizes of the disk.
func logDirs(text string) string {
	at := strings.IndexByte(text, '{')
	var d struct {
		Version int `json:"version"`
		Brokers []struct {
			Broker  int `json:"broker"`
			LogDirs []struct {
				Partitions []map[string]any `json:"partitions"`
				Error      any              `json:"error"`
			} `json:"logDirs"`
		} `json:"brokers"`
	}
	if at < 0 || json.Unmarshal([]byte(text[at:]), &d) != nil {
		return text
	}
	var lines []string
	for _, b := range d.Brokers {
		for _, dir := range b.LogDirs {
			for _, p := range dir.Partitions {
				if p["size"] != 0.0 {
					p["size"] = "bytes" // how records fell into batches, and members' ids are in it
				}
				line, _ := json.Marshal(p)
				lines = append(lines, fmt.Sprintf("broker %d: %s", b.Broker, line))
			}
			lines = append(lines, fmt.Sprintf("broker %d: error %v", b.Broker, dir.Error))
		}
	}
	slices.Sort(lines)
	return text[:at] + strings.Join(lines, "\n")
}

// producers makes the table of a partition's producers comparable: the ids come
// from blocks, and the rows are in the order of a hash table.
func producers(text string) string {
	lines := strings.Split(columns(text), "\n")
	for i, line := range lines[1:] {
		_, rest, _ := strings.Cut(line, " ")
		lines[i+1] = "<id> " + regexp.MustCompile(`\b\d{13}\b`).ReplaceAllString(rest, "<ms>")
	}
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n")
}

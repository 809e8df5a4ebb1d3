package brokerconfig

import (
	"fmt"
	"slices"
	"strings"

	"kvorum/config"
	"kvorum/internal/kafka"
)

// Target is what a file is converted for.
type Target string

// The targets, in the order of a migration.
const (
	// Migration is ZooKeeper mode with the keys by which a broker also registers with
	// the controllers.
	Migration Target = "migration"
	// ApacheKRaft is KRaft mode of Apache's broker.
	ApacheKRaft Target = "apache-kraft"
	// Kvorum is kvorum's broker.
	Kvorum Target = "kvorum"
)

// Targets are all of them.
var Targets = []Target{Migration, ApacheKRaft, Kvorum}

// Options are what a file does not say by itself.
type Options struct {
	Target Target
	// ID is the broker's id where the file has none (broker.id.generation.enable); -1
	// if it is not known.
	ID kafka.BrokerID
	// Controllers are the controllers' addresses, ID@HOST:PORT,... for
	// controller.quorum.voters or HOST:PORT,... for
	// controller.quorum.bootstrap.servers; empty to keep what the file has.
	Controllers string
	// Allow names keys whose refusal is to be passed over; one that ends in an asterisk
	// stands for all that begin so. What happens with such a key then is in its note.
	Allow []string
}

// Action is what is done with a key.
type Action string

// The actions.
const (
	Kept    Action = "kept"
	Changed Action = "changed"
	Added   Action = "added"
	Dropped Action = "dropped"
	Refused Action = "refused"
)

// Note is what is done with one key.
type Note struct {
	Key    string `json:"key"`
	Line   int    `json:"line,omitempty"` // in the file that was read; 0 for an added key
	Action Action `json:"action"`
	// From and To are the values before and after, without secrets.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Why is empty for a key that is kept and means what it meant.
	Why string `json:"why,omitempty"`
	// Allowable says that --allow passes over this refusal.
	Allowable bool `json:"allowable,omitempty"`

	value string // To, with secrets
}

// Result is a converted file.
type Result struct {
	// Text is the new file, "" if something is refused.
	Text  string
	Notes []Note // in the order of the file, those of added keys behind
}

// Refused are the notes of what is refused.
func (r *Result) Refused() []Note {
	var out []Note
	for _, n := range r.Notes {
		if n.Action == Refused {
			out = append(out, n)
		}
	}
	return out
}

// maxKeys bounds the work for a wrong file; Kafka knows some 400 keys.
const maxKeys = 2000

// Convert converts the text of a server.properties. The error is of a text that is
// no properties file, or of options that mean nothing.
func Convert(text string, o Options) (*Result, error) {
	if !slices.Contains(Targets, o.Target) {
		return nil, fmt.Errorf("there is no target %q: the targets are %v", o.Target, Targets)
	}
	if err := checkControllers(o.Controllers); err != nil {
		return nil, err
	}
	properties, err := config.Parse(text)
	if err != nil {
		return nil, err
	}
	if len(properties) > maxKeys {
		return nil, fmt.Errorf("the text has %d keys; at most %d are read", len(properties), maxKeys)
	}
	r := &Result{Notes: Decide(properties, o)}
	out := write(text, properties, r.Notes, o.Target)
	if o.Target == Kvorum {
		r.whole(out)
	}
	if len(r.Refused()) == 0 {
		r.Text = out
	}
	return r, nil
}

// whole reads the new file as kvorum's start does, and notes what no single line shows.
func (r *Result) whole(text string) {
	properties, err := config.Parse(text)
	if err != nil {
		panic(fmt.Sprintf("brokerconfig: wrote what cannot be read: %v", err))
	}
	_, err = config.ParseNode(properties)
	for _, e := range config.NodeErrors(err) {
		i := slices.IndexFunc(r.Notes, func(n Note) bool { return n.Key == e.Key })
		switch {
		case i < 0:
			r.Notes = append(r.Notes, Note{Key: e.Key, Action: Refused, Why: e.Err.Error()})
		case r.Notes[i].Action != Refused:
			r.Notes[i] = r.Notes[i].refused(e.Err.Error(), false)
		}
	}
}

// write makes the new text: the lines of the old one, but for those of keys that are
// changed or dropped, and the added keys below a comment at the end.
func write(text string, properties config.Properties, notes []Note, target Target) string {
	lines := splitLines(text)
	end := "\n"
	if len(lines) > 0 && strings.HasSuffix(lines[0], "\r\n") {
		end = "\r\n"
	}
	var b strings.Builder
	next := 0 // the first line that is not written
	for i, p := range properties {
		for ; next < p.Line-1; next++ {
			b.WriteString(lines[next])
		}
		switch notes[i].Action {
		case Kept:
			for ; next < min(p.Last, len(lines)); next++ {
				b.WriteString(lines[next])
			}
		case Changed:
			b.WriteString(line(p.Name, notes[i].value) + end)
		}
		next = min(p.Last, len(lines)) // a continuation at the end has one line more
	}
	for ; next < len(lines); next++ {
		b.WriteString(lines[next])
	}
	comment := false
	for _, n := range notes {
		if n.Action != Added {
			continue
		}
		if !comment {
			b.WriteString(separator(b.String(), end))
			b.WriteString("# kvorum migrate broker-config --to " + string(target) + end)
			comment = true
		}
		b.WriteString(line(n.Key, n.value) + end)
	}
	return b.String()
}

// separator ends the last line of a text, and the value that it continues.
func separator(text, end string) string {
	lines := splitLines(text)
	if len(lines) == 0 {
		return ""
	}
	last := strings.TrimRight(lines[len(lines)-1], "\r\n")
	out := ""
	if last == lines[len(lines)-1] {
		out = end
	}
	if (len(last)-len(strings.TrimRight(last, `\`)))%2 == 1 {
		out += end
	}
	return out
}

// splitLines parts a text at \n, \r and \r\n, which stay at the ends of the lines.
func splitLines(text string) []string {
	var lines []string
	for text != "" {
		i := strings.IndexAny(text, "\r\n")
		switch {
		case i < 0:
			i = len(text)
		case strings.HasPrefix(text[i:], "\r\n"):
			i += 2
		default:
			i++
		}
		lines = append(lines, text[:i])
		text = text[i:]
	}
	return lines
}

// escapes are what a value must not have as it is in a properties file.
var escapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\f", `\f`)

// line is a key and its value as a line. The keys are Kafka's, which need no escapes.
func line(key, value string) string {
	value = escapes.Replace(value)
	if strings.HasPrefix(value, " ") {
		value = `\` + value
	}
	return key + "=" + value
}

// shown is a value without secrets.
func shown(key, value string) string {
	if k, ok := config.Lookup(config.ScopeNode, key); ok {
		if k.Sensitive() && value != "" {
			return "(hidden)"
		}
		return value
	}
	for _, word := range []string{"password", "secret", "jaas", "credential", "token", "key"} {
		if strings.Contains(strings.ToLower(key), word) && value != "" {
			return "(hidden)"
		}
	}
	return value
}

// checkControllers reads the controllers' addresses.
func checkControllers(text string) error {
	if text == "" {
		return nil
	}
	k, _ := config.Lookup(config.ScopeNode, quorumKey(text))
	if _, err := k.Parse(text); err != nil {
		return fmt.Errorf("the controllers %q: %w", text, err)
	}
	return nil
}

// quorumKey is the key that controllers' addresses are for.
func quorumKey(controllers string) string {
	if strings.Contains(controllers, "@") {
		return "controller.quorum.voters"
	}
	return "controller.quorum.bootstrap.servers"
}

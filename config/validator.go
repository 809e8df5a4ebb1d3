package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Validator limits the values of a key beyond its type. String is what
// Apache's validator prints, which the reference shows.
type Validator interface {
	check(name string, v Value) *Error
	String() string
}

// rangeValid is ConfigDef.Range.
type rangeValid struct {
	low, high float64
	bounded   bool
}

func atLeast(low float64) Validator       { return rangeValid{low: low} }
func between(low, high float64) Validator { return rangeValid{low: low, high: high, bounded: true} }

func (r rangeValid) check(name string, v Value) *Error {
	n := v.Real
	if v.Type != Double {
		n = float64(v.Int)
	}
	switch {
	case n < r.low:
		return invalidValue(name, v.String(), "Value must be at least "+plain(r.low))
	case r.bounded && n > r.high:
		return invalidValue(name, v.String(), "Value must be no more than "+plain(r.high))
	}
	return nil
}

func (r rangeValid) String() string {
	if !r.bounded {
		return "[" + plain(r.low) + ",...]"
	}
	return "[" + plain(r.low) + ",...," + plain(r.high) + "]"
}

func plain(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// gzipLevel is CompressionType.GZIP's level: 1 to 9, or -1 for zlib's default.
type gzipLevel struct{}

func (gzipLevel) check(name string, v Value) *Error {
	if v.Int == -1 || v.Int >= 1 && v.Int <= 9 {
		return nil
	}
	return invalidValue(name, v.String(), "Value must be between 1 and 9 or equal to -1")
}

func (gzipLevel) String() string { return "[1,...,9] or -1" }

// wordValid is ConfigDef.ValidString, and with fold CaseInsensitiveValidString.
type wordValid struct {
	words []string
	fold  bool
}

func oneOf(words ...string) Validator     { return wordValid{words: words} }
func oneOfFold(words ...string) Validator { return wordValid{words: words, fold: true} }

func (w wordValid) check(name string, v Value) *Error {
	for _, word := range w.words {
		if word == v.Text || w.fold && strings.EqualFold(word, v.Text) {
			return nil
		}
	}
	text := "String must be one of"
	if w.fold {
		text += " (case insensitive)"
	}
	return invalidValue(name, v.Text, text+": "+strings.Join(w.words, ", "))
}

func (w wordValid) String() string {
	s := "[" + strings.Join(w.words, ", ") + "]"
	if w.fold {
		s = "(case insensitive) " + s
	}
	return s
}

// nonEmpty is ConfigDef.NonEmptyString.
type nonEmpty struct{}

func (nonEmpty) check(name string, v Value) *Error {
	if v.Text == "" {
		return invalidValue(name, v.Text, "String must be non-empty")
	}
	return nil
}

func (nonEmpty) String() string { return "non-empty string" }

// listRule says what ConfigDef.ValidList allows.
type listRule bool

const (
	notEmpty     listRule = false
	emptyAllowed listRule = true
)

// listValid is ConfigDef.ValidList; without words every entry is valid. It
// never meets duplicates: Key.Parse has dropped them, as Apache does.
type listValid struct {
	empty listRule
	words []string
}

func listOf(empty listRule, words ...string) Validator { return listValid{empty: empty, words: words} }

func (l listValid) check(name string, v Value) *Error {
	if len(v.List) == 0 && l.empty == notEmpty {
		valid := "any non-empty value"
		if len(l.words) > 0 {
			valid = l.String()
		}
		return invalid("Configuration '%s' must not be empty. Valid values include: %s", name, valid)
	}
	for _, entry := range v.List {
		if entry == "" {
			return invalid("Configuration '%s' values must not be empty.", name)
		}
		if len(l.words) > 0 && !slices.Contains(l.words, entry) {
			return invalidValue(name, entry, "String must be one of: "+strings.Join(l.words, ", "))
		}
	}
	return nil
}

func (l listValid) String() string {
	if len(l.words) == 0 {
		return ""
	}
	return "[" + strings.Join(l.words, ", ") + "]"
}

// withoutDuplicates keeps the first of equal entries.
func withoutDuplicates(list []string) []string {
	seen := make(map[string]struct{}, len(list))
	kept := list[:0]
	for _, entry := range list {
		if _, ok := seen[entry]; !ok {
			seen[entry] = struct{}{}
			kept = append(kept, entry)
		}
	}
	return kept
}

// throttledReplicas is ThrottledReplicaListValidator.
type throttledReplicas struct{}

const throttledForm = "[partitionId]:[brokerId],[partitionId]:[brokerId],..."

var throttledReplica = regexp.MustCompile(`^[0-9]+:[0-9]+$`)

func (throttledReplicas) check(name string, v Value) *Error {
	// An entry at the end that is empty is taken ("0:1,"), as Apache joins the
	// entries again before it looks.
	list := v.List
	for len(list) > 0 && list[len(list)-1] == "" {
		list = list[:len(list)-1]
	}
	if len(list) == 0 || len(list) == 1 && list[0] == "*" {
		return nil
	}
	for _, entry := range list {
		if !throttledReplica.MatchString(entry) {
			return invalidValue(name, "["+strings.Join(v.List, ", ")+"]",
				fmt.Sprintf("%s must be the literal '*' or a list of replicas in the following format: %s", name, throttledForm))
		}
	}
	return nil
}

func (throttledReplicas) String() string { return throttledForm }

package config

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxPropertiesBytes bounds a properties text: Apache's sample files have some
// 8 KiB; a megabyte is a wrong file.
const maxPropertiesBytes = 1 << 20

// Property is one line of a properties text (with its continuations).
type Property struct {
	Name, Value string
	Line        int // of its first character, from 1
	Last        int // the last of its lines: Line, but for a value that is continued
}

// Properties are the lines of a text in their order; no name comes twice.
type Properties []Property

// Get returns the value of name.
func (p Properties) Get(name string) (string, bool) {
	for _, property := range p {
		if property.Name == name {
			return property.Value, true
		}
	}
	return "", false
}

// Map returns names and values.
func (p Properties) Map() map[string]string {
	m := make(map[string]string, len(p))
	for _, property := range p {
		m[property.Name] = property.Value
	}
	return m
}

// Parse reads the text of a Java .properties file in UTF-8: comments with # or
// !, names and values parted by =, : or white space, continuation with a
// backslash at the end of a line, and the escapes \t \n \r \f \uXXXX. A name
// that comes twice is an error (Java takes the last one, which hides
// mistakes), and so is anything that no file means to say.
func Parse(text string) (Properties, error) {
	if len(text) > maxPropertiesBytes {
		return nil, fmt.Errorf("the properties are %d bytes long; at most %d are read", len(text), maxPropertiesBytes)
	}
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("the properties are not UTF-8 text")
	}
	var properties Properties
	first := make(map[string]int)
	for _, l := range logicalLines(text) {
		name, value, err := splitProperty(l.text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", l.number, err)
		}
		if name == "" {
			return nil, fmt.Errorf("line %d: a value without a name", l.number)
		}
		if line, ok := first[name]; ok {
			return nil, fmt.Errorf("line %d: %s is set a second time (first on line %d); remove one of them", l.number, name, line)
		}
		first[name] = l.number
		properties = append(properties, Property{Name: name, Value: value, Line: l.number, Last: l.last})
	}
	return properties, nil
}

type logicalLine struct {
	text         string
	number, last int
}

// logicalLines joins continued lines and drops blank ones and comments. A
// comment cannot be continued.
func logicalLines(text string) []logicalLine {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	var lines []logicalLine
	var open strings.Builder
	first := 0 // line on which the open logical line begins; 0: none is open
	all := strings.Split(text, "\n")
	for i, line := range all {
		line = strings.TrimLeft(line, " \t\f")
		if first == 0 {
			if line == "" || line[0] == '#' || line[0] == '!' {
				continue
			}
			first = i + 1
		}
		backslashes := len(line) - len(strings.TrimRight(line, `\`))
		if backslashes%2 == 1 {
			open.WriteString(line[:len(line)-1])
			continue
		}
		open.WriteString(line)
		lines = append(lines, logicalLine{text: open.String(), number: first, last: i + 1})
		open.Reset()
		first = 0
	}
	if first != 0 { // the text ends in a continuation
		lines = append(lines, logicalLine{text: open.String(), number: first, last: len(all)})
	}
	return lines
}

// splitProperty parts a logical line at the first =, : or white space that is
// not escaped.
func splitProperty(line string) (name, value string, err error) {
	end := len(line)
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			i++
		} else if strings.IndexByte("=: \t\f", line[i]) >= 0 {
			end = i
			break
		}
	}
	rest := strings.TrimLeft(line[end:], " \t\f")
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = strings.TrimLeft(rest[1:], " \t\f")
	}
	if name, err = unescape(line[:end]); err != nil {
		return "", "", err
	}
	value, err = unescape(rest)
	return name, value, err
}

func unescape(s string) (string, error) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, nil
	}
	var b strings.Builder
	var units []uint16 // \u escapes in a row, which may be surrogate pairs
	flush := func() {
		b.WriteString(string(utf16.Decode(units)))
		units = units[:0]
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			flush()
			b.WriteByte(s[i])
			continue
		}
		i++
		if s[i] == 'u' {
			unit, ok := hexUnit(s[i+1:])
			if !ok {
				return "", fmt.Errorf(`\u is not followed by four hexadecimal digits`)
			}
			units = append(units, unit)
			i += 4
			continue
		}
		flush()
		if c := strings.IndexByte("tnrf", s[i]); c >= 0 {
			b.WriteByte("\t\n\r\f"[c])
		} else {
			b.WriteByte(s[i])
		}
	}
	flush()
	return b.String(), nil
}

func hexUnit(s string) (unit uint16, ok bool) {
	if len(s) < 4 {
		return 0, false
	}
	for i := range 4 {
		digit := strings.IndexByte("0123456789abcdef", s[i]|0x20)
		if digit < 0 || s[i] < '0' {
			return 0, false
		}
		unit = unit<<4 | uint16(digit)
	}
	return unit, true
}

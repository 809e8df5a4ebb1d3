package protocol

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
)

// A shape says how the body of one request version is laid out. kmsg is the
// codec, but it believes what a frame declares: it allocates an array before it
// looks for its elements (80 times a hostile frame's size), and it counts down
// a tag count of 4 billion after the bytes have run out (half a minute of CPU
// from 20 bytes). So every body is walked by its shape first (check.go), which
// costs no memory, and only a body whose counts are backed by bytes is decoded.
type shape []field

// field is one step of a shape.
type field struct {
	kind     byte // as in shapes.txt; '(' is a struct that may be null
	nullable bool
	inner    shape   // array element or struct
	tags     []shape // of 'T', by tag
	min      int     // fewest bytes on the wire
	fixed    bool    // always exactly min bytes
}

//go:embed shapes.txt
var shapesText string

// widths has the fewest bytes of each kind.
var widths = map[byte]int{'1': 1, '2': 2, '4': 4, '8': 8, 'u': 16, 's': 2, 'c': 1, 'b': 4, 'd': 1, '[': 4, '<': 1, '(': 1, 'T': 1}

// parseShapes reads shapes.txt into key → version → shape. The text is ours, so
// a mistake in it panics at start.
func parseShapes(text string) map[Key]map[int16]shape {
	shapes := make(map[Key]map[int16]shape)
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		var key, from, to int16
		if n, err := fmt.Sscanf(line, "%d %d-%d ", &key, &from, &to); n < 3 {
			panic(fmt.Sprintf("protocol: shape line %q: %v", line, err))
		}
		s, rest := parseShape(line[strings.LastIndexByte(line, ' ')+1:])
		if rest != "" {
			panic(fmt.Sprintf("protocol: shape line %q: trailing %q", line, rest))
		}
		if shapes[Key(key)] == nil {
			shapes[Key(key)] = make(map[int16]shape)
		}
		for v := from; v <= to; v++ {
			shapes[Key(key)][v] = s
		}
	}
	return shapes
}

// parseShape reads fields up to the end or to a closing bracket, which it leaves.
func parseShape(text string) (s shape, rest string) {
	for text != "" && !strings.ContainsRune("]>);}", rune(text[0])) {
		var f field
		if f.nullable = text[0] == '?'; f.nullable {
			text = text[1:]
		}
		f.kind, text = text[0], text[1:]
		width, known := widths[f.kind]
		if !known {
			panic("protocol: shape of kind " + strconv.QuoteRune(rune(f.kind)))
		}
		f.min = width
		f.fixed = strings.IndexByte("1248u", f.kind) >= 0
		switch {
		case f.kind == '[' || f.kind == '<' || f.kind == '(':
			f.inner, text = parseShape(text)
			text = text[1:]
		case f.kind == 'T' && strings.HasPrefix(text, "{"):
			for text = text[1:]; text[0] != '}'; text = text[1:] {
				var tag shape
				tag, text = parseShape(text)
				f.tags = append(f.tags, tag)
			}
			text = text[1:]
		}
		s = append(s, f)
	}
	return s, text
}

// minBytes is the fewest bytes that s takes on the wire.
func (s shape) minBytes() (n int) {
	for i := range s {
		n += s[i].min
	}
	return n
}

// fixedBytes is the exact size of s, or 0 where that depends on the values.
func (s shape) fixedBytes() int {
	for i := range s {
		if !s[i].fixed {
			return 0
		}
	}
	return s.minBytes()
}

// flexible reports whether s is a flexible version (KIP-482): it ends with tags.
func (s shape) flexible() bool { return len(s) > 0 && s[len(s)-1].kind == 'T' }

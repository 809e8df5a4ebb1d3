package main

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"
)

// message is one record, control record or struct of records.def.
type message struct {
	kind    string // record, control, struct
	key     int
	name    string
	highest int
	fields  []field
}

// field is one field of a message.
type field struct {
	name     string
	typ      string // element type for an array
	array    bool
	since    int
	tag      int // -1: not tagged
	nullable bool
	def      string // Kafka's default, "" for that of the type
}

// parse reads the definitions. Errors name the line.
func parse(text string) ([]message, error) {
	var messages []message
	scanner := bufio.NewScanner(strings.NewReader(text))
	for n := 1; scanner.Scan(); n++ {
		line := scanner.Text()
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		var err error
		if line[0] == ' ' {
			err = addField(messages, words)
		} else {
			messages, err = addMessage(messages, words)
		}
		if err != nil {
			return nil, fmt.Errorf("records.def:%d: %w", n, err)
		}
	}
	return messages, scanner.Err()
}

func addMessage(messages []message, words []string) ([]message, error) {
	if words[0] == "struct" && len(words) == 2 {
		return append(messages, message{kind: "struct", name: words[1]}), nil
	}
	if (words[0] != "record" && words[0] != "control") || len(words) != 4 {
		return nil, fmt.Errorf("cannot read %q", words)
	}
	key, err := strconv.Atoi(words[1])
	if err != nil {
		return nil, err
	}
	low, high, ok := strings.Cut(words[3], "-")
	highest, err := strconv.Atoi(high)
	if !ok || low != "0" || err != nil {
		return nil, fmt.Errorf("versions %q are not 0-N", words[3])
	}
	return append(messages, message{kind: words[0], key: key, name: words[2], highest: highest}), nil
}

func addField(messages []message, words []string) error {
	if len(messages) == 0 || len(words) < 3 {
		return fmt.Errorf("cannot read field %q", words)
	}
	f := field{name: words[0], tag: -1}
	f.typ, f.array = strings.TrimPrefix(words[1], "[]"), strings.HasPrefix(words[1], "[]")
	var err error
	if f.since, err = strconv.Atoi(words[2]); err != nil {
		return err
	}
	for _, attribute := range words[3:] {
		name, value, _ := strings.Cut(attribute, "=")
		switch name {
		case "null":
			f.nullable = true
		case "default":
			f.def = value
		case "tag":
			if f.tag, err = strconv.Atoi(value); err != nil {
				return err
			}
		default:
			return fmt.Errorf("unknown attribute %q", attribute)
		}
	}
	m := &messages[len(messages)-1]
	m.fields = append(m.fields, f)
	return nil
}

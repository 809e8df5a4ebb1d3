package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode"
)

// Redacted stands in JSON where a secret was.
const Redacted = "(redacted)"

// AppendJSON appends a record as Kafka's dump-log prints it (the
// RecordJsonConverter of each schema): {"type":"TOPIC_RECORD","version":0,
// "data":{...}} with the schema's field names, ids in base64, bytes in base64,
// and no tagged field that has its default. The fields named in hidden, which
// are the outermost ones, are replaced by Redacted. Tagged fields that this
// build does not know are in "unknownTaggedFields", by number in base64.
func (m Message) AppendJSON(dst []byte, hidden ...string) []byte {
	out := bytes.NewBuffer(dst)
	fmt.Fprintf(out, `{"type":"%s","version":%d,"data":`, typeName(m.Record.RecordName()), m.Version)
	jsonStruct(out, reflect.ValueOf(m.Record).Elem(), m.Version, hidden)
	out.WriteByte('}')
	return out.Bytes()
}

// AppendControlJSON appends a control record's value as Kafka's dump-log prints
// it: its fields only, the name is RecordName.
func AppendControlJSON(dst []byte, c Control) []byte {
	out := bytes.NewBuffer(dst)
	jsonStruct(out, reflect.ValueOf(c).Elem(), 0, nil)
	return out.Bytes()
}

// typeName is the constant of MetadataRecordType: TopicRecord is TOPIC_RECORD.
func typeName(name string) string {
	var out strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) {
			out.WriteByte('_')
		}
		out.WriteRune(unicode.ToUpper(r))
	}
	return out.String()
}

// jsonField is the content of the tag that the generator puts on a field.
type jsonField struct {
	name   string
	since  int
	tagged bool
	def    string // of a tagged field: Kafka's default, "" for the type's
}

func parseJSONField(tag string) jsonField {
	name, rest, _ := strings.Cut(tag, ",")
	since, def, tagged := strings.Cut(rest, ",tag=")
	n, err := strconv.Atoi(since)
	if err != nil {
		panic("record: generated tag " + tag)
	}
	return jsonField{name: name, since: n, tagged: tagged, def: def}
}

// isDefault reports whether a tagged field has the value that is not written.
func (f jsonField) isDefault(v reflect.Value) bool {
	switch {
	case f.def == "null":
		return v.IsNil()
	case f.def != "":
		return fmt.Sprint(v.Interface()) == f.def
	case v.Kind() == reflect.Slice:
		return v.Len() == 0
	}
	return v.IsZero()
}

func jsonStruct(out *bytes.Buffer, v reflect.Value, version int16, hidden []string) {
	out.WriteByte('{')
	separator := ""
	for i := range v.NumField() {
		tag, ok := v.Type().Field(i).Tag.Lookup("kafka")
		if !ok {
			continue // UnknownTags
		}
		f := parseJSONField(tag)
		if int(version) < f.since || f.tagged && f.isDefault(v.Field(i)) {
			continue
		}
		fmt.Fprintf(out, `%s"%s":`, separator, f.name)
		separator = ","
		if contains(hidden, f.name) {
			fmt.Fprintf(out, "%q", Redacted)
			continue
		}
		jsonValue(out, v.Field(i), version)
	}
	if tags, _ := v.FieldByName("UnknownTags").Interface().([]TaggedField); len(tags) > 0 {
		fmt.Fprintf(out, `%s"unknownTaggedFields":`, separator)
		jsonPlain(out, tags)
	}
	out.WriteByte('}')
}

func contains(list []string, name string) bool {
	for _, s := range list {
		if s == name {
			return true
		}
	}
	return false
}

func jsonValue(out *bytes.Buffer, v reflect.Value, version int16) {
	text, isText := v.Interface().(fmt.Stringer)
	switch {
	case isText && v.Kind() == reflect.Array: // an id
		fmt.Fprintf(out, "%q", text)
	case v.Kind() == reflect.Slice && v.IsNil() && v.Type().Elem().Kind() != reflect.Uint8:
		out.WriteString("[]") // nullable arrays are tagged, and null is their default
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8:
		out.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				out.WriteByte(',')
			}
			jsonValue(out, v.Index(i), version)
		}
		out.WriteByte(']')
	case v.Kind() == reflect.Struct:
		jsonStruct(out, v, version, nil)
	case v.Kind() == reflect.Slice && v.IsNil():
		out.WriteString(`""`)
	case v.Kind() == reflect.Float64 && (math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0)):
		fmt.Fprintf(out, `"%v"`, v.Float())
	default:
		jsonPlain(out, v.Interface())
	}
}

// jsonPlain writes a number, a text, bytes or null. Text is written without
// escaping what only a browser minds.
func jsonPlain(out *bytes.Buffer, value any) {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		panic(fmt.Sprintf("record: JSON of %T: %v", value, err)) // the types of records.def have none that fails
	}
	out.Truncate(out.Len() - 1) // the encoder's line end
}

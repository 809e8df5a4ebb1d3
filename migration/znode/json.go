package znode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// MaxData bounds the data of one node that is decoded: four times what ZooKeeper
// carries in a request unless jute.maxbuffer was raised on every server.
const MaxData = 4 << 20

// object is the members of a JSON object. Names are compared exactly, and of a
// name that occurs twice the last one counts, as in Kafka's own reader.
type object map[string]json.RawMessage

// parse reads the data of a node that holds a JSON object.
func parse(data []byte) (object, error) {
	if len(data) == 0 {
		return nil, errors.New("the node is empty")
	}
	if len(data) > MaxData {
		return nil, fmt.Errorf("the node has %d bytes, more than %d", len(data), MaxData)
	}
	if !utf8.Valid(data) { // encoding/json would put other characters in their place
		return nil, errors.New("the node is not a JSON object: it has bytes that are not UTF-8")
	}
	var o object
	if err := json.Unmarshal(data, &o); err != nil {
		return nil, fmt.Errorf("the node is not a JSON object: %w", err)
	}
	if o == nil {
		return nil, errors.New("the node is not a JSON object: it is null")
	}
	return o, nil
}

// parseVersion is parse for an object whose version tells nothing but that it is
// one of those that are known.
func parseVersion(data []byte, low, high int) (object, error) {
	o, err := parse(data)
	if err != nil {
		return nil, err
	}
	if _, err := o.version(low, high); err != nil {
		return nil, err
	}
	return o, nil
}

// has reports whether a member is there and not null.
func (o object) has(name string) bool {
	raw, ok := o[name]
	return ok && !bytes.Equal(raw, []byte("null"))
}

// get reads a member that must be there.
func get[T any](o object, name string) (T, error) {
	var v T
	if !o.has(name) {
		return v, fmt.Errorf("%q is missing", name)
	}
	if err := json.Unmarshal(o[name], &v); err != nil {
		return v, fmt.Errorf("%q is not what it should be: %w", name, err)
	}
	return v, nil
}

// getOr reads a member, or gives the value for one that is not there.
func getOr[T any](o object, name string, missing T) (T, error) {
	if !o.has(name) {
		return missing, nil
	}
	return get[T](o, name)
}

// version reads the "version" member and refuses what this build does not know.
// Kafka writes it as a number, but in /cluster/id as text.
func (o object) version(low, high int) (int, error) {
	raw, err := get[json.RawMessage](o, "version")
	if err != nil {
		return 0, err
	}
	v, err := strconv.Atoi(string(bytes.Trim(raw, `"`)))
	if err != nil {
		return 0, fmt.Errorf("\"version\" is %s and not a number", shorten(raw))
	}
	if v < low || v > high {
		return 0, fmt.Errorf("version %d of this node is unknown: %d to %d are known", v, low, high)
	}
	return v, nil
}

// number reads an integer that Kafka may have written as text.
func (o object) number(name string) (int64, error) {
	raw, err := get[json.RawMessage](o, name)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseInt(string(bytes.Trim(raw, `"`)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is %s and not a whole number", name, shorten(raw))
	}
	return v, nil
}

// id reads an integer of 32 bits, which ids and epochs are.
func (o object) id(name string) (int32, error) {
	v, err := o.number(name)
	if err == nil && (v < math.MinInt32 || v > math.MaxInt32) {
		err = fmt.Errorf("%q is %d, which is not a number of 32 bits", name, v)
	}
	return int32(v), err
}

// shorten keeps a message readable whatever a node holds.
func shorten(raw []byte) string {
	if len(raw) > 40 {
		return string(raw[:40]) + "..."
	}
	return string(raw)
}

// encode writes a value as Kafka does: one line, and no HTML escapes.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("znode: encode %T: %v", v, err)) // only strings, numbers, lists and maps of them
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

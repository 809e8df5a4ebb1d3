package record

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kvorum/internal/kafka"
)

// since reads from records.def at which version each record gained each field.
func since(t testing.TB) map[string]map[string]int16 {
	t.Helper()
	text, err := os.ReadFile("records.def")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]int16{}
	var fields map[string]int16
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#" || strings.HasPrefix(words[0], "#"):
		case line[0] != ' ':
			fields = map[string]int16{}
			out[words[len(words)/2]] = fields // "record KEY NAME VERSIONS", "struct NAME"
		default:
			n, err := strconv.Atoi(words[2])
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			fields[words[0]] = int16(n)
		}
	}
	return out
}

// withDefaults returns a record as Kafka's constructor makes it.
func withDefaults(k APIKey) Record {
	switch k {
	case KeyRegisterBroker:
		return NewRegisterBrokerRecord()
	case KeyPartition:
		return NewPartitionRecord()
	case KeyPartitionChange:
		return NewPartitionChangeRecord()
	case KeyProducerIDs:
		return NewProducerIDsRecord()
	}
	return newRecord(k)
}

// allKeys are the types that this build knows.
func allKeys() (keys []APIKey) {
	for k := range APIKey(200) {
		if newRecord(k) != nil {
			keys = append(keys, k)
		}
	}
	return keys
}

// draw sets a field to any value that a record can hold. Empty arrays that may
// not be null are nil, which is what they are read as.
func draw(t *rapid.T, v reflect.Value, nullable bool) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		bits := v.Type().Bits()
		v.SetInt(rapid.Int64Range(-1<<(bits-1), 1<<(bits-1)-1).Draw(t, "int"))
	case reflect.Uint16:
		v.SetUint(uint64(rapid.Uint16().Draw(t, "uint")))
	case reflect.Float64:
		v.SetFloat(rapid.Float64().Draw(t, "float"))
	case reflect.String:
		v.SetString(rapid.String().Draw(t, "string"))
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "null") {
			v.Set(reflect.New(v.Type().Elem()))
			draw(t, v.Elem(), false)
		}
	case reflect.Array:
		reflect.Copy(v, reflect.ValueOf(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid")))
	case reflect.Slice:
		n := rapid.IntRange(0, 3).Draw(t, "length")
		isBytes := v.Type().Elem().Kind() == reflect.Uint8
		if n == 0 && !isBytes && !(nullable && rapid.Bool().Draw(t, "empty")) {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			draw(t, v.Index(i), false)
		}
	case reflect.Uint8:
		v.SetUint(uint64(rapid.Byte().Draw(t, "byte")))
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name == "UnknownTags" {
				drawTags(t, v.Field(i))
				continue
			}
			draw(t, v.Field(i), false)
		}
	default:
		t.Fatalf("no way to draw a %s", v.Type())
	}
}

// drawTags draws tags that no schema has.
func drawTags(t *rapid.T, v reflect.Value) {
	var tags []TaggedField
	for tag := uint32(100); rapid.IntRange(0, 2).Draw(t, "tags") == 0; tag += rapid.Uint32Range(1, 300).Draw(t, "gap") {
		tags = append(tags, TaggedField{Tag: tag, Data: append([]byte{}, rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "data")...)})
	}
	if tags != nil {
		v.Set(reflect.ValueOf(tags))
	}
}

// nullableArrays are the arrays that may be null; nil and empty differ there.
func nullableArray(name string, k APIKey) bool {
	switch name {
	case "CordonedLogDirs", "EligibleLeaderReplicas", "LastKnownELR":
		return true
	}
	return k == KeyPartitionChange
}

// TestRoundTrip writes every version of every record, with any values, and
// reads it again.
func TestRoundTrip(t *testing.T) {
	exists := since(t)
	for _, k := range allKeys() {
		name := newRecord(k).RecordName()
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				rec := withDefaults(k)
				version := int16(rapid.IntRange(0, int(rec.HighestVersion())).Draw(t, "version"))
				v := reflect.ValueOf(rec).Elem()
				for i := range v.NumField() {
					field := v.Type().Field(i).Name
					switch at, ok := exists[v.Type().Name()][field]; {
					case field == "UnknownTags":
						drawTags(t, v.Field(i))
					case !ok:
						t.Fatalf("records.def does not have %s", field)
					case at <= version && (v.Field(i).Type() == reflect.TypeFor[[]byte]() || rapid.IntRange(0, 4).Draw(t, "set") > 0):
						// Bytes are always drawn: they are never nil when they were read.
						draw(t, v.Field(i), nullableArray(field, k))
					}
				}
				checkRoundTrip(t, Message{Record: rec, Version: version})
			})
		})
	}
}

func checkRoundTrip(t *rapid.T, m Message) {
	b, err := m.Append(nil)
	if err != nil {
		t.Fatalf("%+v: %v", m.Record, err)
	}
	got, err := Decode(b)
	if err != nil {
		t.Fatalf("%+v: %v", m.Record, err)
	}
	if !reflect.DeepEqual(got, m) {
		t.Fatalf("%+v was read as %+v", m.Record, got.Record)
	}
	for n := range b { // every cut is an error, none a panic
		if _, err := Decode(b[:n]); err == nil {
			t.Fatalf("%x was read, cut from %x", b[:n], b)
		}
	}
	if _, err := Decode(append(b, 0)); !errors.Is(err, ErrTrailingBytes) {
		t.Fatalf("with a byte more: %v", err)
	}
}

// TestFieldsOfLaterVersions: a value that a version cannot carry is not lost.
func TestFieldsOfLaterVersions(t *testing.T) {
	exists, checked := since(t), 0
	for _, k := range allKeys() {
		typ := reflect.TypeOf(newRecord(k)).Elem()
		for field, at := range exists[typ.Name()] {
			for version := range at {
				rec := withDefaults(k)
				v := reflect.ValueOf(rec).Elem().FieldByName(field)
				switch v.Kind() {
				case reflect.Bool:
					v.SetBool(!v.Bool())
				case reflect.Int8:
					v.SetInt(v.Int() + 1)
				case reflect.Slice:
					v.Set(reflect.MakeSlice(v.Type(), 1, 1))
				default:
					t.Fatalf("%s.%s is a %s", typ.Name(), field, v.Kind())
				}
				b := []byte{1}
				out, err := Message{Record: rec, Version: version}.Append(b)
				if err == nil || !strings.Contains(err.Error(), field) || !bytes.Equal(out, b) {
					t.Errorf("%s version %d with %s: %x, %v", typ.Name(), version, field, out, err)
				}
				checked++
			}
		}
	}
	if checked < 12 {
		t.Errorf("only %d fields of later versions", checked)
	}
}

func TestDefaultsAreNotWritten(t *testing.T) {
	for _, c := range []struct {
		rec     Record
		version int16
		want    string
	}{
		{&NoOpRecord{}, 0, "\x01\x14\x00\x00"},
		{&FeatureLevelRecord{Name: "metadata.version", FeatureLevel: 21}, 0, "\x01\x0c\x00\x11metadata.version\x00\x15\x00"},
		{NewPartitionChangeRecord(), 2, "\x01\x05\x02\xff\xff\xff\xff" + strings.Repeat("\x00", 16) + "\x00"},
	} {
		b, err := Message{Record: c.rec, Version: c.version}.Append(nil)
		if err != nil || string(b) != c.want {
			t.Errorf("%s: %x, %v, want %x", c.rec.RecordName(), b, err, c.want)
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	long := strings.Repeat("x", maxString+1)
	for name, m := range map[string]Message{
		"a version that is too new": {&TopicRecord{}, 1},
		"a negative version":        {&TopicRecord{}, -1},
		"a long string":             {&TopicRecord{Name: long}, 0},
		"a long string in an array": {&RegisterBrokerRecord{EndPoints: []Endpoint{{Host: long}}}, 0},
		"a long null string":        {&ConfigRecord{Value: &long}, 0},
	} {
		if out, err := m.Append([]byte{7}); err == nil || !bytes.Equal(out, []byte{7}) {
			t.Errorf("%s was written: %v", name, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        error
		text        string
	}{
		{"nothing", "", errShort, ""},
		{"frame version 0", "\x00\x02\x00", nil, "frame version is 0 instead of 1"},
		{"frame version 2", "\x02\x02\x00", nil, "frame version is 2 instead of 1"},
		{"a key of no record", "\x01\x06\x00\x00", ErrUnknownKey, "key 6 version 0"},
		{"a key above int16", "\x01\x80\x80\x02\x00", nil, "must not exceed"},
		{"a key of six bytes", "\x01\x80\x80\x80\x80\x80\x01\x00", nil, "five bytes"},
		{"a number above 32 bits", "\x01\xff\xff\xff\xff\x7f\x00", nil, "five bytes"},
		{"a version of no record", "\x01\x14\x01\x00", ErrUnknownVersion, "NoOpRecord (key 20) version 1"},
		{"a byte too many", "\x01\x14\x00\x00\x00", ErrTrailingBytes, "1 bytes follow"},
		{"a null string", "\x01\x0c\x00\x00\x00\x00\x00", nil, "may not be null"},
		{"an array that cannot be", "\x01\x0e\x00\xff\xff\xff\xff\x0f", errShort, "ClientQuotaRecord"},
		{"tags out of order", "\x01\x14\x00\x02\x05\x00\x04\x00", nil, "tagged field 4 follows tagged field 5"},
		{"a tag twice", "\x01\x14\x00\x02\x05\x00\x05\x00", nil, "tagged field 5 follows tagged field 5"},
		{"a known tag with bytes left", "\x01\x17\x00\x01\x00\x03\x02a\x00", nil, "left over"},
		{"a tag that is cut", "\x01\x14\x00\x01\x05\x09", errShort, ""},
	} {
		m, err := Decode([]byte(c.value))
		var d *DecodeError
		if !errors.As(err, &d) || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || m.Record != nil {
			t.Errorf("%s: %+v, %v, want %v and %q", c.name, m, err, c.want, c.text)
		}
	}
}

func TestControlRoundTrip(t *testing.T) {
	for ct := range ControlType(20) {
		if newControl(ct) == nil {
			continue
		}
		rapid.Check(t, func(t *rapid.T) {
			c := newControl(ct)
			draw(t, reflect.ValueOf(c).Elem(), false)
			b, err := AppendControl(nil, c)
			if err != nil {
				t.Fatal(err)
			}
			key := AppendControlKey(nil, ct)
			got, err := DecodeControl(key, b)
			if err != nil || !reflect.DeepEqual(got, c) {
				t.Fatalf("%+v was read as %+v, %v", c, got, err)
			}
			if _, err := DecodeControl(key, append(slices.Clone(b), 1)); !errors.Is(err, ErrTrailingBytes) {
				t.Fatalf("with a byte more: %v", err)
			}
			for n := range b {
				if _, err := DecodeControl(key, b[:n]); err == nil {
					t.Fatalf("%x was read, cut from %x", b[:n], b)
				}
			}
		})
	}
	for name, key := range map[string]string{"unknown type": "\x00\x00\x00\x09", "short key": "\x00\x00\x00", "negative version": "\xff\xff\x00\x02"} {
		if _, err := DecodeControl([]byte(key), []byte{0, 0, 0}); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

func TestDecodeDoesNotAlias(t *testing.T) {
	b, err := Message{Record: &UserScramCredentialRecord{Name: "alice", Salt: []byte{1, 2, 3}}}.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if r := m.Record.(*UserScramCredentialRecord); r.Name != "alice" || !bytes.Equal(r.Salt, []byte{1, 2, 3}) {
		t.Errorf("%+v", r)
	}
}

// FuzzDecode: any bytes are read or refused; what is read can be written, and
// reads as the same.
func FuzzDecode(f *testing.F) {
	for _, k := range allKeys() {
		for version := range withDefaults(k).HighestVersion() + 1 {
			b, err := Message{Record: withDefaults(k), Version: version}.Append(nil)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Add([]byte("\x01\x14\x00\x01\x05\x01a"))
	f.Fuzz(func(t *testing.T, value []byte) {
		m, err := Decode(value)
		if err != nil {
			return
		}
		b, err := m.Append(nil)
		if err != nil {
			t.Fatalf("%+v cannot be written: %v", m.Record, err)
		}
		if again, err := Decode(b); err != nil {
			t.Fatalf("%x: %v", b, err)
		} else if c, err := again.Append(nil); err != nil || !bytes.Equal(b, c) {
			t.Fatalf("%x, then %x, %v", b, c, err)
		}
	})
}

// FuzzDecodeControl is FuzzDecode for control records.
func FuzzDecodeControl(f *testing.F) {
	for ct := range ControlType(20) {
		if c := newControl(ct); c != nil {
			b, err := AppendControl(nil, c)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(AppendControlKey(nil, ct), b)
		}
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		c, err := DecodeControl(key, value)
		if err != nil {
			return
		}
		b, err := AppendControl(nil, c)
		if err != nil {
			t.Fatalf("%+v cannot be written: %v", c, err)
		}
		if _, err := DecodeControl(AppendControlKey(nil, c.ControlType()), b); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
	})
}

// partitionChange is the record of which there are most.
func partitionChange() Message {
	r := NewPartitionChangeRecord()
	r.PartitionID, r.Leader, r.ISR = 3, 1, []kafka.BrokerID{1, 2, 3}
	r.Directories = []kafka.UUID{{1}, {2}, {3}}
	return Message{Record: r, Version: 2}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	p := &PartitionRecord{Replicas: []kafka.BrokerID{1, 2, 3}, ISR: []kafka.BrokerID{1, 2}, Directories: make([]kafka.UUID, 3), LastKnownELR: []kafka.BrokerID{3}}
	messages := []Message{partitionChange(), {Record: p, Version: 2}, {Record: &NoOpRecord{}}}
	buf := make([]byte, 0, 1<<10)
	if n := testing.AllocsPerRun(100, func() {
		for _, m := range messages {
			if _, err := m.Append(buf); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	m, buf := partitionChange(), make([]byte, 0, 1<<10)
	b.ReportAllocs()
	for range b.N {
		if _, err := m.Append(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	value, err := partitionChange().Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for range b.N {
		if _, err := Decode(value); err != nil {
			b.Fatal(err)
		}
	}
}

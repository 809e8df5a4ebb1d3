package answers

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"kvorum/internal/kafka"
)

// transient are fields whose values differ from run to run.
var transient = map[string]string{
	"FinalizedFeaturesEpoch": "<epoch>", "SessionID": "<session>", "ClusterID": "<cluster>", "ProducerID": "<id>",
	"TotalBytes": "<bytes>", "UsableBytes": "<bytes>", "LastFetchTimestamp": "<time>",
	"LastCaughtUpTimestamp": "<time>", "HighWatermarkOfMetadata": "<n>", "ReplicaDirectoryID": "<directory>", "LogEndOffset": "<n>",
	"PartitionEpoch": "<n>",
}

// dump writes a response with one field to the line. Elements of arrays that come
// in the order of a hash table in Apache come in the order of their text.
func dump(resp any, hidden func(string) string) string {
	d := dumper{hidden: hidden}
	d.dumpStruct(&d.out, reflect.ValueOf(resp).Elem(), "  ")
	return hidden(d.out.String())
}

type dumper struct {
	out    strings.Builder
	hidden func(string) string
}

func (d *dumper) dumpStruct(b *strings.Builder, v reflect.Value, indent string) {
	for i := range v.NumField() {
		name, f := v.Type().Field(i).Name, v.Field(i)
		if name == "UnknownTags" || name == "Version" || name == "ThrottleMillis" {
			continue
		}
		if with, ok := transient[name]; ok && !zero(f) {
			fmt.Fprintf(b, "%s%s: %s\n", indent, name, with)
			continue
		}
		d.dumpValue(b, name, f, indent)
	}
}

// zero reports whether a transient field says nothing: 0, -1 or empty.
func zero(v reflect.Value) bool { return v.IsZero() || v.CanInt() && v.Int() == -1 }

func (d *dumper) dumpValue(b *strings.Builder, name string, v reflect.Value, indent string) {
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil():
		fmt.Fprintf(b, "%s%s: null\n", indent, name)
	case v.Kind() == reflect.Pointer:
		d.dumpValue(b, name, v.Elem(), indent)
	case v.Kind() == reflect.Struct:
		fmt.Fprintf(b, "%s%s:\n", indent, name)
		d.dumpStruct(b, v, indent+"  ")
	case v.Kind() == reflect.Array:
		fmt.Fprintf(b, "%s%s: %s\n", indent, name, kafka.UUID(v.Interface().([16]byte)))
	case v.Kind() == reflect.Slice && v.IsNil():
		fmt.Fprintf(b, "%s%s: null\n", indent, name)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		fmt.Fprintf(b, "%s%s: %x\n", indent, name, v.Bytes())
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		var items []string
		for i := range v.Len() {
			var item strings.Builder
			d.dumpStruct(&item, v.Index(i), indent+"  ")
			items = append(items, d.hidden(item.String()))
		}
		slices.Sort(items)
		fmt.Fprintf(b, "%s%s: %d\n", indent, name, len(items))
		for _, item := range items {
			fmt.Fprintf(b, "%s- %s", indent, strings.TrimLeft(item, " "))
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.String:
		list := append([]string{}, v.Interface().([]string)...)
		slices.Sort(list)
		fmt.Fprintf(b, "%s%s: %q\n", indent, name, list)
	default:
		fmt.Fprintf(b, "%s%s: %v\n", indent, name, plain(v))
	}
}

// plain is a value without the names that kmsg gives to enumerations.
func plain(v reflect.Value) any {
	switch {
	case v.CanInt():
		return v.Int()
	case v.Kind() == reflect.String:
		return fmt.Sprintf("%q", v.String())
	default:
		return v.Interface()
	}
}

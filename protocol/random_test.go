package protocol

import (
	"math/rand/v2"
	"reflect"
)

// fill puts random values into every field of a kmsg message; lists may be empty.
func fill(r *rand.Rand, v reflect.Value, depth int) { fillLists(r, v, depth, 0) }

// fillLists is fill with at least so many elements in every list.
func fillLists(r *rand.Rand, v reflect.Value, depth, least int) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.Type().Elem().Kind() == reflect.Struct && depth == 0 {
			fillLists(r, v.Elem(), depth+1, least)
			return
		}
		if r.IntN(2) == 0 {
			v.SetZero()
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		fillLists(r, v.Elem(), depth+1, least)
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "Version" && f.Name != "UnknownTags" {
				fillLists(r, v.Field(i), depth+1, least)
			}
		}
	case reflect.Slice:
		s := reflect.MakeSlice(v.Type(), least+r.IntN(4), least+4)
		for i := range s.Len() {
			fillLists(r, s.Index(i), depth+1, least)
		}
		v.Set(s)
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(r.IntN(256)))
		}
	case reflect.String:
		b := make([]byte, r.IntN(20))
		for i := range b {
			b[i] = byte('a' + r.IntN(26))
		}
		v.SetString(string(b))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(r.Uint64()) >> r.IntN(64) >> (64 - v.Type().Bits()))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(r.Uint64() >> (64 - v.Type().Bits()))
	case reflect.Float64:
		v.SetFloat(r.Float64())
	default:
		panic(v.Type().String())
	}
}

package protocol

import "reflect"

// Codes says where the error codes of one type of message are: every field
// ErrorCode of it and of the lists in it, at any depth, as Apache's
// AbstractResponse.errorCounts has them. Safe for concurrent use.
type Codes struct {
	fields []int
	lists  []codesOfList
}

// codesOfList is a list whose elements have error codes.
type codesOfList struct {
	field int
	of    *Codes
}

// CodesOf looks through a type of message, a struct, once. Messages are trees.
func CodesOf(t reflect.Type) *Codes {
	c := &Codes{}
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case f.Name == "ErrorCode" && f.Type.Kind() == reflect.Int16:
			c.fields = append(c.fields, i)
		case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			if of := CodesOf(f.Type.Elem()); len(of.fields)+len(of.lists) > 0 {
				c.lists = append(c.lists, codesOfList{i, of})
			}
		}
	}
	return c
}

// Each calls each with every error code of a message of the type, 0 included. It
// allocates nothing.
func (c *Codes) Each(message reflect.Value, each func(code int64)) {
	for _, i := range c.fields {
		each(message.Field(i).Int())
	}
	for i := range c.lists {
		l := &c.lists[i]
		list := message.Field(l.field)
		for j := range list.Len() {
			l.of.Each(list.Index(j), each)
		}
	}
}

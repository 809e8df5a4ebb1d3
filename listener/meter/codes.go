package meter

import (
	"reflect"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// maxCode is above every code of Kafka's table; what is beyond it, or below -1,
// is counted as UNKNOWN_SERVER_ERROR.
const maxCode = 160

// codes counts the error codes of one API's responses, NONE included, as Apache's
// AbstractResponse.errorCounts does: each that a response holds.
type codes struct {
	plan   *plan
	counts [maxCode + 2]atomic.Uint64 // at code+1
}

func (c *codes) add(code int64) {
	if code < int64(errors.UnknownServerError) || code > maxCode {
		code = int64(errors.UnknownServerError)
	}
	c.counts[code+1].Add(1)
}

// count counts what a response says. It allocates nothing.
func (c *codes) count(resp kmsg.Response) { c.walk(c.plan, reflect.ValueOf(resp).Elem()) }

func (c *codes) walk(p *plan, v reflect.Value) {
	for _, i := range p.codes {
		c.add(v.Field(i).Int())
	}
	for i := range p.lists {
		l := &p.lists[i]
		list := v.Field(l.field)
		for j := range list.Len() {
			c.walk(l.of, list.Index(j))
		}
	}
}

// plan says where the error codes of a message are.
type plan struct {
	codes []int // fields
	lists []listPlan
}

// listPlan is a list whose elements have error codes.
type listPlan struct {
	field int
	of    *plan
}

// planOf looks through a type of message once. Messages are trees.
func planOf(t reflect.Type) *plan {
	p := &plan{}
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case f.Name == "ErrorCode" && f.Type.Kind() == reflect.Int16:
			p.codes = append(p.codes, i)
		case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			if of := planOf(f.Type.Elem()); len(of.codes)+len(of.lists) > 0 {
				p.lists = append(p.lists, listPlan{i, of})
			}
		}
	}
	return p
}

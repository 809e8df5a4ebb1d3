package meter

import (
	"reflect"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol"
	"kvorum/protocol/errors"
)

// maxCode is above every code of Kafka's table; what is beyond it, or below -1,
// is counted as UNKNOWN_SERVER_ERROR.
const maxCode = 160

// codes counts the error codes of one API's responses, NONE included, as Apache's
// AbstractResponse.errorCounts does: each that a response holds.
type codes struct {
	of     *protocol.Codes
	each   func(int64)                // add, made once: counting allocates nothing
	counts [maxCode + 2]atomic.Uint64 // at code+1
}

func newCodes(resp kmsg.Response) *codes {
	c := &codes{of: protocol.CodesOf(reflect.TypeOf(resp).Elem())}
	c.each = c.add
	return c
}

func (c *codes) add(code int64) {
	if code < int64(errors.UnknownServerError) || code > maxCode {
		code = int64(errors.UnknownServerError)
	}
	c.counts[code+1].Add(1)
}

// count counts what a response says. It allocates nothing.
func (c *codes) count(resp kmsg.Response) { c.of.Each(reflect.ValueOf(resp).Elem(), c.each) }

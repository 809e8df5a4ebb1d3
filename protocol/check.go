package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Costs of decoded values in bytes, as kmsg makes them; TestCostBoundsDecoding
// measures that they are enough.
const (
	costString   = 16  // the smallest string's allocation, and the slack of its size class
	costPointer  = 16  // a nullable string is a pointer to a header
	costArray    = 64  // slack of the size class of an array
	costTags     = 512 // the map of the unknown tags of one struct
	costTag      = 160 // each unknown tag in it, with the maps it outgrew
	maxStringLen = math.MaxInt16
)

var (
	errShort    = errors.New("the bytes run out")
	errMarker   = errors.New("a nullable struct begins with neither -1 nor 1")
	errNull     = errors.New("null where none is allowed")
	errVarint   = errors.New("malformed varint")
	errCount    = errors.New("more elements than bytes")
	errLongText = errors.New("string longer than 32767 bytes")
)

// checker walks a body by its shape. It allocates nothing and looks at every
// byte at most once per level of tags (two), so its time is linear in the body.
type checker struct {
	src        []byte
	at         int
	cost       int
	structSize int // the largest Go struct of the request that an array can hold
}

// check walks body and returns how many bytes kmsg will allocate for it at
// most. Bytes after the last field are left alone, as Apache leaves them.
func check(s shape, structSize int, body []byte) (cost int, err error) {
	c := checker{src: body, structSize: structSize, cost: costArray}
	if err := c.walk(s); err != nil {
		return 0, fmt.Errorf("byte %d of the body: %w", c.at, err)
	}
	return c.cost, nil
}

func (c *checker) walk(s shape) error {
	for i := range s {
		if err := c.field(&s[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) field(f *field) error {
	switch f.kind {
	case 's', 'c':
		return c.text(f)
	case 'b', 'd':
		n, err := c.length(f, f.kind == 'b')
		if err != nil || n < 0 {
			return err
		}
		return c.skip(n) // kmsg aliases bytes, it does not copy them
	case '[', '<':
		return c.array(f)
	case '(':
		if err := c.need(1); err != nil {
			return err
		}
		marker := int8(c.src[c.at])
		c.at++
		switch {
		case marker == -1:
			return nil
		case marker < 0: // null to Apache, a struct to kmsg; nobody writes it
			return errMarker
		}
		c.cost += c.structSize + costArray
		return c.walk(f.inner)
	case 'T':
		return c.tagged(f)
	default:
		return c.skip(f.min)
	}
}

// text walks a string; Kafka's strings have at most 32767 bytes in either form.
func (c *checker) text(f *field) (err error) {
	n := 0
	if f.kind == 's' {
		if err := c.need(2); err != nil {
			return err
		}
		n = int(int16(binary.BigEndian.Uint16(c.src[c.at:])))
		c.at += 2
	} else if n, err = c.compactLength(); err != nil {
		return err
	}
	switch {
	case n < 0 && !f.nullable:
		return errNull
	case n < 0:
		return nil
	case n > maxStringLen:
		return errLongText
	}
	c.cost += n + n/4 + costString
	if f.nullable {
		c.cost += costPointer
	}
	return c.skip(n)
}

// array walks an array; its elements must be backed by bytes before anyone
// allocates for them.
func (c *checker) array(f *field) error {
	n, err := c.length(f, f.kind == '[')
	if err != nil || n < 0 {
		return err
	}
	if n > (len(c.src)-c.at)/f.inner.minBytes() {
		return errCount
	}
	elem := c.elementSize(f.inner)
	c.cost += n*elem + n*elem/4 + costArray
	if fixed := f.inner.fixedBytes(); fixed > 0 {
		return c.skip(n * fixed)
	}
	for range n {
		if err := c.walk(f.inner); err != nil {
			return err
		}
	}
	return nil
}

// elementSize is the Go size of an element: a scalar's, or the largest struct's.
func (c *checker) elementSize(s shape) int {
	if len(s) != 1 {
		return c.structSize
	}
	switch s[0].kind {
	case '1', '2', '4', '8':
		return s[0].min
	case 'u', 'c':
		return 16
	}
	return max(24, c.structSize) // before flexible versions a struct may have one field
}

// tagged walks the tagged fields. A tag is two bytes or more, so the count is
// bounded by the bytes that are left.
func (c *checker) tagged(f *field) error {
	n, err := c.uvarint()
	if err != nil {
		return err
	}
	if int64(n) > int64(len(c.src)-c.at)/2 {
		return errCount
	}
	unknown := false
	for range n {
		tag, err := c.uvarint()
		if err != nil {
			return err
		}
		size, err := c.uvarint()
		if err != nil {
			return err
		}
		if int64(size) > int64(len(c.src)-c.at) {
			return errShort
		}
		end := c.at + int(size)
		if int64(tag) < int64(len(f.tags)) {
			if err := c.sub(f.tags[tag], end); err != nil {
				return err
			}
		} else {
			if !unknown {
				c.cost += costTags
			}
			unknown = true
			c.cost += costTag
		}
		c.at = end
	}
	return nil
}

// sub walks one known tagged field, which must stay inside its own bytes.
func (c *checker) sub(s shape, end int) error {
	whole := c.src
	c.src = c.src[:end]
	err := c.walk(s)
	c.src = whole
	return err
}

// length reads the count of an array or the size of bytes; -1 is null.
func (c *checker) length(f *field, wide bool) (n int, err error) {
	if wide {
		if err := c.need(4); err != nil {
			return 0, err
		}
		n = int(int32(binary.BigEndian.Uint32(c.src[c.at:])))
		c.at += 4
	} else if n, err = c.compactLength(); err != nil {
		return 0, err
	}
	if n >= 0 {
		return n, nil
	}
	if !f.nullable {
		return 0, errNull
	}
	return -1, nil
}

func (c *checker) compactLength() (int, error) {
	u, err := c.uvarint()
	return int(u) - 1, err
}

// uvarint reads an unsigned varint of at most 32 bits in at most 5 bytes.
func (c *checker) uvarint() (uint32, error) {
	var u uint64
	for i := 0; i < 5; i++ {
		if c.at+i >= len(c.src) {
			return 0, errShort
		}
		b := c.src[c.at+i]
		u |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			c.at += i + 1
			if u > math.MaxUint32 {
				return 0, errVarint
			}
			return uint32(u), nil
		}
	}
	return 0, errVarint
}

func (c *checker) need(n int) error {
	if n > len(c.src)-c.at {
		return errShort
	}
	return nil
}

func (c *checker) skip(n int) error {
	if err := c.need(n); err != nil {
		return err
	}
	c.at += n
	return nil
}

package protocol

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ReadFrame reads the next frame and returns it without its length prefix: in into
// where that has room for it, which then grows ahead, and in new bytes where into is
// nil. A frame of more than limit bytes is an error before any of it is read. After
// an error the bytes mean nothing, and serve as into again.
func ReadFrame(r io.Reader, limit int, into []byte) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return into, err
	}
	n := int64(binary.BigEndian.Uint32(size[:]))
	switch {
	case n > int64(limit):
		return into, fmt.Errorf("the answer announces %d bytes, of which at most %d are taken", n, limit)
	case into == nil:
		into = make([]byte, n)
	case int64(cap(into)) < n:
		into = make([]byte, n+n/4)
	}
	into = into[:n]
	_, err := io.ReadFull(r, into)
	return into, err
}

// ReadAnswer is ReadFrame and ReadResponse for the answer to request id. resp may
// share memory with the frame that it returns.
func ReadAnswer(r io.Reader, limit int, into []byte, id int32, resp kmsg.Response) ([]byte, error) {
	frame, err := ReadFrame(r, limit, into)
	if err != nil {
		return frame, err
	}
	got, err := ReadResponse(frame, resp)
	if err == nil && got != id {
		err = fmt.Errorf("the answer belongs to request %d, not to %d", got, id)
	}
	return frame, err
}

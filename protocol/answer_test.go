package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// prefixed is a frame with its length.
func prefixed(frame []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
}

func TestReadFrame(t *testing.T) {
	into := make([]byte, 3, 10)
	for _, c := range []struct {
		name  string
		bytes []byte
		into  []byte
		same  bool // it lies in into
	}{
		{"new bytes", prefixed([]byte("frame")), nil, false},
		{"empty", prefixed(nil), nil, false},
		{"in the room there is", prefixed([]byte("frame")), into, true},
		{"as much as is taken", prefixed(bytes.Repeat([]byte{'f'}, 20)), into, false},
	} {
		got, err := ReadFrame(bytes.NewReader(c.bytes), 20, c.into)
		if err != nil || !bytes.Equal(got, c.bytes[4:]) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
		if same := len(got) > 0 && c.into != nil && &got[0] == &c.into[0]; same != c.same {
			t.Errorf("%s: in into: %v", c.name, same)
		}
	}
	if _, err := ReadFrame(bytes.NewReader(prefixed(make([]byte, 21))), 20, nil); err == nil || !strings.Contains(err.Error(), "announces 21 bytes") {
		t.Errorf("one byte too many: %v", err)
	}
	for n := range 9 {
		if _, err := ReadFrame(bytes.NewReader(prefixed([]byte("frame"))[:n]), 20, nil); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestReadAnswer(t *testing.T) {
	resp := kmsg.NewPtrHeartbeatResponse()
	resp.ErrorCode = 25
	frame := prefixed(resp.AppendTo(binary.BigEndian.AppendUint32(nil, 7)))
	got := kmsg.NewPtrHeartbeatResponse()
	if _, err := ReadAnswer(bytes.NewReader(frame), 100, nil, 7, got); err != nil || got.ErrorCode != 25 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := ReadAnswer(bytes.NewReader(frame), 100, nil, 8, got); err == nil || !strings.Contains(err.Error(), "belongs to request 7, not to 8") {
		t.Errorf("another request's: %v", err)
	}
}

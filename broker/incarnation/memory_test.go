package incarnation

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"kvorum/internal/kafka"
)

func sample() *Memory {
	return &Memory{ID: old, Epoch: 50, Previous: kafka.NoBrokerEpoch, Leaving: true, Directories: []kafka.DirectoryID{dirA, dirB},
		Place: Place{Boot: "8e1bfc7a-0f5c-4a33-9d43-a9a1f0b2d1c4", Device: 1 << 40, Inode: 77, Born: 1_700_000_000_123_456_789, Namespace: "mnt:[4026531841]", Mount: 1 << 33}}
}

const sampleFile = `version=1
incarnation.id=AAAAAAAAAAAAAAAAAAAAAg
broker.epoch=50
previous.broker.epoch=-1
leaving=true
directories=AQAAAAAAAAAAAAAAAAAACg,AQAAAAAAAAAAAAAAAAAACw
boot=8e1bfc7a-0f5c-4a33-9d43-a9a1f0b2d1c4
device=1099511627776
inode=77
born=1700000000123456789
namespace=mnt:[4026531841]
mount=8589934592
`

func TestMemoryFile(t *testing.T) {
	data := sample().Append(nil)
	if !bytes.HasPrefix(data, []byte(sampleFile)) {
		t.Errorf("the file is\n%s", data)
	}
	got, err := Parse(data)
	if err != nil || !reflect.DeepEqual(got, sample()) {
		t.Errorf("read back as %+v: %v", got, err)
	}
}

// TestDamagedMemory changes, cuts and extends a file everywhere: nothing of it passes.
func TestDamagedMemory(t *testing.T) {
	data := sample().Append(nil)
	for i := range data {
		for _, bad := range [][]byte{data[:i], append(bytes.Clone(data[:i]), data[i+1:]...), append(append(bytes.Clone(data[:i]), data[i]^1), data[i+1:]...), append(append(bytes.Clone(data[:i]), '\n'), data[i:]...)} {
			if _, err := Parse(bad); !errors.Is(err, ErrDamaged) {
				t.Fatalf("byte %d: %v\n%s", i, err, bad)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample().Append(nil))
	f.Add([]byte(sampleFile))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("%v is no ErrDamaged", err)
			}
			return
		}
		if again, err := Parse(m.Append(nil)); err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v is read back as %+v: %v", m, again, err)
		}
	})
}

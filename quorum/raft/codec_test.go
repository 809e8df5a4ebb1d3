package raft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/lni/dragonboat/v4/raftpb"

	"kvorum/internal/kafka"
)

var sampleReplica = Replica{NodeID: 3, DirectoryID: testDirectory(3), Instance: 0xfedc}

// The id depends on the formatting and on the directory, not on the node.
func TestReplicaID(t *testing.T) {
	id := sampleReplica.ID()
	if id != 0x83046e7002908124 { // stored in every directory: it must never change
		t.Errorf("id %x", uint64(id))
	}
	node, dir, instance := sampleReplica, sampleReplica, sampleReplica
	node.NodeID++
	dir.DirectoryID[3]++
	instance.Instance++
	if node.ID() != id || dir.ID() == id || instance.ID() == id {
		t.Errorf("ids %x, node %x, directory %x, instance %x", uint64(id), uint64(node.ID()), uint64(dir.ID()), uint64(instance.ID()))
	}
	r, err := parseAddress(sampleReplica.address())
	if err != nil || r != sampleReplica {
		t.Errorf("address %q gives %v, %v", sampleReplica.address(), r, err)
	}
	for _, bad := range []string{"", "host:1", "kvorum/3/00/1", sampleReplica.address() + "0", "kvorum/-1" + sampleReplica.address()[8:]} {
		if _, err := parseAddress(bad); err == nil {
			t.Errorf("%q is an address", bad)
		}
	}
}

func TestFrame(t *testing.T) {
	payload := bytes.Repeat([]byte("0123456789abcdef"), 200_000) // 3.2 MB: several steps
	frame := frameOf(payload)
	got, err := readFrame(iotest.HalfReader(bytes.NewReader(frame)), nil, len(payload))
	if err != nil || !bytes.Equal(got, payload) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if _, err := readFrame(bytes.NewReader(frame), nil, len(payload)-1); !errors.Is(err, errFrameLength) {
		t.Error(err)
	}
	if _, err := readFrame(bytes.NewReader(frame[:len(frame)-1]), nil, len(payload)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if _, err := readFrame(bytes.NewReader(nil), nil, 10); err != io.EOF {
		t.Error(err)
	}
	frame[len(frame)-1]++
	if _, err := readFrame(bytes.NewReader(frame), nil, len(payload)); !errors.Is(err, errFrameChecksum) {
		t.Error(err)
	}
	// A peer that declares much and sends little makes us hold little.
	large := make([]byte, frameHeader+100)
	binary.BigEndian.PutUint32(large, maxMessageFrame)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const times = 20
	for range times {
		readFrame(bytes.NewReader(large), nil, maxMessageFrame)
	}
	runtime.ReadMemStats(&after)
	if per := (after.TotalAlloc - before.TotalAlloc) / times; per > 2*frameStep {
		t.Errorf("%d bytes allocated for 100", per)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(frameOf([]byte("payload")), 100)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1}, 1<<20)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		limit = max(0, min(limit, 1<<20))
		payload, err := readFrame(bytes.NewReader(b), nil, limit)
		if err == nil && (len(payload) > limit || !bytes.Equal(frameOf(payload), b[:frameHeader+len(payload)])) {
			t.Errorf("payload %x of %x", payload, b)
		}
	})
}

func FuzzHello(f *testing.F) {
	f.Add(hello{purpose: purposeChunks, cluster: testClusterID, sender: 1, target: 2, senderNode: 3, targetNode: 4}.append(nil))
	f.Add(hello{cluster: "c", text: "go away"}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := decodeHello(b); err == nil && !bytes.Equal(h.append(nil), b) {
			t.Errorf("%x is read as %+v", b, h)
		}
	})
}

func FuzzExchange(f *testing.F) {
	f.Add(exchange{self: sampleReplica, settled: true, replace: true, members: []Replica{{1, testDirectory(1), 5}, sampleReplica}, origin: origin{kafka.EpochOffset{Offset: 4, Epoch: 5}, 6}}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := decodeExchange(b); err == nil && !bytes.Equal(e.append(nil), b) {
			t.Errorf("%x is read as %+v", b, e)
		}
	})
}

func FuzzCommand(f *testing.F) {
	for _, c := range sampleCommands {
		f.Add(c.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := decodeCommand(b); err == nil && !bytes.Equal(c.append(nil), b) {
			t.Errorf("%x is read as %+v", b, c)
		}
	})
}

var sampleCommands = []command{
	{kind: kindAppend, epoch: 7, base: 99, batches: []byte("batches")},
	{kind: kindClaim, node: 3, directory: testDirectory(3), term: 12, batches: []byte("one"), batchIfEmpty: []byte("other")},
	{kind: kindRaiseBase, epoch: 1000},
	{kind: kindRaiseLevel, level: 2},
}

func TestCommands(t *testing.T) {
	for _, c := range sampleCommands {
		b := c.append(nil)
		got, err := decodeCommand(b)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%+v comes back as %+v, %v", c, got, err)
		}
		if len(b) > c.size() {
			t.Errorf("%+v has %d bytes, size says %d", c, len(b), c.size())
		}
		b[0] = commandVersion + 1
		if _, err := decodeCommand(b); err == nil {
			t.Errorf("a newer command is read")
		}
	}
}

func FuzzState(f *testing.F) {
	f.Add(firstState().append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeState(b); err == nil && !bytes.Equal(s.append(nil), b) {
			t.Errorf("%x is read as %+v", b, s)
		}
	})
}

// What reaches dragonboat is from the sender, for this replica, of a kind that
// travels; decoding does not panic, whatever the bytes.
func FuzzMessages(f *testing.F) {
	self := Replica{1, testDirectory(1), 1}
	to, from := &testNode{cfg: Config{NodeID: 1, DirectoryID: testDirectory(1), Instance: 1}}, &testNode{cfg: Config{NodeID: 3, DirectoryID: testDirectory(3), Instance: 0xfedc}}
	f.Add(messages(to, from, raftpb.Message{Type: raftpb.Replicate, Term: 3, LogIndex: 9, Entries: []raftpb.Entry{{Term: 3, Index: 10, Cmd: []byte("command")}}}))
	f.Add(messages(to, from, raftpb.Message{Type: raftpb.Heartbeat, Snapshot: raftpb.Snapshot{Membership: raftpb.Membership{Addresses: map[uint64]string{1: "a"}}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		batch, err := decodeMessages(b, sampleReplica.ID(), self.ID())
		if err != nil {
			return
		}
		for _, m := range batch.Requests {
			if m.From != uint64(sampleReplica.ID()) || m.To != uint64(self.ID()) || m.ShardID != ShardID || m.Type == raftpb.InstallSnapshot {
				t.Errorf("%+v is let through", m)
			}
		}
	})
}

func FuzzChunk(f *testing.F) {
	c := chunkSize{raftpb.Chunk{ShardID: ShardID, From: uint64(sampleReplica.ID()), ReplicaID: 5, Data: []byte("data"), ChunkCount: 3}}
	b := make([]byte, c.SizeUpperLimit())
	if _, err := c.MarshalTo(b); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeChunk(b, sampleReplica.ID(), 5)
		if err == nil && (c.From != uint64(sampleReplica.ID()) || c.ReplicaID != 5 || c.ShardID != ShardID) {
			t.Errorf("%+v is let through", c)
		}
	})
}

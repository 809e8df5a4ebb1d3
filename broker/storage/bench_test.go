package storage

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
)

// benchBatch is a batch of about size bytes of records of 1 KiB.
func benchBatch(size int) []byte {
	b := batch.NewBuilder(batch.Compression{})
	value := bytes.Repeat([]byte{'v'}, 1024)
	for n := range max(size/1040, 1) {
		b.Add(testNow+int64(n), nil, value)
	}
	return b.AppendTo(nil, 0, 0)
}

// unstamp gives a batch its offset of before the append, as a client sends it.
func unstamp(data []byte) {
	v, _, err := batch.Next(data)
	if err != nil {
		panic(err)
	}
	batch.Restamp(v, 0, -1)
}

func BenchmarkAppendLeader(b *testing.B) {
	for _, kib := range []int{1, 16, 64, 1024} {
		b.Run(fmt.Sprintf("%dKiB", kib), func(b *testing.B) {
			o := testOptions(b, vfs.Default, b.TempDir())
			o.Config.SegmentBytes, o.Config.MaxMessageBytes = 256<<20, 2<<20
			l := mustOpen(b, o)
			defer l.Close()
			data := benchBatch(kib << 10)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				unstamp(data)
				if _, err := l.AppendLeader(data, 0, AppendOptions{NowMs: testNow}); err != nil {
					b.Fatal(err)
				}
				if l.Size() > 1<<30 { // no more disk than this
					b.StopTimer()
					l.SetHighWatermark(l.LogEnd())
					if _, err := l.DeleteRecordsTo(l.LogEnd()); err != nil {
						b.Fatal(err)
					}
					if err := removeOld(l); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			}
		})
	}
}

// BenchmarkRead finds 1 MiB at a time in a log of 64 KiB batches, without moving
// the bytes.
func BenchmarkRead(b *testing.B) {
	o := testOptions(b, vfs.Default, b.TempDir())
	l := mustOpen(b, o)
	defer l.Close()
	data := benchBatch(64 << 10)
	for range 512 {
		unstamp(data)
		if _, err := l.AppendLeader(data, 0, AppendOptions{NowMs: testNow}); err != nil {
			b.Fatal(err)
		}
	}
	per := l.LogEnd() / 512
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	at := l.LogStart()
	for b.Loop() {
		s, err := l.Read(at, 1<<20, l.LogEnd(), true)
		if err != nil || s.Len() == 0 {
			b.Fatal(err)
		}
		s.Release()
		if at += 15 * per; at >= l.LogEnd()-20*per {
			at = 0
		}
	}
}

// BenchmarkSend sends 1 MiB slices through a connection of this machine.
func BenchmarkSend(b *testing.B) {
	l := mustOpen(b, testOptions(b, vfs.Default, b.TempDir()))
	defer l.Close()
	data := benchBatch(64 << 10)
	for range 64 {
		unstamp(data)
		if _, err := l.AppendLeader(data, 0, AppendOptions{NowMs: testNow}); err != nil {
			b.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		sink := make([]byte, 1<<20)
		for {
			if _, err := conn.Read(sink); err != nil {
				return
			}
		}
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		s, err := l.Read(0, 1<<20, l.LogEnd(), true)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.WriteTo(conn); err != nil {
			b.Fatal(err)
		}
		s.Release()
	}
	conn.Close()
	<-done
}

// TestAppendsWithoutGarbage: the hot path of produce and fetch leaves the
// collector nothing to do.
func TestAppendsWithoutGarbage(t *testing.T) {
	l := mustOpen(t, testOptions(t, vfs.Default, t.TempDir()))
	defer l.Close()
	data := benchBatch(4 << 10)
	appends := testing.AllocsPerRun(200, func() {
		unstamp(data)
		if _, err := l.AppendLeader(data, 0, AppendOptions{NowMs: testNow}); err != nil {
			t.Fatal(err)
		}
	})
	reads := testing.AllocsPerRun(200, func() {
		s, err := l.Read(17, 1<<20, l.LogEnd(), true)
		if err != nil {
			t.Fatal(err)
		}
		s.Release()
	})
	// The tails of the indexes grow now and then.
	if appends >= 1 || reads >= 1 {
		t.Errorf("%.2f allocations an append, %.2f a read", appends, reads)
	}
}

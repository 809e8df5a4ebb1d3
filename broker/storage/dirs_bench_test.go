package storage

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// createMany creates n partitions as a broker does after CreateTopics: many at a
// time, because their fsyncs are shared then.
func createMany(t testing.TB, d *Dirs, topic string, n int) {
	t.Helper()
	var (
		work sync.WaitGroup
		mu   sync.Mutex
		errs error
	)
	next := make(chan int)
	for range 64 {
		work.Go(func() {
			for i := range next {
				if _, err := d.Create(part(topic, i), topicA, NewLogConfig(config.Layers{}, nil), kafka.DirectoryUnassigned); err != nil {
					mu.Lock()
					errs = errors.Join(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	work.Wait()
	if errs != nil {
		t.Fatal(errs)
	}
}

// BenchmarkCreate makes partitions on a real disk.
func BenchmarkCreate(b *testing.B) {
	d := mustOpenDirs(b, dirsOptions(b, vfs.Default, b.TempDir()))
	b.ResetTimer()
	createMany(b, d, "t", b.N)
	b.StopTimer()
	if err := d.Close(1); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkOpenDirs starts on directories that were closed in order; the time
// must not grow with what is in the logs.
func BenchmarkOpenDirs(b *testing.B) {
	for _, n := range []int{100, 2000} {
		b.Run(fmt.Sprintf("partitions=%d", n), func(b *testing.B) {
			o := dirsOptions(b, vfs.Default, b.TempDir())
			d := mustOpenDirs(b, o)
			createMany(b, d, "t", n)
			if err := d.Close(1); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				d := mustOpenDirs(b, o)
				b.StopTimer()
				if err := d.Close(1); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkGetAll opens every log after a clean stop, as a broker does that leads
// all of them.
func BenchmarkGetAll(b *testing.B) {
	const n = 1000
	o := dirsOptions(b, vfs.Default, b.TempDir())
	d := mustOpenDirs(b, o)
	createMany(b, d, "t", n)
	if err := d.Close(1); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		d := mustOpenDirs(b, o)
		for i := range n {
			mustGet(b, d, part("t", i))
		}
		b.StopTimer()
		if err := d.Close(1); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/n, "µs/log")
}

// BenchmarkCloseDirty stops with many logs that were written to since their last
// flush, as a busy broker does.
func BenchmarkCloseDirty(b *testing.B) {
	const n = 2000
	for b.Loop() {
		b.StopTimer()
		d := mustOpenDirs(b, dirsOptions(b, vfs.Default, b.TempDir()))
		createMany(b, d, "t", n)
		for i := range n {
			appendN(b, mustGet(b, d, part("t", i)), 1, 1, 100, 0)
		}
		b.StartTimer()
		if err := d.Close(1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/n, "µs/log")
}

package coordinator

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	randv2 "math/rand/v2"

	"kvorum/broker/group"
	"kvorum/broker/storage"
	"kvorum/broker/storage/producer"
	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// storedLog is a partition on disk whose only replica is here: what is appended
// is committed.
type storedLog struct {
	*storage.Log
	epoch kafka.LeaderEpoch
}

func openStored(dir string, epoch kafka.LeaderEpoch) (*storedLog, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	c := storage.NewLogConfig(config.Layers{}, map[string]string{"segment.bytes": "1048576", "cleanup.policy": "compact"})
	l, err := storage.Open(storage.Options{
		Partition: kafka.TopicPartition{Topic: Topic}, TopicID: kafka.TopicID{1}, Dir: dir,
		Files: storage.NewFiles(vfs.Default, 100), Config: c, NowMs: time.Now().UnixMilli(),
	})
	if err != nil {
		return nil, err
	}
	l.AssignEpochStart(epoch, l.LogEnd())
	l.SetHighWatermark(l.LogEnd())
	return &storedLog{l, epoch}, nil
}

func (l *storedLog) Start() kafka.Offset { return l.LogStart() }
func (l *storedLog) End() kafka.Offset   { return l.LogEnd() }
func (l *storedLog) MaxBatch() int       { return 1 << 20 }

// HighWatermark hides that of storage.Log, which cannot fail.
func (l *storedLog) HighWatermark() (kafka.Offset, error) { return l.Log.HighWatermark(), nil }

func (l *storedLog) Append(records []byte, nowMs int64, transactionVersion int16) (kafka.Offset, error) {
	done, err := l.AppendLeader(records, l.epoch, storage.AppendOptions{Origin: producer.Coordinator, NowMs: nowMs, TransactionVersion: transactionVersion})
	if err == nil {
		l.SetHighWatermark(done.Last + 1)
	}
	return done.First, err
}

func (l *storedLog) Read(dst []byte, from kafka.Offset, maxBytes int) ([]byte, error) {
	s, err := l.Log.Read(from, maxBytes, l.LogEnd(), true)
	if err != nil {
		return dst, err
	}
	defer s.Release()
	return s.AppendTo(dst)
}

func (l *storedLog) WaitCommitted(context.Context, kafka.Offset) error {
	return errors.New("all is committed when it is appended")
}

// childDir names the directory that a child process works in until it is killed.
const childDir = "COORDINATOR_CRASH_DIR"

// TestCrashChild is the process that TestKill kills: a coordinator whose clients
// tell their acknowledgements to the parent.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		t.Skip("only run by TestKill")
	}
	g, sent := startStored(t, dir)
	tell := make(chan string)
	for i := range int32(8) {
		go func() {
			for next := sent + 1; ; next++ {
				if g.commit("simple", "t", i, next) == 0 {
					tell <- fmt.Sprintf("offset %d %d", i, next)
				}
			}
		}()
		go func() {
			for {
				j := g.join(context.Background(), "members", "")
				if s := g.sync(context.Background(), "members", j); s.ErrorCode == 0 && j.ErrorCode == 0 {
					tell <- fmt.Sprintf("generation %d", j.Generation)
				}
			}
		}()
	}
	for {
		fmt.Println(<-tell)
	}
}

// startStored opens the log as after a kill and loads it. It returns the highest
// offset that is committed.
func startStored(t *testing.T, dir string) (*Groups, int64) {
	t.Helper()
	epoch := kafka.LeaderEpoch(time.Now().Unix())
	l, err := openStored(filepath.Join(dir, Topic+"-0"), epoch)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	rebalanceTimeoutMs = 100 // the dead are not waited for
	t.Cleanup(func() { rebalanceTimeoutMs = 4_000 })
	c := group.Defaults
	c.InitialRebalanceDelayMs = 5
	g := New(Config{Group: c, Random: rand.Reader})
	t.Cleanup(g.Close)
	g.SetPartitions(1)
	g.Elect(0, epoch, l)
	for g.commit("loaded", "t", 0, 0) != 0 {
		time.Sleep(time.Millisecond) // it is loading
	}
	highest := int64(0)
	for i := range int32(8) {
		o, _ := g.fetched("simple", "t", i, true)
		highest = max(highest, o)
	}
	return g, highest
}

// A coordinator over a real log is killed with SIGKILL, again and again: what it
// acknowledged is there afterwards.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	dir := t.TempDir()
	acknowledged, generation := map[int32]int64{}, int32(0)
	for range 4 {
		killed(t, dir, acknowledged, &generation)
		t.Run("survives", func(t *testing.T) {
			g, _ := startStored(t, dir)
			for i, acked := range acknowledged {
				// One that was acknowledged and one more may not have come to be told.
				if o, code := g.fetched("simple", "t", i, true); code != 0 || o < acked || o > acked+2 {
					t.Errorf("partition %d is at %d (%v), acknowledged is %d", i, o, code, acked)
				}
			}
			j := g.join(context.Background(), "members", "")
			if j.Generation <= generation {
				t.Errorf("generation %d after %d", j.Generation, generation)
			}
		})
	}
	if len(acknowledged) != 8 || generation == 0 {
		t.Errorf("the clients did too little: %v, generation %d", acknowledged, generation)
	}
}

// killed runs a child for a while and kills it.
func killed(t *testing.T, dir string, acknowledged map[int32]int64, generation *int32) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := 50 + randv2.IntN(2000)
	r := bufio.NewReader(out)
	for n, killed := 0, false; ; n++ {
		// The first child lives until the group has had a generation.
		if !killed && n >= lines && *generation > 0 {
			killed = true
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		line, err := r.ReadString('\n')
		if err == io.EOF {
			break // what stands in the pipe was acknowledged before the kill
		} else if err != nil {
			t.Fatal(err)
		}
		var i, g int32
		var offset int64
		switch {
		case strings.HasPrefix(line, "offset"):
			if _, err := fmt.Sscanf(line, "offset %d %d", &i, &offset); err != nil {
				t.Fatal(line, err)
			}
			acknowledged[i] = max(acknowledged[i], offset)
		case strings.HasPrefix(line, "generation"):
			if _, err := fmt.Sscanf(line, "generation %d", &g); err != nil {
				t.Fatal(line, err)
			}
			*generation = max(*generation, g)
		default:
			t.Fatalf("the child says %q", line)
		}
	}
	if err := child.Wait(); err == nil {
		t.Error("the child has ended by itself")
	}
}

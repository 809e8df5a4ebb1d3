package replication

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
)

// smallDisk gives a formatted broker a disk of its own, of so many MiB. Where the
// system mounts nothing for us the test is skipped.
func smallDisk(t *testing.T, b *cluster.Node, mib int) {
	t.Helper()
	formatted := b.DataDir() + "-formatted"
	if err := os.Rename(b.DataDir(), formatted); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(b.DataDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", mib), "kvorum-test", b.DataDir()).CombinedOutput(); err != nil {
		t.Skipf("skipped: this system mounts no file system for us: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", b.DataDir()).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v %s", b.DataDir(), err, out)
		}
	})
	if out, err := exec.Command("cp", "-a", formatted+"/.", b.DataDir()).CombinedOutput(); err != nil {
		t.Fatalf("copy the formatted directory: %v %s", err, out)
	}
}

// fillUp writes a file until the disk is full; the returned function removes it.
func fillUp(t *testing.T, b *cluster.Node) (free func()) {
	t.Helper()
	path := filepath.Join(b.DataDir(), "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 64<<10)
	for err == nil {
		if _, err = f.Write(block); err != nil && len(block) > 1 {
			block, err = block[:len(block)/2], nil
			continue
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("fill the disk: %v", err)
	}
	return func() {
		if err := errors.Join(f.Close(), os.Remove(path)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFullDisk fills the only disk of a broker under load. The broker lives, refuses
// what it cannot write, and leaves the ISR of what others lead, which goes on without
// it. When there is room again it goes on, and nothing acknowledged is lost.
func TestFullDisk(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 1})
	brokers := q.FormatKvorumBrokers(ctx, t, 3, map[string]string{"replica.lag.time.max.ms": "2000"})
	small := brokers[0]
	smallDisk(t, small, 192) // a log is opened again when 64 MiB are free
	q.RunKvorumBrokers(ctx, t, brokers)
	t.Cleanup(small.Kill) // before its disk goes
	seeds, dirs := addresses(brokers)
	admin := kadm.NewClient(newClient(t, kgo.SeedBrokers(seeds...)))
	const topic, partitions = "t", 6
	min := "2"
	if _, err := admin.CreateTopic(ctx, partitions, 3, map[string]*string{"min.insync.replicas": &min}, topic); err != nil {
		t.Fatal(err)
	}
	awaitISR(ctx, t, admin, topic, 3)
	p := startProducer(t, seeds, topic, partitions)
	for range rounds(t, 1) {
		p.more(ctx, 300)
		free := fillUp(t, small)
		await(ctx, t, "the broker leaves the ISR of what others lead", func(ctx context.Context) error {
			topics, err := admin.ListTopics(ctx, topic)
			if err != nil {
				return err
			}
			for _, part := range topics[topic].Partitions.Sorted() {
				if part.Leader != small.ID && slices.Contains(part.ISR, small.ID) {
					return fmt.Errorf("partition %d: leader %d, ISR %v", part.Partition, part.Leader, part.ISR)
				}
			}
			return nil
		})
		p.more(ctx, 300)
		free()
		awaitISR(ctx, t, admin, topic, 3)
		if !small.Running() {
			t.Fatal("the broker with the full disk has ended")
		}
		p.more(ctx, 300)
	}
	p.finish(ctx, seeds)
	t.Logf("%d bytes are equal on all replicas", cluster.SameBytes(ctx, t, dirs, topic, partitions))
}

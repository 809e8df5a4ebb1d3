package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvorum/integration/cluster"
)

// server is a node whose needs are counted.
type server interface {
	running
	DataDir() string
}

// needs are what nodes use: the mean of several alike.
type needs struct {
	resident, disk, descriptors float64 // bytes, bytes in the file system, number
	cpu                         float64 // processor seconds since the start
}

func needsOf[S server](t *testing.T, nodes []S) (n needs) {
	t.Helper()
	for _, s := range nodes {
		pid := s.Process().PID()
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			t.Skip("skipped: this system does not tell a process's descriptors")
		}
		n.resident += float64(s.Process().ResidentBytes())
		n.descriptors += float64(len(open))
		n.disk += allocated(t, filepath.Dir(s.DataDir()))
		n.cpu += cpuSeconds(t, s)
	}
	of := float64(len(nodes))
	return needs{n.resident / of, n.disk / of, n.descriptors / of, n.cpu / of}
}

// allocated is what the files below a directory take of the disk, holes apart.
func allocated(t *testing.T, dir string) (bytes float64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				bytes += float64(allocatedOf(info))
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // deleted meanwhile
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// provision is the table of docs/operations.md, "What to provision".
type provision struct{ strings.Builder }

func (p *provision) row(what, controller, broker string) {
	fmt.Fprintf(p, "| %s | %s | %s |\n", what, controller, broker)
}

// both writes a row of the same measure of both kinds of node.
func (p *provision) both(what, format string, controller, broker float64) {
	p.row(what, fmt.Sprintf(format, controller), fmt.Sprintf(format, broker))
}

// TestProvision measures what three controllers and three brokers need for what is
// put on them: partitions of three replicas with a record each, and records. It
// writes the table of docs/operations.md into its log (`make bench-provision`).
func TestProvision(t *testing.T) {
	c := formatSix(t, kvorum)
	c.start(t)
	var controllers, brokers []server
	for _, n := range c.quorum.Controllers {
		controllers = append(controllers, n.(*cluster.Node))
	}
	for _, n := range c.brokers {
		brokers = append(brokers, n)
	}
	var table provision
	table.row("each of three", "controller", "broker")
	table.row("---", "---", "---")
	time.Sleep(sizes.idle)
	c0, b0 := needsOf(t, controllers), needsOf(t, brokers)
	const mib = 1 << 20
	table.both("resident, without topics", "%.0f MiB", c0.resident/mib, b0.resident/mib)
	table.both("descriptors, without topics", "%.0f", c0.descriptors, b0.descriptors)

	n := sizes.provisionPartitions
	for i := range n / 1000 {
		topic := fmt.Sprintf("many-%d", i)
		createOn(t, c.clients[0], topic, 1000, 3)
		c.awaitISR(t, topic)
		writeEach(t, c.clients[0], topic, 1000)
	}
	time.Sleep(sizes.idle)
	c1, b1 := needsOf(t, controllers), needsOf(t, brokers)
	time.Sleep(sizes.idle)
	c2, b2 := needsOf(t, controllers), needsOf(t, brokers)
	per := float64(n) / 1000
	table.both("memory for 1,000 partitions", "%.1f MiB", (c1.resident-c0.resident)/mib/per, (b1.resident-b0.resident)/mib/per)
	table.both("descriptors for 1,000 partitions", "%.0f", (c1.descriptors-c0.descriptors)/per, (b1.descriptors-b0.descriptors)/per)
	table.both("disk for 1,000 partitions with a record each", "%.2f MiB", (c1.disk-c0.disk)/mib/per, (b1.disk-b0.disk)/mib/per)
	table.both("processor for 1,000 partitions without traffic", "%.4f cores", (c2.cpu-c1.cpu)/sizes.idle.Seconds()/per, (b2.cpu-b1.cpu)/sizes.idle.Seconds()/per)

	createOn(t, c.clients[0], "bytes", 6, 3)
	c.awaitISR(t, "bytes")
	const record = 1024
	mb := float64(sizes.replicatedBytes) / 1e6
	c3, b3 := needsOf(t, controllers), needsOf(t, brokers)
	produceBytes(t, c.clients[0], "bytes", record, sizes.replicatedBytes)
	c4, b4 := needsOf(t, controllers), needsOf(t, brokers)
	consumeBytes(t, c.clients[0], "bytes", sizes.replicatedBytes/record)
	c5, b5 := needsOf(t, controllers), needsOf(t, brokers)
	table.both("processor for 100 MB/s written with three replicas to all three brokers", "%.3f cores", 100*(c4.cpu-c3.cpu)/mb, 100*(b4.cpu-b3.cpu)/mb)
	table.both("processor for 100 MB/s read from all three brokers", "%.3f cores", 100*(c5.cpu-c4.cpu)/mb, 100*(b5.cpu-b4.cpu)/mb)
	table.both("disk for each byte written with three replicas", "%.3f bytes", (c4.disk-c3.disk)/mb/1e6, (b4.disk-b3.disk)/mb/1e6)
	table.both("resident after it", "%.0f MiB", c5.resident/mib, b5.resident/mib)
	t.Logf("%d partitions, %.0f MB of records of %d bytes\n\n%s", n, mb, record, table.String())
}

package peer

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvorum/integration/process"
)

// ZooKeeper is one ZooKeeper server, of the release that Kafka 3.9 ships with.
type ZooKeeper struct {
	Kit     *Kit // V39: later releases have no ZooKeeper
	Dir     string
	Address string // of clients, HOST:PORT

	proc *process.Process
}

// String names the server in failures.
func (z *ZooKeeper) String() string { return "zookeeper" }

// Start starts the server and waits until it serves.
func (z *ZooKeeper) Start(ctx context.Context, t testing.TB) {
	t.Helper()
	host, port, err := net.SplitHostPort(z.Address)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(z.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// A short tick lets a session end soon after its broker was killed.
	text := fmt.Sprintf("tickTime=500\ndataDir=%s\nclientPort=%s\nclientPortAddress=%s\nadmin.enableServer=false\n4lw.commands.whitelist=*\nmaxClientCnxns=0\n",
		filepath.Join(z.Dir, "data"), port, host)
	file := filepath.Join(z.Dir, "zookeeper.cfg")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	z.proc = process.Start(t, process.Spec{
		Name: z.String(), Path: "java", Log: filepath.Join(z.Dir, "zookeeper.log"),
		Args: z.Kit.javaArgs("org.apache.zookeeper.server.quorum.QuorumPeerMain", file),
	})
	WaitReady(ctx, t, z.String(), z.proc, z.ask)
}

// ask sends ZooKeeper's four letters "srvr"; it tells its mode when it serves, and
// that it does not serve before.
func (z *ZooKeeper) ask(ctx context.Context) error {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", z.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "srvr"); err != nil {
		return err
	}
	answer, err := io.ReadAll(io.LimitReader(conn, 4096))
	if err == nil && !strings.Contains(string(answer), "Mode: ") {
		err = fmt.Errorf("it answers %q", answer)
	}
	return err
}

// Stop ends the server by SIGTERM.
func (z *ZooKeeper) Stop(t testing.TB) {
	t.Helper()
	if err := z.proc.Stop(stopPatience); err != nil && !strings.Contains(err.Error(), "143") {
		t.Errorf("stop %s: %v", z, err)
	}
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"kvorum/integration/bench/broker"
)

// client asks the active controller, which it finds among the addresses. An
// election in between costs time, not the benchmark: on a busy machine it may
// happen, and is counted where that is the question.
type client struct {
	addresses []string
	at        int
	conn      *broker.Conn
}

// do repeats a question until a controller answers as the active one.
func (c *client) do(ctx context.Context, ask func(*broker.Conn) error) error {
	var err error
	for began := time.Now(); time.Since(began) < time.Minute; {
		if c.conn == nil {
			c.conn, err = broker.Dial(ctx, c.addresses[c.at], "bench")
		}
		if err == nil {
			if err = ask(c.conn); !elsewhere(err) {
				return err
			}
		}
		c.close()
		c.at, err = (c.at+1)%len(c.addresses), nil
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("no controller answered as the active one: %w", err)
}

// elsewhere tells that an error is of a connection, or of a controller that is
// not active.
func elsewhere(err error) bool {
	var known *kerr.Error
	if err == nil {
		return false
	}
	return !errors.As(err, &known) || errors.Is(err, kerr.NotController) || errors.Is(err, kerr.NotLeaderForPartition)
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// epoch is the epoch of the active controller.
func (c *client) epoch(t *testing.T) int32 {
	t.Helper()
	var e int32
	err := c.do(t.Context(), func(conn *broker.Conn) (err error) {
		e, err = epoch(conn)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

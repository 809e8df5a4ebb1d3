package server_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// setBroker changes a key of one broker, or of all where broker is empty; nil takes
// it away.
func setBroker(ctx context.Context, t *testing.T, c *kgo.Client, broker, key string, value *string) error {
	t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeBroker, broker
	change := kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: key, Value: value}
	if value == nil {
		change.Op = kmsg.IncrementalAlterConfigOpDelete
	}
	r.Configs = append(r.Configs, change)
	req.Resources = append(req.Resources, r)
	res, err := req.RequestWith(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return kerr.ErrorForCode(res.Resources[0].ErrorCode)
}

// refuses waits until a new connection is closed at once, or until one is not.
func refuses(ctx context.Context, t *testing.T, address string, want bool) {
	t.Helper()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		// A connection that is taken stays open and silent.
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, err = c.Read(make([]byte, 1))
		_ = c.Close()
		timeout, ok := err.(net.Error)
		if taken := ok && timeout.Timeout(); taken != want {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("the limit is not in force: %v", err)
		}
	}
}

// TestDynamicConfigs: a limit of connections that is set while the node runs holds, by
// Kafka's precedence, and goes again; what only a start reads is refused.
func TestDynamicConfigs(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	address, stop := run(t, combined(t))
	c := client(t, address)
	none, many := "0", "1000"
	set := func(broker string, value *string) {
		t.Helper()
		if err := setBroker(ctx, t, c, broker, "max.connections.per.ip", value); err != nil {
			t.Fatal(err)
		}
	}
	for _, of := range []string{"", "1"} { // so that the operator has all his connections before there are no more
		set(of, &many)
		set(of, nil)
	}
	refuses(ctx, t, address, false)
	set("", &none)
	refuses(ctx, t, address, true)
	set("1", &many)
	refuses(ctx, t, address, false)
	set("1", nil)
	refuses(ctx, t, address, true)
	set("", nil)
	refuses(ctx, t, address, false)
	if err := setBroker(ctx, t, c, "1", "log.dirs", &many); err != kerr.InvalidRequest {
		t.Errorf("a change of log.dirs: %v", err)
	}
	if err := setBroker(ctx, t, c, "", "num.replica.fetchers", &many); err != kerr.InvalidRequest {
		t.Errorf("a thousand fetchers: %v", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

package config

import (
	"math"
	"net/netip"
	"testing"
	"time"
)

// TestLimits: the limits of a listener come from the layers by Kafka's precedence,
// with those of the listener alone, and replication is not bounded by the node's.
func TestLimits(t *testing.T) {
	layers := Layers{
		Broker: map[string]string{"max.connections": "50", "listener.name.external.max.connections": "20"},
		Cluster: map[string]string{
			"max.connections": "70", "max.connections.per.ip": "0", "max.connections.per.ip.overrides": "127.0.0.1:3,::ffff:10.0.0.1:4",
			"listener.name.external.max.connection.creation.rate": "7",
		},
		Static: map[string]string{"max.connection.creation.rate": "9", "max.connections.per.ip": "8"},
	}
	external, internal := layers.Limits("EXTERNAL", false), layers.Limits("INTERNAL", true)
	if external.Max != 20 || external.MaxPerIP != 0 || external.Rate != 7 || len(external.PerIP) != 2 || external.PerIP[netip.MustParseAddr("10.0.0.1")] != 4 {
		t.Errorf("EXTERNAL has %+v", external)
	}
	if internal.Max != math.MaxInt32 || internal.Rate != 9 {
		t.Errorf("INTERNAL has %+v", internal)
	}
	if none := (Layers{}).Limits("EXTERNAL", false); none.Rate != 0 || none.Max != math.MaxInt32 {
		t.Errorf("the defaults are %+v", none)
	}
	if rate := (Layers{Cluster: map[string]string{"max.connection.creation.rate": "0"}}).Limits("EXTERNAL", false).Rate; rate != 1 {
		t.Errorf("a rate of 0 is %v", rate)
	}
}

// TestRunning: what is not set at run time is what the start reads.
func TestRunning(t *testing.T) {
	static := map[string]string{"num.replica.fetchers": "2", "log.cleaner.threads": "3", "log.cleaner.backoff.ms": "10"}
	got := Layers{Static: static, Cluster: map[string]string{"log.cleaner.threads": "4"}, Broker: map[string]string{"num.replica.fetchers": "5"}}.Running()
	if got.Fetchers != 5 || got.RecoveryThreads != 2 || got.ProducerExpiration != 24*time.Hour || got.Cleaner.Threads != 4 || got.Cleaner.Backoff != 10*time.Millisecond || got.Cleaner.BytesPerSecond != 0 {
		t.Errorf("%+v", got)
	}
	if off := (Layers{Static: map[string]string{"log.cleaner.enable": "false"}, Cluster: map[string]string{"log.cleaner.threads": "4"}}).Running(); off.Cleaner.Threads != 0 {
		t.Errorf("with log.cleaner.enable=false: %+v", off.Cleaner)
	}
}

// TestValidateRunning: a pool may at most double or halve at a time, by what this broker
// has now and would have. The texts are Apache's (DynamicThreadPool, LogCleaner).
func TestValidateRunning(t *testing.T) {
	refused := func(why string) string {
		return "Invalid value org.apache.kafka.common.config.ConfigException: " + why + " for configuration Invalid dynamic configuration"
	}
	for _, c := range []struct {
		now, next Layers
		want      string
	}{
		{Layers{}, Layers{Cluster: map[string]string{"num.io.threads": "16"}}, ""},
		{Layers{}, Layers{Cluster: map[string]string{"num.io.threads": "17"}}, refused("Dynamic thread count update validation failed for num.io.threads=17, value should not be greater than double the current value 8")},
		{Layers{}, Layers{Cluster: map[string]string{"background.threads": "4"}}, refused("Dynamic thread count update validation failed for background.threads=4, value should be at least half the current value 10")},
		{Layers{Broker: map[string]string{"num.io.threads": "8"}}, Layers{Broker: map[string]string{"num.io.threads": "8"}, Cluster: map[string]string{"num.io.threads": "99"}}, ""},
		{Layers{Static: map[string]string{"num.replica.fetchers": "4"}}, Layers{Static: map[string]string{"num.replica.fetchers": "4"}, Broker: map[string]string{"num.replica.fetchers": "1"}}, refused("Dynamic thread count update validation failed for num.replica.fetchers=1, value should be at least half the current value 4")},
		{Layers{}, Layers{Cluster: map[string]string{"max.connections.per.ip.overrides": "x:1"}}, `max.connections.per.ip.overrides: "x:1" is not of the form address:limit, with an IP address and a number from 0 on`},
		{Layers{}, Layers{Cluster: map[string]string{"log.cleaner.threads": "0"}}, refused("Log cleaner threads should be at least 1")},
		{Layers{}, Layers{Cluster: map[string]string{"log.cleaner.threads": "3"}}, refused("Log cleaner threads cannot be increased to more than double the current value 1")},
	} {
		got := ""
		if err := ValidateRunning(c.now, c.next); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%v to %v: %q, want %q", c.now, c.next, got, c.want)
		}
	}
}

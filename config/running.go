package config

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Running is what of a broker's own keys follows a change while it runs (KIP-226),
// besides the defaults of topics: what the layers say now.
type Running struct {
	// Fetchers is num.replica.fetchers, RecoveryThreads
	// num.recovery.threads.per.data.dir.
	Fetchers, RecoveryThreads int
	ProducerExpiration        time.Duration
	Cleaner                   CleanerRules
}

// Running reads the keys that a broker follows while it runs.
func (l Layers) Running() Running {
	r := Running{
		Fetchers: int(l.Number("num.replica.fetchers")), RecoveryThreads: int(l.Number("num.recovery.threads.per.data.dir")),
		ProducerExpiration: l.millis("producer.id.expiration.ms"),
	}
	if !l.flag("log.cleaner.enable") { // a key that only a start reads
		return r
	}
	rate := l.value(nodeIndex["log.cleaner.io.max.bytes.per.second"]).Real
	if rate == math.MaxFloat64 { // the default
		rate = 0
	}
	r.Cleaner = CleanerRules{
		Threads: int(l.Number("log.cleaner.threads")), KeyMemory: l.Number("log.cleaner.dedupe.buffer.size"),
		KeyLoad: l.value(nodeIndex["log.cleaner.io.buffer.load.factor"]).Real, IOMemory: l.Number("log.cleaner.io.buffer.size"),
		BytesPerSecond: rate, Backoff: l.millis("log.cleaner.backoff.ms"),
	}
	return r
}

func (l Layers) millis(name string) time.Duration {
	const most = int64(1<<63-1) / int64(time.Millisecond)
	return time.Duration(min(l.Number(name), most)) * time.Millisecond
}

// Limits are how many connections one listener takes.
type Limits struct {
	Max, MaxPerIP int
	// PerIP has the addresses with a limit of their own
	// (max.connections.per.ip.overrides).
	PerIP map[netip.Addr]int
	// Rate is how many connections a second are accepted
	// (max.connection.creation.rate); 0: no limit.
	Rate float64
}

// Limits reads the limits of a listener. max.connections and
// max.connection.creation.rate may be set for one listener alone; the lower of that
// and the node's own holds. A protected listener, that of other brokers where clients
// have another one, is not bounded by the node's max.connections (ConnectionQuotas):
// replication goes on. A rate of 0, which is valid at run time, is one
// connection a second, so that whoever set it can take it back.
func (l Layers) Limits(listener string, protected bool) Limits {
	own := func(name string, all int64) int64 {
		k := *nodeIndex[name]
		k.Name = listenerPrefix + strings.ToLower(listener) + "." + name
		if _, _, ok := l.text(k.Name); ok {
			return min(all, l.value(&k).Int)
		}
		return all
	}
	most := l.Number("max.connections")
	if protected {
		most = math.MaxInt32
	}
	limits := Limits{Max: int(own("max.connections", most)), MaxPerIP: int(l.Number("max.connections.per.ip"))}
	if rate := own("max.connection.creation.rate", l.Number("max.connection.creation.rate")); rate != math.MaxInt32 {
		limits.Rate = float64(max(rate, 1))
	}
	limits.PerIP, _ = parsePerIP(l.value(nodeIndex[perIPKey]).Text) // what cannot be read was refused where it was set
	return limits
}

const (
	perIPKey = "max.connections.per.ip.overrides"
	// maxOverrides bounds the addresses with a limit of their own: the key is a line
	// that somebody has written.
	maxOverrides = 10_000
)

// parsePerIP reads address:limit,... An address is written as numbers: unlike
// Apache, which asks the resolver, kvorum does not take names. The errors name
// every entry that is wrong; the others are taken.
func parsePerIP(text string) (map[netip.Addr]int, []error) {
	entries := splitList(text)
	if len(entries) > maxOverrides {
		return nil, []error{fmt.Errorf("%s has %d entries; at most %d are taken", perIPKey, len(entries), maxOverrides)}
	}
	var errs []error
	limits := map[netip.Addr]int{}
	for _, entry := range entries {
		at := strings.LastIndexByte(entry, ':')
		if at < 0 {
			errs = append(errs, fmt.Errorf("%s: %q is not of the form address:limit", perIPKey, entry))
			continue
		}
		ip, err := netip.ParseAddr(strings.Trim(strings.TrimSpace(entry[:at]), "[]"))
		limit, limitErr := strconv.ParseInt(strings.TrimSpace(entry[at+1:]), 10, 32)
		if err != nil || limitErr != nil || limit < 0 {
			errs = append(errs, fmt.Errorf("%s: %q is not of the form address:limit, with an IP address and a number from 0 on", perIPKey, entry))
			continue
		}
		limits[ip.Unmap()] = int(limit)
	}
	return limits, errs
}

// pools are the keys that Apache bounds the changes of by their value now
// (DynamicThreadPool.RECONFIGURABLE_CONFIGS), sorted.
var pools = []string{"background.threads", "num.io.threads", "num.recovery.threads.per.data.dir", "num.replica.fetchers"}

// ValidateRunning checks a change of what a broker follows while it runs, from the
// layers that are in force to those that would be: a pool at most doubles or halves
// at a time (DynamicThreadPool, LogCleaner.validateReconfiguration). Limits of single
// addresses that cannot be read are refused as well, so that none is ignored.
func ValidateRunning(now, next Layers) error {
	if text, _, _ := next.text(perIPKey); strings.TrimSpace(text) != "" {
		if _, errs := parsePerIP(text); len(errs) > 0 {
			return invalid("%s", errs[0])
		}
	}
	for _, name := range pools {
		have, want := now.Number(name), next.Number(name)
		switch {
		case want == have:
		case want < have/2:
			return refusedChange("Dynamic thread count update validation failed for %s=%d, value should be at least half the current value %d", name, want, have)
		case want > 2*have:
			return refusedChange("Dynamic thread count update validation failed for %s=%d, value should not be greater than double the current value %d", name, want, have)
		}
	}
	have, want := now.Number("log.cleaner.threads"), next.Number("log.cleaner.threads")
	switch {
	case want == have || !now.flag("log.cleaner.enable"):
	case want < 1:
		return refusedChange("Log cleaner threads should be at least 1")
	case want < have/2:
		return refusedChange("Log cleaner threads cannot be reduced to less than half the current value %d", have)
	case want > 2*have:
		return refusedChange("Log cleaner threads cannot be increased to more than double the current value %d", have)
	}
	return nil
}

// refusedChange is a change that a broker itself refuses, in the words of
// DynamicBrokerConfig.processReconfiguration.
func refusedChange(format string, args ...any) error {
	return invalid("Invalid value org.apache.kafka.common.config.ConfigException: %s for configuration Invalid dynamic configuration", fmt.Sprintf(format, args...))
}

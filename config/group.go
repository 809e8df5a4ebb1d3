package config

import (
	"maps"
	"slices"
)

// groupBounds are the group keys that node keys bound, in the order in which
// Apache checks them (GroupConfig.validateValues); a bound is
// group.<kind>.min.<rest> and group.<kind>.max.<rest>.
var groupBounds = []struct{ kind, rest string }{
	{"consumer", "heartbeat.interval.ms"},
	{"consumer", "session.timeout.ms"},
	{"consumer", "assignment.interval.ms"},
	{"share", "heartbeat.interval.ms"},
	{"share", "session.timeout.ms"},
	{"share", "record.lock.duration.ms"},
	{"share", "delivery.count.limit"},
	{"share", "partition.max.record.locks"},
	{"share", "assignment.interval.ms"},
	{"streams", "heartbeat.interval.ms"},
	{"streams", "session.timeout.ms"},
	{"streams", "num.standby.replicas"},
	{"streams", "assignment.interval.ms"},
}

// ValidateGroup checks the configs that a group would have; proposed is all of
// them. defaults give the bounds and what is not set.
func ValidateGroup(proposed map[string]string, defaults Layers) error {
	for _, name := range slices.Sorted(maps.Keys(proposed)) {
		if groupIndex[name] == nil {
			return invalid("Unknown group config name: %s", name)
		}
	}
	values := make(map[string]Value, len(groupKeys))
	for i := range groupKeys {
		k := &groupKeys[i]
		text, ok := proposed[k.Name]
		if !ok {
			text, _ = defaults.fallback(k)
		}
		v, err := k.Parse(text)
		if err != nil {
			return err
		}
		values[k.Name] = v
	}
	for _, b := range groupBounds {
		if err := checkBound(values, b.kind, b.rest, defaults); err != nil {
			return err
		}
	}
	for _, kind := range []string{"consumer", "share", "streams"} {
		session, heartbeat := kind+".session.timeout.ms", kind+".heartbeat.interval.ms"
		if values[session].Int <= values[heartbeat].Int {
			return invalid("%s must be greater than %s", session, heartbeat)
		}
	}
	return nil
}

func checkBound(values map[string]Value, kind, rest string, defaults Layers) error {
	name := kind + "." + rest
	if low, ok := boundKey(kind, "min", rest); ok && values[name].Int < defaults.number(low) {
		return invalid("%s must be greater than or equal to %s", name, low.Name)
	}
	if high, ok := boundKey(kind, "max", rest); ok && values[name].Int > defaults.number(high) {
		return invalid("%s must be less than or equal to %s", name, high.Name)
	}
	return nil
}

// boundKey names the node key; "num.standby.replicas" is bounded by
// "max.standby.replicas".
func boundKey(kind, end, rest string) (*Key, bool) {
	if rest == "num.standby.replicas" {
		rest = "standby.replicas"
	}
	k := nodeIndex["group."+kind+"."+end+"."+rest]
	return k, k != nil
}

package config

import (
	"maps"
	"slices"
	"strings"
)

// ValidateTopic checks the configs of a topic to be created. defaults are what
// the keys that are not given fall back to.
func ValidateTopic(configs map[string]string, defaults Layers) error {
	return ValidateTopicChange(nil, configs, defaults)
}

// ValidateTopicChange checks the configs that a topic would have: proposed is
// all of them, current all that it has now (LogConfig.validate).
func ValidateTopicChange(current, proposed map[string]string, defaults Layers) error {
	for _, name := range slices.Sorted(maps.Keys(proposed)) {
		if topicIndex[name] == nil {
			return invalid("Unknown topic config name: %s", name)
		}
	}
	values := make(map[string]Value, len(topicKeys))
	for i := range topicKeys {
		k := &topicKeys[i]
		text, ok := proposed[k.Name]
		if !ok {
			text, _ = defaults.fallback(k)
		}
		if !ok && k.Internal {
			continue
		}
		v, err := k.Parse(text)
		if err != nil {
			return err
		}
		values[k.Name] = v
	}
	if low, high := values["min.compaction.lag.ms"].Int, values["max.compaction.lag.ms"].Int; low > high {
		return invalid("conflict topic config setting min.compaction.lag.ms (%d) > max.compaction.lag.ms (%d)", low, high)
	}
	return checkRemote(current, values, defaults.flag("remote.log.storage.system.enable"))
}

// checkRemote is LogConfig.validateTopicLogConfigValues: what remote storage
// asks of the other keys, and how it may be left.
func checkRemote(current map[string]string, values map[string]Value, systemEnabled bool) error {
	if !values["remote.storage.enable"].Bool {
		was := strings.EqualFold(strings.TrimFunc(current["remote.storage.enable"], javaSpace), "true")
		if was && !values["remote.log.delete.on.disable"].Bool {
			return invalid("It is invalid to disable remote storage without deleting remote data. " +
				"If you want to keep the remote data and turn to read only, please set `remote.storage.enable=true,remote.log.copy.disable=true`. " +
				"If you want to disable remote storage and delete all remote data, please set `remote.storage.enable=false,remote.log.delete.on.disable=true`.")
		}
		return nil
	}
	if !systemEnabled {
		return invalid("Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.")
	}
	if policy := values["cleanup.policy"].List; len(policy) > 0 && (len(policy) > 1 || policy[0] != "delete") {
		return invalid("Remote log storage only supports topics with cleanup.policy=delete or cleanup.policy being an empty list.")
	}
	for _, what := range []string{"bytes", "ms"} {
		if err := checkLocalRetention(values, what); err != nil {
			return err
		}
	}
	if !values["remote.log.copy.disable"].Bool {
		return nil
	}
	for _, what := range []string{"ms", "bytes"} {
		local := values["local.retention."+what].Int
		if local != -2 && local != values["retention."+what].Int {
			return invalid("When `remote.log.copy.disable` is set to true, the `local.retention.%s` and `retention.%s` must be set to "+
				"the identical value because there will be no more logs copied to the remote storage.", what, what)
		}
	}
	return nil
}

// checkLocalRetention: what is kept locally may not outlast the whole.
func checkLocalRetention(values map[string]Value, what string) error {
	whole, local := values["retention."+what].Int, values["local.retention."+what].Int
	if whole == -1 || local == -2 {
		return nil
	}
	name := "local.retention." + what
	switch {
	case local == -1:
		return invalid("Invalid value -1 for configuration %s: Value must not be -1 as retention.%s value is set as %d.", name, what, whole)
	case local > whole:
		return invalid("Invalid value %d for configuration %s: Value must not be more than retention.%s property value: %d", local, name, what, whole)
	}
	return nil
}

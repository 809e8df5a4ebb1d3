package migration

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/migration/brokerconfig"
)

// checkRegistrations: every broker that has a replica must live, because each must
// register in migration mode before anything is copied, offline ones too.
func checkRegistrations(f *Facts) []Finding {
	live := map[kafka.BrokerID]bool{}
	for _, b := range f.Snapshot.Brokers {
		live[b.ID] = true
	}
	missing := map[kafka.BrokerID]int{}
	for _, t := range f.Snapshot.Topics {
		for _, a := range t.Partitions {
			for _, id := range a.Replicas {
				if !live[id] {
					missing[id]++
				}
			}
		}
	}
	var out []Finding
	for _, id := range slices.Sorted(maps.Keys(missing)) {
		out = append(out, Finding{"broker-missing", Blocker, fmt.Sprintf("broker %d has %d replicas and is not running: the copy waits until every broker of an assignment has registered", id, missing[id]),
			"start it, or move its replicas to others"})
	}
	for i := range f.Brokers {
		if b := &f.Brokers[i]; b.Err != nil {
			out = append(out, Finding{"broker-unreachable", Blocker, fmt.Sprintf("broker %d could not be asked: %v", b.ID, b.Err), "name a listener that this machine reaches with --bootstrap-server"})
		}
	}
	if len(f.Snapshot.Brokers) == 0 {
		out = append(out, Finding{"broker-missing", Blocker, "no broker is registered in ZooKeeper", "start the brokers; those that run in KRaft mode are not in ZooKeeper any more"})
	}
	return out
}

// checkProtocol: one inter.broker.protocol.version on all brokers, new enough.
func checkProtocol(f *Facts) []Finding {
	brokers := map[string][]kafka.BrokerID{}
	for i := range f.Brokers {
		if b := &f.Brokers[i]; b.Err == nil {
			brokers[b.protocol()] = append(brokers[b.protocol()], b.ID)
		}
	}
	if len(brokers) > 1 {
		var parts []string
		for _, v := range slices.Sorted(maps.Keys(brokers)) {
			parts = append(parts, fmt.Sprintf("%q on broker %s", v, Listed(brokers[v])))
		}
		return []Finding{{"inter-broker-protocol", Blocker, "inter.broker.protocol.version differs: " + strings.Join(parts, ", "), "set the same on every broker: each registers with exactly this metadata.version"}}
	}
	for text := range brokers {
		v, err := image.ParseMetadataVersion(text)
		switch {
		case err != nil:
			return []Finding{{"inter-broker-protocol", Blocker, fmt.Sprintf("inter.broker.protocol.version %q is unknown: %v", text, err), ""}}
		case v.Before(image.MV36IV1):
			return []Finding{{"inter-broker-protocol", Blocker, fmt.Sprintf("inter.broker.protocol.version is %s: the copy is a transaction of the metadata log, which came with 3.6-IV1", text),
				"upgrade the brokers to Kafka 3.9 and set inter.broker.protocol.version=3.9"}}
		case v.Before(image.MV39IV0):
			return []Finding{{"inter-broker-protocol", Note, fmt.Sprintf("inter.broker.protocol.version is %s; kvorum is tested with 3.9", text), "set inter.broker.protocol.version=3.9 if all brokers run 3.9"}}
		}
	}
	return nil
}

func checkReleases(f *Facts) []Finding {
	var out []Finding
	for i := range f.Brokers {
		b := &f.Brokers[i]
		if b.Err == nil && !strings.Contains(b.Version, "3.9") {
			out = append(out, Finding{"release", Note, fmt.Sprintf("broker %d seems to run Kafka %s; kvorum is tested with brokers of 3.9.2", b.ID, b.Version), "upgrade to 3.9.2 first"})
		}
		if b.config("broker.id.generation.enable") == "true" && b.Static["broker.id"] == "" && b.Err == nil {
			out = append(out, Finding{"broker-id", Blocker, fmt.Sprintf("broker %d got its id from ZooKeeper: a KRaft broker needs it in its configuration", b.ID), fmt.Sprintf("set broker.id=%d", b.ID)})
		}
	}
	return out
}

// checkLogDirs: with several log directories a broker registers only from 3.7-IV2.
func checkLogDirs(f *Facts) []Finding {
	v, known := MetadataVersion(f.Brokers)
	var out []Finding
	for i := range f.Brokers {
		b := &f.Brokers[i]
		if n := len(b.logDirs()); n > 1 && known && v.Before(image.MV37IV2) {
			out = append(out, Finding{"jbod", Blocker, fmt.Sprintf("broker %d has %d log directories, which a migration knows from 3.7-IV2 on; inter.broker.protocol.version is %s", b.ID, n, b.protocol()), "set inter.broker.protocol.version=3.9 on every broker first"})
		}
	}
	return out
}

func checkAuthorizer(f *Facts) []Finding {
	var out []Finding
	classes := map[string]bool{}
	for i := range f.Brokers {
		b := &f.Brokers[i]
		class := b.config("authorizer.class.name")
		if classes[class] || b.Err != nil {
			continue
		}
		classes[class] = true
		switch {
		case class == "" && len(f.Snapshot.ACLs) > 0:
			out = append(out, Finding{"authorizer", Note, "ZooKeeper has ACLs, but the brokers have no authorizer: the ACLs are converted and enforced by nobody, as now", ""})
		case class == "", config.KeepsACLsInZooKeeper(class):
		default:
			out = append(out, Finding{"authorizer", Blocker, "authorizer.class.name is " + class + ": what it decides by is not in ZooKeeper's ACLs and is not converted", "find out how this authorizer works without ZooKeeper"})
		}
	}
	if len(classes) > 1 {
		out = append(out, Finding{"authorizer", Blocker, "authorizer.class.name differs between brokers", "set the same on all of them"})
	}
	return out
}

// checkBrokerConfigs says what each step refuses of the brokers' server.properties: for
// Apache's brokers on kvorum's controllers it stops the migration, for kvorum's only
// the step to them.
func checkBrokerConfigs(f *Facts) []Finding {
	var out []Finding
	told := map[string]bool{}
	for _, target := range brokerconfig.Targets {
		out = append(out, f.refused(target, told, func(b *BrokerFacts) []brokerconfig.Note { return notes(f, b, target) })...)
	}
	return append(out, checkListeners(&f.Asked)...)
}

// refused is what a step refuses of the brokers' lines, each key once: told has those
// that were said before.
func (a *Asked) refused(target brokerconfig.Target, told map[string]bool, notes func(*BrokerFacts) []brokerconfig.Note) []Finding {
	brokers, why := map[string][]kafka.BrokerID{}, map[string]string{}
	for i := range a.Brokers {
		b := &a.Brokers[i]
		if b.Err != nil {
			continue
		}
		for _, n := range notes(b) {
			if n.Action == brokerconfig.Refused && !told[n.Key] && !checkedElsewhere(n.Key, target) {
				brokers[n.Key], why[n.Key] = append(brokers[n.Key], b.ID), n.Why
			}
		}
	}
	var out []Finding
	for _, key := range slices.Sorted(maps.Keys(brokers)) {
		told[key] = true
		out = append(out, refusal(target, key, fmt.Sprintf("%s (broker %s): %s", key, Listed(brokers[key]), why[key])))
	}
	return out
}

// KvorumBrokers is what stands in the way of kvorum's brokers in a cluster whose
// brokers run in KRaft mode: all of it is Later.
func (a *Asked) KvorumBrokers() []Finding {
	out := a.refused(brokerconfig.Kvorum, map[string]bool{}, (*BrokerFacts).kvorumNotes)
	for _, c := range askedChecks {
		out = append(out, c(a)...)
	}
	return out
}

// askedChecks are those of what kvorum's brokers do not have.
var askedChecks = []func(*Asked) []Finding{checkListeners, checkTransactions, checkGroups, checkFormats}

// checkedElsewhere are keys that have checks of their own.
func checkedElsewhere(key string, target brokerconfig.Target) bool {
	return target != brokerconfig.Kvorum && (key == "authorizer.class.name" || key == "inter.broker.protocol.version" || key == "broker.id")
}

// refusal is the finding of a key that a step refuses. What kvorum's brokers cannot do
// has names of its own, so that each is allowed by itself.
func refusal(target brokerconfig.Target, key, text string) Finding {
	if target != brokerconfig.Kvorum {
		return Finding{"broker-config", Blocker, text, "change the line, or pass over it with --allow broker-config here and --allow " + key + " in kvorum migrate broker-config"}
	}
	check := "kvorum-broker"
	switch {
	case key == "authorizer.class.name":
		check = "kvorum-authorizer"
	case strings.HasPrefix(key, "remote.") || strings.HasPrefix(key, "rsm.") || strings.HasPrefix(key, "rlmm."):
		check = "remote-storage"
	}
	return Finding{check, Later, text, keepApache}
}

const keepApache = "keep Apache's brokers, on kvorum's controllers, as long as it is needed"

// checkListeners names the listeners that kvorum's brokers cannot have.
func checkListeners(a *Asked) []Finding {
	brokers := map[string][]kafka.BrokerID{}
	for i := range a.Brokers {
		b := &a.Brokers[i]
		for _, text := range strings.Split(b.config("listener.security.protocol.map"), ",") {
			if _, protocol, ok := strings.Cut(text, ":"); ok && protocol != "PLAINTEXT" && usesProtocol(b, text) {
				brokers[text] = append(brokers[text], b.ID)
			}
		}
	}
	var out []Finding
	for _, name := range slices.Sorted(maps.Keys(brokers)) {
		out = append(out, Finding{"kvorum-listener", Later, fmt.Sprintf("listener %s (broker %s): a kvorum broker speaks PLAINTEXT only, and would let everybody in", name, Listed(brokers[name])), keepApache})
	}
	return out
}

// usesProtocol reports whether the broker listens on a listener of the map.
func usesProtocol(b *BrokerFacts, entry string) bool {
	name, _, _ := strings.Cut(entry, ":")
	return slices.ContainsFunc(strings.Split(b.config("listeners"), ","), func(l string) bool {
		return strings.HasPrefix(strings.TrimSpace(l), name+"://")
	})
}

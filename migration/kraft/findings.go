package kraft

import (
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/migration"
)

// checks are every check, in the order of the report.
var checks = []func(*Facts) []migration.Finding{
	checkSupported, checkVoters, checkBrokers, checkInFlight, checkACLs, checkSecrets, checkTiered,
	func(f *Facts) []migration.Finding { return f.KvorumBrokers() },
}

func check(f *Facts) []migration.Finding {
	findings := []migration.Finding{} // not null in JSON
	for _, c := range checks {
		findings = append(findings, c(f)...)
	}
	return findings
}

func checkSupported(f *Facts) []migration.Finding {
	if err := Supported(f.Image); err != nil {
		return []migration.Finding{{Check: "metadata-version", Severity: migration.Blocker, Text: err.Error()}}
	}
	return nil
}

// checkVoters: who the controllers are must be known, and none is a broker as well.
func checkVoters(f *Facts) []migration.Finding {
	var out []migration.Finding
	if f.KRaftVersion == 0 {
		out = append(out, migration.Finding{Check: "kraft-version", Severity: migration.Note,
			Text: "the quorum is of kraft.version 0: its log does not say who the controllers are. The import takes them from controller.quorum.voters and writes kraft.version 1",
			Do:   "keep controller.quorum.voters in the controllers' files, and name the directories of all of them with --import"})
	}
	if len(f.Controllers) < 3 {
		out = append(out, migration.Finding{Check: "controllers", Severity: migration.Note, Text: fmt.Sprintf("the quorum has %d controllers: one that dies stops every change", len(f.Controllers)), Do: "run three"})
	}
	for _, c := range f.Controllers {
		if f.Image.Broker(kafka.BrokerID(c.ID)) != nil {
			out = append(out, migration.Finding{Check: "combined", Severity: migration.Blocker, Text: fmt.Sprintf("node %d is controller and broker in one process: both would stop, and the import is for controllers by themselves", c.ID),
				Do: "let other nodes be the controllers first (kafka-metadata-quorum.sh add-controller and remove-controller, from kraft.version 1 on)"})
		}
	}
	return out
}

// checkBrokers: each goes on with other controllers, so it must understand them.
func checkBrokers(f *Facts) []migration.Finding {
	var out []migration.Finding
	for b := range f.Image.Brokers() {
		for _, r := range b.Features {
			if r.Name == image.FeatureMetadataVersion && r.MaxSupportedVersion < int16(image.MV39IV0) {
				out = append(out, migration.Finding{Check: "release", Severity: migration.Blocker, Text: fmt.Sprintf("broker %d knows metadata.version up to %s: it is older than Kafka 3.9, and kvorum is tested with brokers of 3.9 and newer", b.ID, image.MetadataVersion(r.MaxSupportedVersion)),
					Do: "upgrade it first"})
			}
		}
		if b.Fenced {
			out = append(out, migration.Finding{Check: "fenced", Severity: migration.Note, Text: fmt.Sprintf("broker %d is registered and fenced: it does not run, or is not heard", b.ID), Do: "start it, or remove it with kafka-cluster.sh unregister"})
		}
	}
	for i := range f.Asked.Brokers {
		if b := &f.Asked.Brokers[i]; b.Err != nil {
			out = append(out, migration.Finding{Check: "broker-unreachable", Severity: migration.Later, Text: fmt.Sprintf("broker %d could not be asked: %v", b.ID, b.Err), Do: "name a listener that this machine reaches with --bootstrap-server"})
		}
	}
	return out
}

// checkInFlight: while no controller is active no leader is elected.
func checkInFlight(f *Facts) []migration.Finding {
	var moving, behind, leaderless []string
	for t := range f.Image.TopicsByName("") {
		for id, p := range t.Partitions() {
			name := fmt.Sprintf("%s-%d", t.Name, id)
			if len(p.Adding)+len(p.Removing) > 0 {
				moving = append(moving, name)
			}
			if len(p.ISR) < len(p.Replicas) {
				behind = append(behind, name)
			}
			if p.Leader == kafka.NoLeader {
				leaderless = append(leaderless, name)
			}
		}
	}
	var out []migration.Finding
	if len(moving) > 0 {
		out = append(out, migration.Finding{Check: "reassignment", Severity: migration.Note, Text: fmt.Sprintf("%d partitions are being moved (%s): it goes on under the new controllers", len(moving), migration.Listed(moving)), Do: "better wait until it is done"})
	}
	if len(behind) > 0 {
		out = append(out, migration.Finding{Check: "under-replicated", Severity: migration.Note, Text: fmt.Sprintf("%d partitions have replicas out of sync (%s): while no controller is active nobody elects another leader for them", len(behind), migration.Listed(behind)), Do: "wait until all are in sync"})
	}
	if len(leaderless) > 0 {
		out = append(out, migration.Finding{Check: "offline", Severity: migration.Note, Text: fmt.Sprintf("%d partitions have no leader: %s", len(leaderless), migration.Listed(leaderless)), Do: "bring their brokers back first"})
	}
	return out
}

// checkACLs: the new controllers decide by their own files.
func checkACLs(f *Facts) []migration.Finding {
	if f.Image.ACLCount() == 0 {
		return nil
	}
	return []migration.Finding{{Check: "authorizer", Severity: migration.Note, Text: fmt.Sprintf("there are %d ACLs: without an authorizer in the new controllers' files nobody enforces or changes them there", f.Image.ACLCount()),
		Do: "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer and the old super.users in each controller's file"}}
}

// checkSecrets says what is readable where.
func checkSecrets(f *Facts) []migration.Finding {
	keys := passwords(f.Image)
	if len(keys) == 0 {
		return nil
	}
	return []migration.Finding{{Check: "passwords", Severity: migration.Note, Text: fmt.Sprintf("%d dynamic broker configs are passwords (%s): in the metadata log, its snapshots and every node's copy they are in clear text, as they are now", len(keys), migration.Listed(keys)),
		Do: "protect the metadata directories, the old ones too, or move these values into the brokers' files"}}
}

func checkTiered(f *Facts) []migration.Finding {
	var tiered []string
	for r := range f.Image.Configs() {
		if v, _ := r.Get("remote.storage.enable"); r.Resource.Type == image.ResourceTopic && v == "true" {
			tiered = append(tiered, r.Resource.Name)
		}
	}
	return migration.Tiered(tiered)
}

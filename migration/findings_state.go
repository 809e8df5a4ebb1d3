package migration

import (
	"fmt"
	"strconv"
)

// checkInFlight: what was asked for and is not done yet. Deletions and
// reassignments survive the copy, but are easier to follow when they are over.
func checkInFlight(f *Facts) []Finding {
	s := f.Snapshot
	var out []Finding
	if len(s.Deletions) > 0 {
		out = append(out, Finding{"deletion", Blocker, fmt.Sprintf("%d topics are being deleted: %s. They would not be copied", len(s.Deletions), Listed(s.Deletions)), "wait until they are gone; a broker that does not run holds a deletion up"})
	}
	if len(s.Moves) > 0 {
		out = append(out, Finding{"reassignment", Blocker, fmt.Sprintf("/admin/reassign_partitions asks for %d partitions to be moved: the controller of a migration does not read it", len(s.Moves)), "wait until it is done"})
	}
	if len(s.Elections) > 0 {
		out = append(out, Finding{"election", Blocker, fmt.Sprintf("/admin/preferred_replica_election asks for the election of %d leaders: the controller of a migration does not read it", len(s.Elections)), "wait until it is done"})
	}
	var moving, behind, leaderless []string
	for _, t := range s.Topics {
		for _, id := range t.IDs() {
			name, a, state := t.Name+"-"+strconv.Itoa(int(id)), t.Partitions[id], t.States[id]
			if len(a.Adding)+len(a.Removing) > 0 {
				moving = append(moving, name)
			}
			if len(state.ISR) < len(a.Replicas) {
				behind = append(behind, name)
			}
			if state.Leader < 0 {
				leaderless = append(leaderless, name)
			}
		}
	}
	if len(moving) > 0 {
		out = append(out, Finding{"reassignment", Note, fmt.Sprintf("%d partitions are being moved (%s): the reassignment goes on after the copy", len(moving), Listed(moving)), "better wait until it is done"})
	}
	if len(behind) > 0 {
		out = append(out, Finding{"under-replicated", Note, fmt.Sprintf("%d partitions have replicas out of sync: %s", len(behind), Listed(behind)), "every broker is restarted twice: wait until all are in sync"})
	}
	if len(leaderless) > 0 {
		out = append(out, Finding{"offline", Blocker, fmt.Sprintf("%d partitions have no leader: %s", len(leaderless), Listed(leaderless)), "bring their brokers back first"})
	}
	if s.ISRChanges+s.LogDirFails > 0 {
		out = append(out, Finding{"notifications", Note, fmt.Sprintf("%d ISR changes and %d failed log directories wait for the controller", s.ISRChanges, s.LogDirFails), ""})
	}
	return out
}

// checkPasswords says what will be readable where.
func checkPasswords(f *Facts) []Finding {
	keys := passwords(f.Snapshot)
	if len(keys) == 0 {
		return nil
	}
	out := []Finding{{"passwords", Note, fmt.Sprintf("%d dynamic broker configs are passwords (%s). ZooKeeper has them encrypted; in the metadata log, its snapshots and every controller's and broker's copy they are in clear text, as with Apache's controllers", len(keys), Listed(keys)),
		"protect the metadata directories, or move these values into the brokers' files before"}}
	if !f.Secret {
		out = append(out, Finding{"password-secret", Blocker, "passwords cannot be decrypted without the brokers' password.encoder.secret", "give it with --password-encoder-secret-file"})
	}
	return out
}

// checkControllers compares the controllers that shall take over with the cluster.
func checkControllers(f *Facts) []Finding {
	c := f.Controllers
	if c == nil {
		return nil
	}
	if c.Err != nil {
		return []Finding{{"controllers", Blocker, fmt.Sprintf("the controllers could not be asked: %v", c.Err), "start them, and check --bootstrap-controller"}}
	}
	var out []Finding
	if c.ClusterID != f.Snapshot.ClusterID {
		out = append(out, Finding{"controllers", Blocker, fmt.Sprintf("the controllers are of cluster %s, ZooKeeper has cluster %s", c.ClusterID, f.Snapshot.ClusterID), "format them with --cluster-id " + f.Snapshot.ClusterID})
	}
	if c.Voters < 3 {
		out = append(out, Finding{"controllers", Note, fmt.Sprintf("the quorum has %d controllers: one that dies stops every change", c.Voters), "run three"})
	}
	for _, b := range f.Snapshot.Brokers {
		if int32(b.ID) == int32(c.Active) {
			out = append(out, Finding{"controllers", Blocker, fmt.Sprintf("controller %d has the id of a broker", b.ID), "controllers and brokers share one space of ids: format the controllers with others"})
		}
	}
	return out
}

// checkTransactions concerns the step to kvorum's brokers, which have no
// transaction coordinator.
func checkTransactions(a *Asked) []Finding {
	t := a.Transactions
	switch {
	case t.Err != nil:
		return []Finding{{"transactions", Later, fmt.Sprintf("transactions could not be listed: %v", t.Err), ""}}
	case t.Total == 0:
		return nil
	}
	out := []Finding{{"transactions", Later, fmt.Sprintf("%d transactional ids are known: kvorum's brokers have no transactions, and refuse their clients", t.Total),
		keepApache + ": as long as clients use transactions"}}
	if t.Ongoing > 0 {
		out = append(out, Finding{"open-transactions", Later, fmt.Sprintf("%d transactions are open: nobody would end them on kvorum's brokers, and readers of committed records would wait at them for ever", t.Ongoing),
			"stop those clients, and wait until transaction.timeout.ms has ended what they left; kafka-transactions.sh list shows them"})
	}
	return out
}

// checkGroups concerns the step to kvorum's brokers, which have classic groups.
func checkGroups(a *Asked) []Finding {
	g := a.Groups
	if g.Err != nil {
		return []Finding{{"group-protocol", Later, fmt.Sprintf("groups could not be listed: %v", g.Err), ""}}
	}
	var out []Finding
	for _, kind := range []struct {
		name   string
		groups []string
	}{{"consumer groups of the new protocol (KIP-848)", g.Consumer}, {"share groups", g.Share}, {"streams groups", g.Streams}} {
		if len(kind.groups) > 0 {
			out = append(out, Finding{"group-protocol", Later, fmt.Sprintf("%d %s: %s. kvorum's brokers have groups of the classic protocol only", len(kind.groups), kind.name, Listed(kind.groups)),
				"set group.protocol=classic in their members, or " + keepApache})
		}
	}
	return out
}

// checkFormatConfigs finds topics that were to be written in formats of older Kafka.
func checkFormatConfigs(f *Facts) []Finding {
	var old []string
	for _, t := range f.Snapshot.Topics {
		switch v := t.Config["message.format.version"]; {
		case v == "":
		case len(v) >= 4 && (v[:4] == "0.8." || v[:4] == "0.9." || v[:4] == "0.10"):
			old = append(old, t.Name)
		}
	}
	if len(old) == 0 {
		return nil
	}
	return []Finding{{"message-format", Later, fmt.Sprintf("message.format.version of %d topics is from before 0.11: %s. Their segments may hold records of magic 0 or 1, which kvorum's brokers do not read", len(old), Listed(old)),
		"remove the config and wait until retention has taken the old segments"}}
}

// checkFormats finds records in formats that only older Kafka writes.
func checkFormats(a *Asked) []Finding {
	var out []Finding
	if seen := a.Formats; len(seen.Old) > 0 {
		out = append(out, Finding{"message-format", Later, fmt.Sprintf("the first records of %d partitions are of magic 0 or 1, which kvorum's brokers do not read: %s", len(seen.Old), Listed(seen.Old)),
			"wait until retention has taken them, delete them (kafka-delete-records.sh), or copy the topic"})
	}
	if seen := a.Formats; seen.Unknown > 0 {
		out = append(out, Finding{"message-format", Later, fmt.Sprintf("the format of the first records of %d partitions could not be seen: %v", seen.Unknown, seen.Err), "ask again, with a longer --timeout"})
	}
	return out
}

// checkTiered finds topics whose older records are in remote storage.
func checkTiered(f *Facts) []Finding {
	var tiered []string
	for _, t := range f.Snapshot.Topics {
		if t.Config["remote.storage.enable"] == "true" {
			tiered = append(tiered, t.Name)
		}
	}
	return Tiered(tiered)
}

// Tiered is what topics with remote storage mean, which are named.
func Tiered(tiered []string) []Finding {
	if len(tiered) == 0 {
		return nil
	}
	return []Finding{{"remote-storage", Later, fmt.Sprintf("remote.storage.enable=true on %d topics: %s. kvorum's brokers do not read what is in remote storage", len(tiered), Listed(tiered)), keepApache}}
}

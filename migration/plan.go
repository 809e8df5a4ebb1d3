package migration

import (
	"fmt"
	"slices"
	"strings"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/migration/znode"
)

// Plan is what a migration of a cluster will do, as it is now. It changes nothing
// and promises nothing about what changes after it was made.
type Plan struct {
	ClusterID string `json:"cluster_id"`
	Connect   string `json:"zookeeper_connect"`
	// Phase is how far the cluster has come: see the Phase constants.
	Phase string `json:"phase"`
	// MetadataVersion is the level at which the controllers must be formatted.
	MetadataVersion string       `json:"metadata_version"`
	Brokers         []PlanBroker `json:"brokers"`
	Counts          Counts       `json:"counts"`
	ReadMs          int64        `json:"read_ms"`
	Findings        []Finding    `json:"findings"`
	Steps           []Step       `json:"steps"`
	// Estimate is in words: it rests on assumptions that it names.
	Estimate string `json:"estimate"`
}

// The phases that ZooKeeper alone can show.
const (
	PhaseZooKeeper = "zookeeper"     // a broker is the controller, and no migration was begun
	PhasePrepared  = "pre-migration" // KRaft controllers wait for the brokers
	PhaseDualWrite = "dual-write"    // a KRaft controller writes to ZooKeeper
	PhaseUnknown   = "unknown"       // the nodes contradict each other: see the findings
)

// PlanBroker is one broker in a plan.
type PlanBroker struct {
	ID        kafka.BrokerID `json:"id"`
	Address   string         `json:"address"`
	Version   string         `json:"version"`
	Protocol  string         `json:"inter_broker_protocol"`
	LogDirs   int            `json:"log_dirs"`
	Migrating bool           `json:"migration_enabled"`
	Replicas  int            `json:"replicas"`
}

// Counts are what will be converted.
type Counts struct {
	Topics        int `json:"topics"`
	Partitions    int `json:"partitions"`
	TopicConfigs  int `json:"topic_configs"`
	BrokerConfigs int `json:"broker_configs"`
	Passwords     int `json:"passwords"`
	Users         int `json:"scram_credentials"`
	Quotas        int `json:"quotas"`
	ACLs          int `json:"acls"`
	Tokens        int `json:"delegation_tokens"`
	Records       int `json:"records"`
	ZNodes        int `json:"znodes_read"`
}

// NewPlan decides on facts.
func NewPlan(f *Facts) *Plan {
	p := &Plan{
		ClusterID: f.Snapshot.ClusterID, Connect: f.Connect, Phase: phase(f.Snapshot),
		Counts: count(f), ReadMs: f.ReadTime.Milliseconds(), Findings: check(f),
	}
	if mv, ok := MetadataVersion(f.Brokers); ok {
		p.MetadataVersion = mv.String()
	}
	p.Brokers = planBrokers(f)
	p.Steps = steps(f, p)
	p.Estimate = estimate(f)
	return p
}

// phase reads the state of a migration from /controller and /migration.
func phase(s *znode.Snapshot) string {
	kraft := s.Controller != nil && s.Controller.Value.KRaftEpoch >= 0
	switch {
	case s.Migration == nil && !kraft:
		return PhaseZooKeeper
	case s.Migration == nil:
		return PhaseUnknown // a KRaft controller without a migration
	case s.Migration.Value.Copied() && kraft:
		return PhaseDualWrite
	case !kraft && !s.Migration.Value.Copied():
		return PhasePrepared
	}
	return PhaseUnknown
}

func count(f *Facts) Counts {
	s := f.Snapshot
	c := Counts{Topics: len(s.Topics), Tokens: len(s.Tokens), Records: f.Records, ZNodes: f.Nodes}
	for _, t := range s.Topics {
		c.Partitions += len(t.Partitions)
		c.TopicConfigs += len(t.Config)
	}
	for _, n := range s.BrokerConfigs {
		c.BrokerConfigs += len(n.Config)
	}
	c.Passwords = len(passwords(s))
	for _, n := range s.Users {
		for key := range n.Config {
			if strings.HasPrefix(key, "SCRAM-") {
				c.Users++
			} else {
				c.Quotas++
			}
		}
	}
	for _, nodes := range [][]znode.ConfigNode{s.Clients, s.UserClients, s.IPs} {
		for _, n := range nodes {
			c.Quotas += len(n.Config)
		}
	}
	for _, a := range s.ACLs {
		c.ACLs += len(a.Entries)
	}
	return c
}

// MetadataVersion is the level that belongs to the brokers' inter-broker protocol:
// they register with exactly this one (BrokerRegistration in migration mode). It
// is false if they do not agree, or did not say.
func MetadataVersion(brokers []BrokerFacts) (image.MetadataVersion, bool) {
	text := ""
	for _, b := range brokers {
		if b.protocol() == "" || text != "" && b.protocol() != text {
			return 0, false
		}
		text = b.protocol()
	}
	v, err := image.ParseMetadataVersion(text)
	return v, err == nil
}

func planBrokers(f *Facts) []PlanBroker {
	replicas := map[kafka.BrokerID]int{}
	for _, t := range f.Snapshot.Topics {
		for _, a := range t.Partitions {
			for _, id := range a.Replicas {
				replicas[id]++
			}
		}
	}
	var out []PlanBroker
	for _, b := range f.Snapshot.Brokers {
		row := PlanBroker{ID: b.ID, Replicas: replicas[b.ID]}
		if len(b.Endpoints) > 0 {
			row.Address = fmt.Sprintf("%s:%d", b.Endpoints[0].Host, b.Endpoints[0].Port)
		}
		if i := slices.IndexFunc(f.Brokers, func(x BrokerFacts) bool { return x.ID == b.ID }); i >= 0 {
			facts := &f.Brokers[i]
			row.Version, row.Protocol, row.LogDirs = facts.Version, facts.protocol(), len(facts.logDirs())
			row.Migrating = facts.config("zookeeper.metadata.migration.enable") == "true"
		}
		out = append(out, row)
	}
	slices.SortFunc(out, func(a, b PlanBroker) int { return int(a.ID) - int(b.ID) })
	return out
}

// estimate says how long it may take. The seconds for a broker are what three
// brokers of Kafka 3.9 took to stop and start on two busy cores.
func estimate(f *Facts) string {
	const stopAndStart = 30
	n := len(f.Snapshot.Brokers)
	return fmt.Sprintf("reading ZooKeeper took %d ms now; each of the two rolls of %d brokers takes about %d minutes at %d s for a broker's stop, start and catching up, longer where logs are large",
		f.ReadTime.Milliseconds(), n, max(1, (n*stopAndStart+59)/60), stopAndStart)
}

package kraft

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/migration"
	"kvorum/migration/convert"
)

// Facts are what a plan is made of: the metadata of the running controllers, and what
// they and the brokers answered.
type Facts struct {
	ClusterID   string
	Controllers []Controller
	// Image is the state up to the end of the log, Records how many the log and its
	// snapshot had, and ReadTime how long the reading took.
	Image        *image.Image
	KRaftVersion int16
	ReadTime     time.Duration
	migration.Asked
}

// Controller is a voter of the quorum.
type Controller struct {
	ID          kafka.NodeID      `json:"id"`
	DirectoryID kafka.DirectoryID `json:"directory_id"`
	// Address is HOST:PORT of its listener, "" if it did not say.
	Address string `json:"address"`
}

// Plan is what a move from Apache's controllers to kvorum's will do, as the cluster is
// now. It changes nothing.
type Plan struct {
	ClusterID       string              `json:"cluster_id"`
	MetadataVersion string              `json:"metadata_version"`
	KRaftVersion    int16               `json:"kraft_version"`
	Offset          kafka.Offset        `json:"offset"` // of the last record that was read
	Controllers     []Controller        `json:"controllers"`
	Brokers         []Broker            `json:"brokers"`
	Counts          Counts              `json:"counts"`
	Findings        []migration.Finding `json:"findings"`
	Steps           []migration.Step    `json:"steps"`
	Estimate        string              `json:"estimate"` // in words
}

// Broker is one broker in a plan.
type Broker struct {
	ID       kafka.BrokerID `json:"id"`
	Address  string         `json:"address"`
	Version  string         `json:"version"` // guessed from the requests that it knows
	LogDirs  int            `json:"log_dirs"`
	Fenced   bool           `json:"fenced"`
	Replicas int            `json:"replicas"`
}

// Counts are what the metadata has; all of it is taken as it is.
type Counts struct {
	Topics     int `json:"topics"`
	Partitions int `json:"partitions"`
	Configs    int `json:"configs"`
	Passwords  int `json:"passwords"`
	Users      int `json:"scram_credentials"`
	Quotas     int `json:"quotas"`
	ACLs       int `json:"acls"`
	Tokens     int `json:"delegation_tokens"`
}

// NewPlan decides on facts.
func NewPlan(f *Facts) *Plan {
	return &Plan{
		ClusterID: f.ClusterID, MetadataVersion: f.Image.MetadataVersion().String(), KRaftVersion: f.KRaftVersion, Offset: f.Image.At().Offset,
		Controllers: f.Controllers, Brokers: brokers(f), Counts: count(f.Image), Findings: check(f), Steps: steps(f), Estimate: estimate(f),
	}
}

// Stops are the findings that stop the move: see migration.Stops.
func (p *Plan) Stops(toBrokers bool, allowed []string) []migration.Finding {
	return migration.Stops(p.Findings, toBrokers, allowed)
}

func brokers(f *Facts) []Broker {
	replicas := map[kafka.BrokerID]int{}
	for t := range f.Image.Topics() {
		for _, p := range t.Partitions() {
			for _, id := range p.Replicas {
				replicas[id]++
			}
		}
	}
	out := []Broker{}
	for b := range f.Image.Brokers() {
		row := Broker{ID: b.ID, LogDirs: len(b.Directories), Fenced: b.Fenced, Replicas: replicas[b.ID]}
		if len(b.Endpoints) > 0 {
			row.Address = fmt.Sprintf("%s:%d", b.Endpoints[0].Host, b.Endpoints[0].Port)
		}
		if i := slices.IndexFunc(f.Asked.Brokers, func(x migration.BrokerFacts) bool { return x.ID == b.ID }); i >= 0 {
			row.Version = f.Asked.Brokers[i].Version
		}
		out = append(out, row)
	}
	return out
}

func count(im *image.Image) Counts {
	c := Counts{Topics: im.TopicCount(), Partitions: im.PartitionCount(), ACLs: im.ACLCount(), Passwords: len(passwords(im))}
	for r := range im.Configs() {
		c.Configs += r.Len()
	}
	for q := range im.ClientQuotas() {
		c.Quotas += len(q.Keys())
	}
	for range im.ScramCredentials() {
		c.Users++
	}
	for range im.DelegationTokens() {
		c.Tokens++
	}
	return c
}

// passwords are the dynamic broker configs of type password, as "broker N KEY".
func passwords(im *image.Image) []string {
	var out []string
	for r := range im.Configs() {
		if r.Resource.Type != image.ResourceBroker {
			continue
		}
		for _, key := range r.Keys() {
			if convert.IsPassword(key) {
				out = append(out, strings.Join([]string{"broker", name(r.Resource.Name), key}, " "))
			}
		}
	}
	return out
}

// estimate says how long it may take. The seconds are what an import of three
// controllers, and a broker's stop and start, took on two busy cores.
func estimate(f *Facts) string {
	const stopAndStart = 30
	n := f.Image.BrokerCount()
	return fmt.Sprintf("reading the metadata took %d ms now, and an import reads it once on each controller; three controllers were replaced in 8 s by a script. Brokers that kvorum's take over: about %d s for each of %d, longer where logs are large",
		f.ReadTime.Milliseconds(), stopAndStart, n)
}

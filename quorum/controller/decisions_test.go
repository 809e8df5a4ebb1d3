package controller

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// requests are all decisions, with how often each is drawn. run draws a request
// for the episode's state, decides it, and returns the codes of its answer (one
// per thing that was asked for) and what the loop does after the fold.
var requests = []struct {
	name   string
	weight int
	run    func(*episode) (d Decision, codes []int16, then func())
}{
	{"CreateTopics", 8, (*episode).createTopics},
	{"CreatePartitions", 3, (*episode).createPartitions},
	{"DeleteTopics", 4, (*episode).deleteTopics},
	{"IncrementalAlterConfigs", 8, (*episode).incrementalAlterConfigs},
	{"AlterConfigs", 4, (*episode).alterConfigs},
	{"DescribeConfigs", 2, (*episode).describeConfigs},
	{"AlterClientQuotas", 4, (*episode).alterClientQuotas},
	{"DescribeClientQuotas", 1, (*episode).describeClientQuotas},
	{"AlterUserScramCredentials", 4, (*episode).alterScram},
	{"DescribeUserScramCredentials", 1, (*episode).describeScram},
	{"CreateAcls", 4, (*episode).createACLs},
	{"DeleteAcls", 2, (*episode).deleteACLs},
	{"DescribeAcls", 1, (*episode).describeACLs},
	{"UpdateFeatures", 1, (*episode).updateFeatures},
	{"CreateDelegationToken", 2, (*episode).createToken},
	{"RenewDelegationToken", 2, (*episode).renewToken},
	{"ExpireDelegationToken", 1, (*episode).expireToken},
	{"DescribeDelegationToken", 1, (*episode).describeTokens},
	{"ExpireTokens", 1, (*episode).expireTokens},
	{"NoOp", 1, (*episode).noOp},
	{"RegisterBroker", 3, (*episode).registerBroker},
	{"Heartbeat", 40, (*episode).heartbeats},
	{"FenceExpired", 4, (*episode).fenceExpired},
	{"UnregisterBroker", 1, (*episode).unregisterBroker},
	{"AlterPartition", 12, (*episode).alterPartition},
	{"ElectLeaders", 4, (*episode).electLeaders},
	{"BalanceLeaders", 1, (*episode).balanceLeaders},
	{"ElectUnclean", 5, (*episode).electUnclean},
	{"AlterPartitionReassignments", 5, (*episode).reassign},
	{"ListPartitionReassignments", 1, (*episode).listReassignments},
	{"AssignReplicasToDirs", 3, (*episode).assignDirs},
	{"AllocateProducerIDs", 1, (*episode).allocateProducerIDs},
	{"RegisterController", 1, (*episode).registerController},
}

// The sizes of the run: all decisions, and how many of them one cluster lives
// through. KVORUM_DECISIONS=1000000 is the long run of docs/reliability.md,
// KVORUM_SEED repeats one.
const (
	defaultDecisions = 10_000
	episodeDecisions = 2_500
	compareEvery     = 500
	maxPartitions    = 1_000
)

// TestRandomDecisions makes decisions of all kinds on random clusters. After
// every one the invariants hold, and the image that is folded on from a
// snapshot equals the one that is folded from the whole log. Fewer than half of
// the decisions may be refusals, so that the rest is not for show.
func TestRandomDecisions(t *testing.T) {
	total := envNumber(t, "KVORUM_DECISIONS", defaultDecisions)
	seed := uint64(envNumber(t, "KVORUM_SEED", 1))
	seen := make(coverage)
	largest := 0
	for first := 0; first < total; first += episodeDecisions {
		e := newEpisode(t, rand.New(rand.NewPCG(seed, uint64(first))))
		for i := range min(episodeDecisions, total-first) {
			e.at = fmt.Sprintf("seed %d, decision %d", seed, first+i)
			e.step(seen)
			largest = max(largest, e.in.Image.PartitionCount())
			if i%compareEvery == compareEvery-1 {
				e.compare()
			}
		}
	}
	t.Logf("images up to %d partitions\n%s", largest, seen.table())
	seen.check(t, total)
}

func envNumber(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a number above 0", name, text)
	}
	return n
}

// episode is one cluster's life.
type episode struct {
	*world
	t      *testing.T
	at     string // where we are, for failures
	random *rand.Rand
	// restored is folded from the last comparison's snapshot and all records
	// since; the world's image is folded from the beginning.
	restored    *image.Image
	incarnation byte
	named       int            // topics so far
	existing    []*image.Topic // of nameFor
	lastTopics  *image.Image
}

func newEpisode(t *testing.T, random *rand.Rand) *episode {
	levels := []image.MetadataVersion{image.MV33IV3, 12, 14, image.MV37IV2, image.MV39IV0, image.MV40IV1, 26, image.MV43IV0, image.MV43IV0}
	level := levels[random.IntN(len(levels))]
	features := DefaultFeatures(level)
	e := &episode{world: newWorld(t, level, features), t: t, random: random, restored: image.Empty()}
	e.in.Rand = random
	s := e.in.Settings
	s.NumPartitions, s.DefaultReplicationFactor, s.DeleteTopicEnable, s.AuthorizerConfigured = 1, 1, true, true
	s.DelegationTokenSecret, s.DelegationTokenMaxMs, s.DelegationTokenExpiryMs = []byte("secret"), 100_000, 20_000
	s.ControllerFeatures, s.VoterIDs = image.SupportedFeatures(), []kafka.NodeID{1}
	e.in.Caller = Caller{Principal: "User:admin", Host: "127.0.0.1", MayUseTokens: true, Forwarded: true}
	if level == image.MV37IV2 || level == image.MV39IV0 { // dual write
		s.ZooKeeperMigration, s.InterBrokerListener = true, "PLAINTEXT"
		e.apply(zkState(image.ZkMigration))
	}
	e.restored = restore(t, e.in.Image)
	for id := range kafka.BrokerID(3 + random.IntN(8)) {
		e.start(id + 11)
	}
	e.restored = restore(t, e.in.Image)
	return e
}

// restore folds an image from the records of its snapshot.
func restore(t testing.TB, im *image.Image) *image.Image {
	records := slices.Collect(im.Records(im.MetadataVersion()))
	out, err := foldRecords(image.Empty(), 0, im.At().TimestampMs, records)
	if err != nil {
		t.Fatalf("load the snapshot at offset %d: %v", im.At().Offset, err)
	}
	return out
}

func (e *episode) compare() {
	if !e.restored.Equal(e.in.Image) {
		e.t.Fatalf("%s: the snapshot and the rest of the log lead to another image than the log", e.at)
	}
	e.restored = restore(e.t, e.in.Image)
	if !e.restored.Equal(e.in.Image) {
		e.t.Fatalf("%s: the image is not that of its own snapshot", e.at)
	}
}

// step draws and makes one decision.
func (e *episode) step(seen coverage) {
	e.in.NowMs += int64(e.random.IntN(150))
	total := 0
	for _, r := range requests {
		total += r.weight
	}
	n := e.random.IntN(total)
	for _, r := range requests {
		if n -= r.weight; n >= 0 {
			continue
		}
		before := e.in.Image
		d, codes, then := r.run(e)
		if e.in.Image != before {
			e.t.Fatalf("%s: %s changed its input", e.at, r.name)
		}
		e.take(r.name, d)
		if then != nil {
			then()
		}
		seen.add(r.name, codes, len(d.Records))
		return
	}
}

// take is what the loop does with a decision, and the checks.
func (e *episode) take(name string, d Decision) {
	if len(d.Records) == 0 {
		return
	}
	before := e.in.Image
	for _, m := range d.Records {
		checkEncodes(e.t, m)
	}
	next, err := foldRecords(before, e.in.NextOffset, e.in.NowMs, d.Records)
	if err == nil {
		err = checkVersions(before, d.Records)
	}
	if err == nil {
		err = checkTouched(before, next, d.Records)
	}
	if err == nil {
		e.restored, err = foldRecords(e.restored, e.in.NextOffset, e.in.NowMs, d.Records)
	}
	if err != nil {
		e.t.Fatalf("%s: %s: %v\nafter %s", e.at, name, err, picture(next0(next, before), d.Records))
	}
	e.in.Image, e.in.NextOffset = next, e.in.NextOffset+kafka.Offset(len(d.Records))
}

func next0(im, otherwise *image.Image) *image.Image {
	if im == nil {
		return otherwise
	}
	return im
}

// checkTouched checks what a decision may have broken: everything when it
// touched a broker or a feature, else the partitions and configs it wrote.
func checkTouched(before, after *image.Image, records []record.Message) error {
	all := false
	topics := make(map[kafka.TopicID]bool)
	for _, m := range records {
		switch r := m.Record.(type) {
		case *record.PartitionRecord:
			topics[r.TopicID] = true
		case *record.PartitionChangeRecord:
			topics[r.TopicID] = true
		case *record.ConfigRecord:
			if err := checkStoredConfig(after, r); err != nil {
				return err
			}
		case *record.RegisterBrokerRecord, *record.BrokerRegistrationChangeRecord, *record.UnregisterBrokerRecord,
			*record.FenceBrokerRecord, *record.UnfenceBrokerRecord, *record.FeatureLevelRecord:
			all = true
		}
	}
	if err := checkBounds(after); err != nil {
		return err
	}
	if all {
		if err := checkBrokers(after); err != nil {
			return err
		}
		return checkInvariants(before, after)
	}
	for id := range topics {
		topic := after.Topic(id)
		if topic == nil {
			continue
		}
		for n, p := range topic.Partitions() {
			err := checkPartition(after, p)
			if err == nil && len(p.Replicas) == 0 {
				err = fmt.Errorf("there are no replicas")
			}
			if err != nil {
				return fmt.Errorf("%s-%d %s: %w", topic.Name, n, partitionText(p), err)
			}
		}
	}
	return nil
}

// checkBounds: names and ids lead to the same topics, and counts are right.
func checkBounds(im *image.Image) error {
	if im.PartitionCount() < 0 || im.TopicCount() > im.PartitionCount() {
		return fmt.Errorf("%d topics have %d partitions", im.TopicCount(), im.PartitionCount())
	}
	return nil
}

// checkBrokers: no directory belongs to two brokers, and no partition is in the
// ISR of a broker that is gone.
func checkBrokers(im *image.Image) error {
	owner := make(map[kafka.DirectoryID]kafka.BrokerID)
	for b := range im.Brokers() {
		for _, d := range b.Directories {
			if other, ok := owner[d]; ok {
				return fmt.Errorf("directory %s belongs to brokers %d and %d", d, other, b.ID)
			}
			owner[d] = b.ID
		}
	}
	return nil
}

// checkStoredConfig: what was just stored belongs to something that exists, and
// topics, groups and subscriptions only have keys and values that are known.
func checkStoredConfig(im *image.Image, r *record.ConfigRecord) error {
	resource := image.Resource{Type: image.ResourceType(r.ResourceType), Name: r.ResourceName}
	if resource.Type == image.ResourceTopic && im.TopicByName(resource.Name) == nil {
		return fmt.Errorf("topic %s has configs but is not there", resource.Name)
	}
	if r.Value == nil || resource.Type == image.ResourceBroker {
		return nil
	}
	key, ok := config.Lookup(configScope(resource), r.Name)
	if !ok {
		return fmt.Errorf("%+v has the unknown key %s", resource, r.Name)
	}
	if _, err := key.Parse(*r.Value); err != nil {
		return fmt.Errorf("%+v: %w", resource, err)
	}
	return nil
}

// coverage counts answers by request and outcome.
type coverage map[string]*covered

type covered struct {
	decisions, refused int
	outcomes           map[string]int
}

func (c coverage) add(name string, codes []int16, records int) {
	row := c[name]
	if row == nil {
		row = &covered{outcomes: make(map[string]int)}
		c[name] = row
	}
	row.decisions++
	failed := 0
	for _, code := range codes {
		row.outcomes[errors.Code(code).String()]++
		if code != 0 {
			failed++
		}
	}
	if failed > 0 && failed == len(codes) {
		row.refused++
	}
	if records > 0 {
		row.outcomes["(writes)"]++
	}
}

func (c coverage) table() string {
	var b strings.Builder
	for _, r := range requests {
		row := c[r.name]
		if row == nil {
			continue
		}
		fmt.Fprintf(&b, "%-28s %7d, %d refused:", r.name, row.decisions, row.refused)
		outcomes := sortedKeys(row.outcomes)
		slices.SortStableFunc(outcomes, func(x, y string) int { return -cmp.Compare(row.outcomes[x], row.outcomes[y]) })
		for _, o := range outcomes {
			fmt.Fprintf(&b, " %s %d", o, row.outcomes[o])
		}
		b.WriteString("\n")
	}
	return b.String()
}

// check wants every request to be drawn and to write now and then, and fewer
// than half of all decisions to be refusals.
func (c coverage) check(t *testing.T, total int) {
	refused := 0
	for _, r := range requests {
		row := c[r.name]
		if row == nil {
			t.Errorf("%s was never drawn", r.name)
			continue
		}
		refused += row.refused
		reads := strings.HasPrefix(r.name, "Describe") || strings.HasPrefix(r.name, "List")
		if !reads && row.outcomes["(writes)"] == 0 {
			t.Errorf("%s never wrote a record", r.name)
		}
		if reads && row.outcomes["(writes)"] > 0 {
			t.Errorf("%s wrote records", r.name)
		}
	}
	if 2*refused >= total {
		t.Errorf("%d of %d decisions were refusals", refused, total)
	}
	t.Logf("%d decisions, %d refused", total, refused)
}

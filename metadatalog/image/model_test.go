package image

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
)

// model is the fold once more, without any thought of cost: maps that are
// written to in place. Its text form is compared with that of images.
type model struct {
	features map[string]int16
	brokers  map[kafka.BrokerID]Broker
	control  map[kafka.NodeID]Controller
	names    map[string]kafka.TopicID
	parts    map[kafka.TopicID]map[kafka.PartitionID]Partition
	configs  map[Resource]map[string]string
	quotas   map[string]map[string]float64
	acls     map[kafka.UUID]ACL
	scram    map[string]int32
	tokens   map[string]int64
	zk       int8
	next     kafka.ProducerID
	claimed  bool
}

func newModel() *model {
	return &model{
		features: map[string]int16{}, brokers: map[kafka.BrokerID]Broker{}, control: map[kafka.NodeID]Controller{},
		names: map[string]kafka.TopicID{}, parts: map[kafka.TopicID]map[kafka.PartitionID]Partition{},
		configs: map[Resource]map[string]string{}, quotas: map[string]map[string]float64{},
		acls: map[kafka.UUID]ACL{}, scram: map[string]int32{}, tokens: map[string]int64{},
	}
}

// replay reports whether the record fits; if not nothing has changed.
func (m *model) replay(rec record.Record) bool {
	switch r := rec.(type) {
	case *record.TopicRecord:
		if _, ok := m.names[r.Name]; ok || m.parts[r.TopicID] != nil {
			return false
		}
		m.names[r.Name], m.parts[r.TopicID] = r.TopicID, map[kafka.PartitionID]Partition{}
	case *record.RemoveTopicRecord:
		if m.parts[r.TopicID] == nil {
			return false
		}
		delete(m.parts, r.TopicID)
		for name, id := range m.names {
			if id == r.TopicID {
				delete(m.names, name)
				delete(m.configs, Resource{ResourceTopic, name})
			}
		}
	case *record.PartitionRecord:
		return m.partition(r)
	case *record.PartitionChangeRecord:
		return m.change(r)
	case *record.ClearElrRecord:
		id, ok := m.names[r.TopicName]
		if !ok && r.TopicName != "" {
			return false
		}
		for topic, parts := range m.parts {
			for n, p := range parts {
				if (r.TopicName == "" || topic == id) && len(p.ELR)+len(p.LastKnownELR) > 0 {
					p.ELR, p.LastKnownELR = nil, nil
					p.PartitionEpoch++
					parts[n] = p
				}
			}
		}
	default:
		return m.rest(rec)
	}
	return true
}

func (m *model) partition(r *record.PartitionRecord) bool {
	if m.parts[r.TopicID] == nil || r.PartitionID < 0 || len(r.Directories) > 0 && len(r.Directories) != len(r.Replicas) {
		return false
	}
	m.parts[r.TopicID][r.PartitionID] = Partition{Replicas: r.Replicas, Directories: r.Directories, ISR: r.ISR,
		ELR: r.EligibleLeaderReplicas, LastKnownELR: r.LastKnownELR, Adding: r.AddingReplicas, Removing: r.RemovingReplicas,
		Leader: r.Leader, LeaderEpoch: r.LeaderEpoch, PartitionEpoch: r.PartitionEpoch, Recovery: RecoveryState(r.LeaderRecoveryState)}
	return true
}

func (m *model) change(r *record.PartitionChangeRecord) bool {
	p, ok := m.parts[r.TopicID][r.PartitionID]
	if !ok {
		return false
	}
	if r.ISR != nil {
		p.ISR = r.ISR
	}
	if r.Replicas != nil {
		p.Replicas = r.Replicas
	}
	if r.Directories != nil {
		p.Directories = r.Directories
	}
	if r.EligibleLeaderReplicas != nil {
		p.ELR = r.EligibleLeaderReplicas
	}
	if r.LastKnownELR != nil {
		p.LastKnownELR = r.LastKnownELR
	}
	if r.AddingReplicas != nil {
		p.Adding = r.AddingReplicas
	}
	if r.RemovingReplicas != nil {
		p.Removing = r.RemovingReplicas
	}
	if r.Leader != -2 {
		p.Leader, p.LeaderEpoch = r.Leader, p.LeaderEpoch+1
	}
	if r.LeaderRecoveryState != -1 {
		p.Recovery = RecoveryState(r.LeaderRecoveryState)
	}
	p.PartitionEpoch++
	if len(migratingIsNone(p.Directories)) > 0 && len(p.Directories) != len(p.Replicas) {
		return false
	}
	m.parts[r.TopicID][r.PartitionID] = p
	return true
}

func (m *model) rest(rec record.Record) bool {
	switch r := rec.(type) {
	case *record.RegisterBrokerRecord:
		m.brokers[r.BrokerID] = Broker{ID: r.BrokerID, Epoch: r.BrokerEpoch, Fenced: r.Fenced, InControlledShutdown: r.InControlledShutdown,
			Directories: r.LogDirs, CordonedDirectories: r.CordonedLogDirs, Rack: r.Rack}
	case *record.UnregisterBrokerRecord:
		if b, ok := m.brokers[r.BrokerID]; !ok || b.Epoch != r.BrokerEpoch {
			return false
		}
		delete(m.brokers, r.BrokerID)
	case *record.BrokerRegistrationChangeRecord:
		b, ok := m.brokers[r.BrokerID]
		if !ok || b.Epoch != r.BrokerEpoch {
			return false
		}
		b.Fenced = r.Fenced == 1 || b.Fenced && r.Fenced != -1
		b.InControlledShutdown = b.InControlledShutdown || r.InControlledShutdown == 1
		if len(r.LogDirs) > 0 {
			b.Directories = r.LogDirs
		}
		if r.CordonedLogDirs != nil {
			b.CordonedDirectories = r.CordonedLogDirs
		}
		m.brokers[r.BrokerID] = b
	case *record.FenceBrokerRecord:
		b, ok := m.brokers[r.ID]
		if !ok || b.Epoch != r.Epoch {
			return false
		}
		b.Fenced = true
		m.brokers[r.ID] = b
	case *record.UnfenceBrokerRecord:
		b, ok := m.brokers[r.ID]
		if !ok || b.Epoch != r.Epoch {
			return false
		}
		b.Fenced = false
		m.brokers[r.ID] = b
	case *record.RegisterControllerRecord:
		m.control[r.ControllerID] = Controller{IncarnationID: r.IncarnationID}
	case *record.FeatureLevelRecord:
		if r.FeatureLevel < 0 || r.Name == FeatureMetadataVersion && (r.FeatureLevel == 0 || r.FeatureLevel > 30) {
			return false
		}
		m.features[r.Name] = r.FeatureLevel
		if r.FeatureLevel == 0 || r.Name == FeatureKRaftVersion {
			delete(m.features, r.Name)
		}
	case *record.ZkMigrationStateRecord:
		m.zk = r.ZkMigrationState
	case *record.ProducerIDsRecord:
		if m.claimed && r.NextProducerID <= m.next {
			return false
		}
		m.next, m.claimed = r.NextProducerID, true
	default:
		return m.access(rec)
	}
	return true
}

func (m *model) access(rec record.Record) bool {
	switch r := rec.(type) {
	case *record.ConfigRecord:
		key := Resource{ResourceType(r.ResourceType), r.ResourceName}
		if m.configs[key] == nil {
			m.configs[key] = map[string]string{}
		}
		if r.Value != nil {
			m.configs[key][r.Name] = *r.Value
		} else {
			delete(m.configs[key], r.Name)
		}
		if len(m.configs[key]) == 0 {
			delete(m.configs, key)
		}
	case *record.ClientQuotaRecord:
		key := entityText(r.Entity)
		if m.quotas[key] == nil {
			m.quotas[key] = map[string]float64{}
		}
		m.quotas[key][r.Key] = r.Value
		if r.Remove {
			delete(m.quotas[key], r.Key)
		}
		if len(m.quotas[key]) == 0 {
			delete(m.quotas, key)
		}
	case *record.AccessControlEntryRecord:
		if _, ok := m.acls[r.ID]; ok {
			return false
		}
		m.acls[r.ID] = ACL{ID: r.ID, ResourceName: r.ResourceName}
	case *record.RemoveAccessControlEntryRecord:
		if _, ok := m.acls[r.ID]; !ok {
			return false
		}
		delete(m.acls, r.ID)
	case *record.UserScramCredentialRecord:
		m.scram[fmt.Sprint(r.Mechanism, r.Name)] = r.Iterations
	case *record.RemoveUserScramCredentialRecord:
		if _, ok := m.scram[fmt.Sprint(r.Mechanism, r.Name)]; !ok {
			return false
		}
		delete(m.scram, fmt.Sprint(r.Mechanism, r.Name))
	case *record.DelegationTokenRecord:
		m.tokens[r.TokenID] = r.ExpirationTimestamp
	case *record.RemoveDelegationTokenRecord:
		delete(m.tokens, r.TokenID)
	case *record.NoOpRecord:
	default:
		return false
	}
	return true
}

func entityText(parts []record.QuotaEntity) string {
	var words []string
	for _, p := range parts {
		name := "(default)"
		if p.EntityName != nil {
			name = *p.EntityName
		}
		words = append(words, p.EntityType+"="+name)
	}
	sort.Strings(words)
	return strings.Join(words, ",")
}

// migratingIsNone gives nil for directories that say nothing.
func migratingIsNone(dirs []kafka.DirectoryID) []kafka.DirectoryID {
	for _, d := range dirs {
		if !d.IsZero() {
			return dirs
		}
	}
	return nil
}

// text is one line per fact, sorted.
func (m *model) text() string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for name, level := range m.features {
		add("feature %s %d", name, level)
	}
	for id, b := range m.brokers {
		add("broker %d %s", id, brokerText(&b))
	}
	for id, c := range m.control {
		add("controller %d %s", id, c.IncarnationID)
	}
	for name, id := range m.names {
		add("topic %s %s %d", name, id, len(m.parts[id]))
		for n, p := range m.parts[id] {
			add("partition %s-%d %s", name, n, partitionText(&p))
		}
	}
	for r, values := range m.configs {
		for k, v := range values {
			add("config %d %s %s=%s", r.Type, r.Name, k, v)
		}
	}
	for e, values := range m.quotas {
		for k, v := range values {
			add("quota %s %s=%g", e, k, v)
		}
	}
	for id, a := range m.acls {
		add("acl %s %s", id, a.ResourceName)
	}
	for k, n := range m.scram {
		add("scram %s %d", k, n)
	}
	for id, at := range m.tokens {
		add("token %s %d", id, at)
	}
	add("producer %d, zk %d", m.next, m.zk)
	sort.Strings(out)
	return strings.Join(out, "\n")
}

func brokerText(b *Broker) string {
	rack := "-"
	if b.Rack != nil {
		rack = *b.Rack
	}
	dirs, cordoned := slices.Clone(b.Directories), slices.Clone(b.CordonedDirectories)
	slices.SortFunc(dirs, kafka.UUID.Compare)
	slices.SortFunc(cordoned, kafka.UUID.Compare)
	return fmt.Sprintf("epoch %d fenced %t shutdown %t rack %s dirs %v cordoned %v %t", b.Epoch, b.Fenced, b.InControlledShutdown,
		rack, dirs, cordoned, b.CordonedDirectories == nil)
}

func partitionText(p *Partition) string {
	return fmt.Sprintf("%v %v isr %v elr %v %v +%v -%v leader %d %d %d recovery %d", p.Replicas, migratingIsNone(p.Directories), p.ISR,
		p.ELR, p.LastKnownELR, p.Adding, p.Removing, p.Leader, p.LeaderEpoch, p.PartitionEpoch, p.Recovery)
}

// imageText says the same of an image, through its readers.
func imageText(im *Image) string {
	m := newModel()
	m.features = im.Features()
	for b := range im.Brokers() {
		m.brokers[b.ID] = *im.Broker(b.ID)
	}
	for c := range im.Controllers() {
		m.control[c.ID] = *im.Controller(c.ID)
	}
	total := 0
	for t := range im.TopicsByName("") {
		m.names[t.Name] = im.TopicByName(t.Name).ID
		m.parts[t.ID] = map[kafka.PartitionID]Partition{}
		for n := range t.Partitions() {
			m.parts[t.ID][n] = *im.Partition(t.ID, n)
		}
		if len(m.parts[t.ID]) != t.PartitionCount() {
			return "wrong count of partitions of " + t.Name
		}
		total += t.PartitionCount()
	}
	if im.PartitionCount() != total || im.TopicCount() != len(m.parts) || im.BrokerCount() != len(m.brokers) {
		return "wrong counts"
	}
	for c := range im.Configs() {
		m.configs[c.Resource] = im.Config(c.Resource).Values()
	}
	for q := range im.ClientQuotas() {
		m.quotas[entityText(q.Entity.parts())] = maps.Clone(im.ClientQuota(q.Entity).Values())
	}
	for a := range im.ACLs() {
		m.acls[a.ID] = *im.ACL(a.ID)
	}
	for c := range im.ScramCredentials() {
		m.scram[fmt.Sprint(int8(c.Mechanism), c.User)] = im.ScramCredential(c.User, c.Mechanism).Iterations
	}
	for t := range im.DelegationTokens() {
		m.tokens[t.TokenID] = im.DelegationToken(t.TokenID).ExpirationTimestamp
	}
	m.zk, m.next = im.ZkMigrationState(), im.ProducerIDs().Next
	return m.text()
}

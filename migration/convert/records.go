package convert

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/migration/znode"
)

// Options are what a conversion needs besides the znodes.
type Options struct {
	// MetadataVersion is the level at which the records are written. It must equal
	// the brokers' inter.broker.protocol.version.
	MetadataVersion image.MetadataVersion
	// Secret is the brokers' password.encoder.secret, "" if they have none. The
	// records hold passwords in clear text, as Apache's do.
	Secret string
	// NewID gives the id of each access control entry: ZooKeeper has none.
	NewID func() kafka.UUID
}

// Records is the copy of a migration: the records for everything in s, in the
// order of Apache's controllers (KRaftMigrationDriver.migrateZkMetadata): topics
// with their configuration and partitions, broker configs, quotas and SCRAM
// credentials, the producer ids, ACLs, delegation tokens. Inside a kind it is the
// order of s, and values are ordered by name, so that equal trees give equal
// records.
//
// The second result is what could not be converted, by path; the records are then
// incomplete and must not be written. What Decode could not read is not in it.
func Records(s *znode.Snapshot, o Options) ([]record.Message, []znode.Problem) {
	c := &converter{o: o}
	c.topics(s.Topics)
	c.brokerConfigs(s.BrokerConfigs)
	c.quotas(s)
	if s.ProducerIDs != nil {
		b := s.ProducerIDs.Value
		c.add(&record.ProducerIDsRecord{BrokerID: b.Broker, BrokerEpoch: kafka.NoBrokerEpoch, NextProducerID: b.End + 1})
	}
	c.acls(s.ACLs)
	c.tokens(s.Tokens)
	return c.out, c.problems
}

// converter collects records and problems.
type converter struct {
	o        Options
	out      []record.Message
	problems []znode.Problem
}

// add appends a record at version 0, which the copy has for all of them: a
// PartitionRecord without directories says that the brokers will name them.
func (c *converter) add(r record.Record) { c.out = append(c.out, record.Message{Record: r}) }

func (c *converter) fail(path string, err error) {
	c.problems = append(c.problems, znode.Problem{Path: path, Severity: znode.Blocking, Err: err})
}

// needs reports whether the log can hold what a metadata.version brought.
func (c *converter) needs(path, what string, level image.MetadataVersion) bool {
	if !c.o.MetadataVersion.Before(level) {
		return true
	}
	c.fail(path, fmt.Errorf("%s need metadata.version %v, the cluster is at %v: raise the brokers' inter.broker.protocol.version", what, level, c.o.MetadataVersion))
	return false
}

func (c *converter) topics(topics []znode.TopicNode) {
	for i := range topics {
		t := &topics[i]
		c.add(&record.TopicRecord{Name: t.Name, TopicID: t.ID})
		for _, key := range sortedKeys(t.Config) {
			c.config(image.ResourceTopic, t.Name, key, t.Config[key])
		}
		for _, id := range t.IDs() {
			if state, ok := t.States[id]; ok {
				c.partition(t, id, state)
			}
		}
	}
}

func (c *converter) partition(t *znode.TopicNode, id kafka.PartitionID, s znode.State) {
	a := t.Partitions[id]
	c.add(&record.PartitionRecord{
		PartitionID: id, TopicID: t.ID,
		Replicas: a.Replicas, ISR: s.ISR, AddingReplicas: a.Adding, RemovingReplicas: a.Removing,
		Leader: s.Leader, LeaderEpoch: s.LeaderEpoch, PartitionEpoch: s.Epoch, LeaderRecoveryState: s.RecoveryState,
	})
}

func (c *converter) config(kind image.ResourceType, name, key, value string) {
	c.add(&record.ConfigRecord{ResourceType: int8(kind), ResourceName: name, Name: key, Value: &value})
}

func (c *converter) brokerConfigs(nodes []znode.ConfigNode) {
	for _, n := range nodes {
		for _, key := range sortedKeys(n.Config) {
			value := n.Config[key]
			if IsPassword(key) {
				var err error
				if value, err = DecodePassword(c.o.Secret, value); err != nil {
					c.fail(n.Path, fmt.Errorf("%s: %w", key, err))
					continue
				}
			}
			c.config(image.ResourceBroker, n.Name, key, value)
		}
	}
}

// The parts of an entity, as ClientQuotaRecord names them.
const (
	entityUser   = "user"
	entityClient = "client-id"
	entityIP     = "ip"
)

// quotas converts users, clients, clients of users and addresses, in this order.
func (c *converter) quotas(s *znode.Snapshot) {
	for _, n := range s.Users {
		c.scram(n)
		c.entity(n, part(entityUser, n.Name))
	}
	for _, n := range s.Clients {
		c.entity(n, part(entityClient, n.Name))
	}
	for _, n := range s.UserClients {
		c.entity(n, part(entityUser, n.Name), part(entityClient, n.Client))
	}
	for _, n := range s.IPs {
		c.entity(n, part(entityIP, n.Name))
	}
}

// part is one part of an entity; the default has no name.
func part(kind, name string) record.QuotaEntity {
	if name == "" {
		return record.QuotaEntity{EntityType: kind}
	}
	return record.QuotaEntity{EntityType: kind, EntityName: &name}
}

var scramNames = map[image.ScramMechanism]string{image.ScramSHA256: znode.ScramSHA256, image.ScramSHA512: znode.ScramSHA512}

// scram converts the credentials of a user.
func (c *converter) scram(n znode.ConfigNode) {
	for _, mechanism := range []image.ScramMechanism{image.ScramSHA256, image.ScramSHA512} {
		text, ok := n.Config[scramNames[mechanism]]
		if !ok || !c.needs(n.Path, "SCRAM credentials", image.MV35IV2) {
			continue
		}
		s, err := znode.DecodeScram(text)
		if err == nil && n.Name == "" {
			err = errors.New("the default user has a SCRAM credential, which nobody could log in with")
		}
		if err != nil {
			c.fail(n.Path, err)
			continue
		}
		c.add(&record.UserScramCredentialRecord{
			Name: n.Name, Mechanism: int8(mechanism), Salt: s.Salt, StoredKey: s.StoredKey, ServerKey: s.ServerKey, Iterations: s.Iterations,
		})
	}
}

// entity converts the quotas of one entity.
func (c *converter) entity(n znode.ConfigNode, parts ...record.QuotaEntity) {
	for _, key := range sortedKeys(n.Config) {
		if parts[0].EntityType == entityUser && len(parts) == 1 && (key == znode.ScramSHA256 || key == znode.ScramSHA512) {
			continue
		}
		value, err := parseQuota(n.Config[key])
		if err != nil {
			c.fail(n.Path, fmt.Errorf("%s: %w", key, err))
			continue
		}
		c.add(&record.ClientQuotaRecord{Entity: parts, Key: key, Value: value})
	}
}

// parseQuota reads a quota, which ZooKeeper has as text.
func parseQuota(text string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%.40q is no number, which a quota is", text)
	}
	return v, nil
}

func (c *converter) acls(resources []znode.ACLs) {
	for _, a := range resources {
		for _, e := range a.Entries {
			c.add(&record.AccessControlEntryRecord{
				ID: c.o.NewID(), ResourceType: int8(a.Type), ResourceName: a.Name, PatternType: int8(a.Pattern),
				Principal: e.Principal, Host: e.Host, Operation: e.Operation, PermissionType: e.Permission,
			})
		}
	}
}

func (c *converter) tokens(tokens []znode.Token) {
	for _, t := range tokens {
		if !c.needs(znode.TokensPath+"/"+t.ID, "delegation tokens", image.MV36IV2) {
			continue
		}
		c.add(&record.DelegationTokenRecord{
			Owner: t.Owner, Requester: t.Requester, Renewers: t.Renewers, TokenID: t.ID,
			IssueTimestamp: t.Issued, MaxTimestamp: t.Max, ExpirationTimestamp: t.Expires,
		})
	}
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

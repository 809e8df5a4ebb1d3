package admin

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

// What the leaves of the tree say. Names are those of Kafka's records.

func endpointsJSON(endpoints []image.Endpoint) []map[string]any {
	out := []map[string]any{}
	for _, e := range endpoints {
		out = append(out, map[string]any{"name": e.Name, "host": e.Host, "port": e.Port, "securityProtocol": e.SecurityProtocol})
	}
	return out
}

func featuresJSON(ranges []image.FeatureRange) map[string]string {
	out := map[string]string{}
	for _, r := range ranges {
		out[r.Name] = fmt.Sprintf("%d-%d", r.MinSupportedVersion, r.MaxSupportedVersion)
	}
	return out
}

func brokerJSON(b *image.Broker) any {
	return struct {
		Epoch       kafka.BrokerEpoch   `json:"epoch"`
		Incarnation string              `json:"incarnationId"`
		Fenced      bool                `json:"fenced"`
		Shutdown    bool                `json:"inControlledShutdown"`
		Rack        *string             `json:"rack"`
		Endpoints   []map[string]any    `json:"endPoints"`
		Features    map[string]string   `json:"features"`
		Directories []kafka.DirectoryID `json:"logDirs"`
	}{b.Epoch, b.IncarnationID.String(), b.Fenced, b.InControlledShutdown, b.Rack, endpointsJSON(b.Endpoints), featuresJSON(b.Features), b.Directories}
}

func controllerJSON(c *image.Controller) any {
	return struct {
		Incarnation string            `json:"incarnationId"`
		Endpoints   []map[string]any  `json:"endPoints"`
		Features    map[string]string `json:"features"`
	}{c.IncarnationID.String(), endpointsJSON(c.Endpoints), featuresJSON(c.Features)}
}

func features(im *image.Image) iter.Seq[Node] {
	levels := im.Features()
	return each(slices.Values(slices.Sorted(maps.Keys(levels))), func(name string) Node {
		if name == image.FeatureMetadataVersion {
			return leaf(name, fmt.Sprintf("%d (%s)", levels[name], im.MetadataVersion()))
		}
		return leaf(name, levels[name])
	})
}

// topicNode is a topic: its id and a leaf for each partition.
func topicNode(t *image.Topic) Node {
	return directory(t.Name, func(yield func(Node) bool) {
		if !yield(leaf("id", t.ID.String())) {
			return
		}
		for id, p := range t.Partitions() {
			if !yield(leaf(fmt.Sprint(id), partitionJSON(p))) {
				return
			}
		}
	})
}

func partitionJSON(p *image.Partition) any {
	return struct {
		Replicas     []kafka.BrokerID     `json:"replicas"`
		ISR          []kafka.BrokerID     `json:"isr"`
		ELR          []kafka.BrokerID     `json:"eligibleLeaderReplicas,omitempty"`
		LastKnownELR []kafka.BrokerID     `json:"lastKnownElr,omitempty"`
		Adding       []kafka.BrokerID     `json:"addingReplicas,omitempty"`
		Removing     []kafka.BrokerID     `json:"removingReplicas,omitempty"`
		Directories  []kafka.DirectoryID  `json:"directories,omitempty"`
		Leader       kafka.BrokerID       `json:"leader"`
		LeaderEpoch  kafka.LeaderEpoch    `json:"leaderEpoch"`
		Epoch        kafka.PartitionEpoch `json:"partitionEpoch"`
		Recovery     image.RecoveryState  `json:"leaderRecoveryState"`
	}{p.Replicas, append([]kafka.BrokerID{}, p.ISR...), p.ELR, p.LastKnownELR, p.Adding, p.Removing, p.Directories, p.Leader, p.LeaderEpoch, p.PartitionEpoch, p.Recovery}
}

// configTypes groups the configurations, which come ordered by type and name.
func configTypes(im *image.Image) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		last := image.ResourceType(-1)
		for c := range im.Configs() {
			kind := c.Resource.Type
			if kind == last {
				continue
			}
			last = kind
			if !yield(directory(kind.Name(), configsOf(im, kind))) {
				return
			}
		}
	}
}

func configsOf(im *image.Image, kind image.ResourceType) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for c := range im.Configs() {
			if c.Resource.Type == kind && !yield(configNode(c)) {
				return
			}
		}
	}
}

func configNode(c *image.ResourceConfig) Node {
	name := c.Resource.Name
	if name == "" {
		name = "<default>"
	}
	return directory(name, each(slices.Values(c.Keys()), func(key string) Node {
		value, _ := c.Get(key)
		if secretConfig(c.Resource.Type, key) {
			value = record.Redacted
		}
		return leaf(key, value)
	}))
}

func quotaNode(q *image.ClientQuota) Node {
	name := ""
	for _, part := range []struct {
		kind string
		name image.QuotaName
	}{{"user", q.Entity.User}, {"client-id", q.Entity.ClientID}, {"ip", q.Entity.IP}} {
		switch {
		case !part.name.Set:
			continue
		case name != "":
			name += ","
		}
		if part.name.Default {
			name += part.kind + "=<default>"
		} else {
			name += part.kind + "=" + part.name.Name
		}
	}
	return directory(name, each(slices.Values(q.Keys()), func(key string) Node {
		value, _ := q.Get(key)
		return leaf(key, value)
	}))
}

func aclJSON(a *image.ACL) any {
	return struct {
		ResourceType int8   `json:"resourceType"`
		ResourceName string `json:"resourceName"`
		PatternType  int8   `json:"patternType"`
		Principal    string `json:"principal"`
		Host         string `json:"host"`
		Operation    int8   `json:"operation"`
		Permission   int8   `json:"permissionType"`
	}{a.ResourceType, a.ResourceName, a.PatternType, a.Principal, a.Host, a.Operation, a.PermissionType}
}

func scramNode(c *image.ScramCredential) Node {
	mechanism := map[image.ScramMechanism]string{image.ScramSHA256: "SCRAM-SHA-256", image.ScramSHA512: "SCRAM-SHA-512"}[c.Mechanism]
	return leaf(mechanism+":"+c.User, struct {
		Iterations int32  `json:"iterations"`
		Keys       string `json:"keys"`
	}{c.Iterations, record.Redacted})
}

// tokenNode hides the token's id: its HMAC is computed from that.
func tokenNode(t *image.DelegationToken) Node {
	return leaf(record.Redacted, struct {
		Owner     string   `json:"owner"`
		Requester string   `json:"requester"`
		Renewers  []string `json:"renewers"`
		Issued    int64    `json:"issueTimestamp"`
		Max       int64    `json:"maxTimestamp"`
		Expires   int64    `json:"expirationTimestamp"`
	}{t.Owner, t.Requester, t.Renewers, t.IssueTimestamp, t.MaxTimestamp, t.ExpirationTimestamp})
}

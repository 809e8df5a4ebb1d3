package convert

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/migration/znode"
)

// Node is what an image asks of one znode.
type Node struct {
	Path string
	// Data is what the node shall hold; nil for a node that only carries others.
	Data []byte
	// Gone says that the node shall not exist.
	Gone bool
	// Version is the version that the node must have reached at least. It is the
	// partition epoch for the state of a partition, because after a rollback the
	// version is the partition epoch again and must never be below one that brokers
	// have seen; 0 for all others.
	Version int32
	// always says that the node is made even where it says nothing.
	always bool
	// same reports whether data that is there means the same as Data, so that a node
	// is not written again for another spelling.
	same func(data []byte) bool
}

// WriteOptions are what writing needs besides an image.
type WriteOptions struct {
	// ControllerEpoch goes into the state of partitions: the KRaft epoch of the
	// controller that writes.
	ControllerEpoch kafka.LeaderEpoch
	// Secret is the brokers' password.encoder.secret; Random gives fresh bytes for the
	// salt and initialization vector of each password.
	Secret string
	Random func() [saltBytes + 16]byte
}

// Wanted are the nodes that an image asks for, and what of it has no place in
// ZooKeeper or cannot be written.
type Wanted struct {
	Nodes    []Node // parents before children, and what shall be gone children first
	Problems []znode.Problem
}

// All are the nodes for everything in an image.
func All(im *image.Image, o WriteOptions) Wanted {
	w := &wanter{im: im, o: o}
	for t := range im.TopicsByName("") {
		w.topic(t)
		w.config(image.Resource{Type: image.ResourceTopic, Name: t.Name})
		for id, p := range t.Partitions() {
			w.partition(t.Name, id, p)
		}
	}
	for c := range im.Configs() {
		if c.Resource.Type != image.ResourceTopic {
			w.config(c.Resource)
		}
	}
	for c := range im.ScramCredentials() {
		w.entity(userEntity(c.User))
	}
	for q := range im.ClientQuotas() {
		w.entity(q.Entity)
	}
	w.producerIDs()
	acls := map[resource]bool{}
	for a := range im.ACLs() {
		acls[resourceOf(a)] = true
	}
	w.acls(acls)
	for t := range im.DelegationTokens() {
		w.token(t)
	}
	return w.out
}

// Changed are the nodes that may be different after changes.
func Changed(c *image.Changes, o WriteOptions) Wanted {
	w := &wanter{im: c.New, o: o}
	for t := range c.Topics() {
		w.topicChange(t)
	}
	for ch := range c.Configs() {
		w.config(ch.Either().Resource)
	}
	for ch := range c.ScramCredentials() {
		w.entity(userEntity(ch.Either().User))
	}
	for ch := range c.ClientQuotas() {
		w.entity(ch.Either().Entity)
	}
	if c.ProducerIDs() {
		w.producerIDs()
	}
	acls := map[resource]bool{}
	for ch := range c.ACLs() {
		for _, a := range []*image.ACL{ch.Old, ch.New} {
			if a != nil {
				acls[resourceOf(a)] = true
			}
		}
	}
	w.acls(acls)
	for ch := range c.DelegationTokens() {
		if ch.New == nil {
			w.gone(znode.TokensPath + "/" + ch.Old.TokenID)
		} else {
			w.token(ch.New)
		}
	}
	return w.out
}

func userEntity(user string) image.QuotaEntity {
	return image.QuotaEntity{User: image.QuotaName{Set: true, Name: user}}
}

// wanter collects nodes.
type wanter struct {
	im   *image.Image
	o    WriteOptions
	out  Wanted
	done map[string]bool // the entities that are in out already
}

func (w *wanter) want(n Node) { w.out.Nodes = append(w.out.Nodes, n) }

func (w *wanter) gone(path string) { w.want(Node{Path: path, Gone: true}) }

func (w *wanter) problem(path string, severity znode.Severity, err error) {
	w.out.Problems = append(w.out.Problems, znode.Problem{Path: path, Severity: severity, Err: err})
}

// topicChange is a topic that was made, changed or deleted. One that was deleted
// and made again under its name keeps its nodes: they get another id.
func (w *wanter) topicChange(t image.TopicChange) {
	switch {
	case t.New != nil:
		w.topic(t.New)
		if t.Old == nil {
			w.config(image.Resource{Type: image.ResourceTopic, Name: t.New.Name})
		}
		for p := range t.Partitions() {
			if p.New != nil {
				w.partition(t.New.Name, p.ID, p.New)
			} else {
				w.gone(znode.StatePath(t.New.Name, p.ID))
				w.gone(znode.PartitionPath(t.New.Name, p.ID))
			}
		}
	case w.im.TopicByName(t.Old.Name) == nil:
		for id := range t.Old.Partitions() {
			w.gone(znode.StatePath(t.Old.Name, id))
			w.gone(znode.PartitionPath(t.Old.Name, id))
		}
		w.gone(znode.PartitionsPath(t.Old.Name))
		w.gone(znode.TopicConfigPath(t.Old.Name))
		w.gone(znode.TopicPath(t.Old.Name))
	default:
		again := w.im.TopicByName(t.Old.Name)
		for id := range t.Old.Partitions() {
			if again.Partition(id) == nil {
				w.gone(znode.StatePath(t.Old.Name, id))
				w.gone(znode.PartitionPath(t.Old.Name, id))
			}
		}
	}
}

// topic is the node of a topic, and the parent of its partitions.
func (w *wanter) topic(t *image.Topic) {
	node := znode.Topic{Name: t.Name, ID: t.ID, Partitions: map[kafka.PartitionID]znode.Assignment{}}
	for id, p := range t.Partitions() {
		node.Partitions[id] = znode.Assignment{Replicas: p.Replicas, Adding: p.Adding, Removing: p.Removing}
	}
	w.want(Node{Path: znode.TopicPath(t.Name), Data: node.Encode(), same: func(data []byte) bool {
		have, err := znode.DecodeTopic(t.Name, data)
		return err == nil && sameTopic(&have, &node)
	}})
	w.want(Node{Path: znode.PartitionsPath(t.Name)})
}

func sameTopic(a, b *znode.Topic) bool {
	if a.ID != b.ID || len(a.Partitions) != len(b.Partitions) {
		return false
	}
	for id, x := range a.Partitions {
		y, ok := b.Partitions[id]
		if !ok || !slices.Equal(x.Replicas, y.Replicas) || !sameSet(x.Adding, y.Adding) || !sameSet(x.Removing, y.Removing) {
			return false
		}
	}
	return true
}

// sameSet compares lists of brokers, whatever their order.
func sameSet(a, b []kafka.BrokerID) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(id kafka.BrokerID) bool { return !slices.Contains(b, id) })
}

// partition is the node of a partition and its state. The controller's epoch alone
// is no reason to write a state again.
func (w *wanter) partition(topic string, id kafka.PartitionID, p *image.Partition) {
	w.want(Node{Path: znode.PartitionPath(topic, id)})
	s := znode.PartitionState{
		ControllerEpoch: w.o.ControllerEpoch, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, ISR: p.ISR, RecoveryState: int8(p.Recovery),
	}
	w.want(Node{Path: znode.StatePath(topic, id), Data: s.Encode(), Version: int32(p.PartitionEpoch), same: func(data []byte) bool {
		have, err := znode.DecodePartitionState(data)
		return err == nil && have.Leader == s.Leader && have.LeaderEpoch == s.LeaderEpoch && have.RecoveryState == s.RecoveryState && sameSet(have.ISR, s.ISR)
	}})
}

// config is the node of a topic's or broker's configuration. A topic always has
// one, a broker only with something in it.
func (w *wanter) config(r image.Resource) {
	var values map[string]string
	if c := w.im.Config(r); c != nil {
		values = c.Values()
	}
	switch {
	case r.Type == image.ResourceTopic && w.im.TopicByName(r.Name) == nil:
		w.gone(znode.TopicConfigPath(r.Name))
	case r.Type == image.ResourceTopic:
		w.want(Node{Path: znode.TopicConfigPath(r.Name), Data: znode.EncodeConfig(values), always: true, same: sameConfig(values)})
	case r.Type == image.ResourceBroker:
		w.brokerConfig(znode.BrokerConfigsPath+"/"+znode.EntityNode(r.Name), values)
	case len(values) > 0:
		w.problem(fmt.Sprintf("/config (resource type %d)/%s", r.Type, r.Name), znode.Orphan, errors.New("ZooKeeper has no place for this configuration: it stays in the metadata log alone"))
	}
}

func sameConfig(want map[string]string) func([]byte) bool {
	return func(data []byte) bool {
		have, err := znode.DecodeConfig(data)
		return err == nil && len(have) == len(want) && (len(want) == 0 || reflect.DeepEqual(have, want))
	}
}

// brokerConfig is the node of a broker's configuration, with passwords encrypted.
func (w *wanter) brokerConfig(path string, values map[string]string) {
	if len(values) == 0 {
		w.gone(path)
		return
	}
	sealed := map[string]string{}
	for key, value := range values {
		if sealed[key] = value; !IsPassword(key) {
			continue
		}
		if w.o.Secret == "" {
			w.problem(path, znode.Blocking, fmt.Errorf("%s cannot be encrypted without password.encoder.secret", key))
			return
		}
		text, err := EncodePassword(w.o.Secret, value, w.o.Random())
		if err != nil {
			w.problem(path, znode.Blocking, fmt.Errorf("%s: %w", key, err))
			return
		}
		sealed[key] = text
	}
	secret := w.o.Secret
	w.want(Node{Path: path, Data: znode.EncodeConfig(sealed), same: func(data []byte) bool {
		have, err := znode.DecodeConfig(data)
		if err != nil || len(have) != len(values) {
			return false
		}
		for key, value := range have {
			if IsPassword(key) {
				value, err = DecodePassword(secret, value)
			}
			if want, ok := values[key]; !ok || err != nil || want != value {
				return false
			}
		}
		return true
	}})
}

// producerIDs is the block that ends where the next one begins. Apache writes the
// next block itself there, so that a rollback skips one; ours gives back what was
// read.
func (w *wanter) producerIDs() {
	const block = 1000 // ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE
	ids := w.im.ProducerIDs()
	if ids.Next <= 0 {
		return
	}
	b := znode.ProducerIDBlock{Broker: ids.BrokerID, Start: max(0, ids.Next-block), End: ids.Next - 1}
	w.want(Node{Path: znode.ProducerIDBlockPath, Data: b.Encode(), same: func(data []byte) bool {
		have, err := znode.DecodeProducerIDBlock(data)
		return err == nil && have != nil && have.End == b.End
	}})
}

// token is the node of a delegation token.
func (w *wanter) token(t *image.DelegationToken) {
	node := znode.Token{
		ID: t.TokenID, Owner: t.Owner, Requester: t.Requester, Renewers: t.Renewers,
		Issued: t.IssueTimestamp, Max: t.MaxTimestamp, Expires: t.ExpirationTimestamp,
	}
	w.want(Node{Path: znode.TokensPath + "/" + t.TokenID, Data: node.Encode(), same: func(data []byte) bool {
		have, err := znode.DecodeToken(data)
		renewers := slices.Equal(have.Renewers, node.Renewers)
		have.Renewers = node.Renewers
		return err == nil && renewers && reflect.DeepEqual(have, node)
	}})
}

package controller

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/describe"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// maxNewPartitions and maxNewReplicas bound what one request may create. Apache
// stops at 10,000 records an operation; with metadata transactions the log does
// not mind, but the records of a request are in memory at once (about 300 bytes
// for a partition of three replicas), and the loop decides nothing else
// meanwhile.
const (
	maxNewPartitions = 200_000
	maxNewReplicas   = 1_000_000
)

// CreateTopics decides CreateTopics (key 19, versions 2 to 7), as Apache's
// ControllerApis and ReplicationControlManager do together: all topics of the
// request succeed or fail one by one; the records of those that succeed are one
// atomic batch.
func CreateTopics(in Input, req *kmsg.CreateTopicsRequest) (Decision, *kmsg.CreateTopicsResponse) {
	c := topicCreation{in: in, res: req.ResponseKind().(*kmsg.CreateTopicsResponse)}
	allowed := in.Caller.may(opCreate, resourceCluster, clusterName)
	var refused []kmsg.CreateTopicsResponseTopic
	count := make(map[string]int, len(req.Topics))
	for i := range req.Topics {
		count[req.Topics[i].Topic]++
	}
	for i := range req.Topics {
		topic := &req.Topics[i]
		err := c.admit(topic.Topic, count, allowed)
		if err != nil {
			if count[topic.Topic] > 0 { // duplicates are reported once
				refused = append(refused, refusedTopic(topic.Topic, err))
				count[topic.Topic] = 0
			}
			continue
		}
		if count[topic.Topic] == 1 {
			c.create(topic)
		}
	}
	c.res.Topics = append(c.res.Topics, refused...)
	if req.ValidateOnly {
		return Decision{}, c.res
	}
	return Decision{Records: c.records, Atomic: true}, c.res
}

// topicCreation collects the outcome of one CreateTopics request.
type topicCreation struct {
	in       Input
	res      *kmsg.CreateTopicsResponse
	records  []record.Message
	replicas int // over all partitions created so far
	parts    int
	// defaults are the effective configs of a topic that has none of its own,
	// nil until the first one is created; the answers share them.
	defaults []kmsg.CreateTopicsResponseTopicConfig
}

// admit is what ControllerApis checks before the controller sees a topic.
func (c *topicCreation) admit(name string, count map[string]int, clusterWide bool) *errors.Error {
	switch {
	case count[name] != 1:
		return errors.New(errors.InvalidRequest, "Duplicate topic name.")
	case name == kafka.MetadataTopic:
		return errors.New(errors.InvalidRequest, "Creation of internal topic %s is prohibited.", kafka.MetadataTopic)
	case !clusterWide && !c.in.Caller.may(opCreate, resourceTopic, name):
		return errors.New(errors.TopicAuthorizationFailed, "Authorization failed.")
	}
	return nil
}

func refusedTopic(name string, err *errors.Error) kmsg.CreateTopicsResponseTopic {
	t := kmsg.NewCreateTopicsResponseTopic()
	t.Topic = name
	t.NumPartitions, t.ReplicationFactor = -1, -1
	t.Configs = []kmsg.CreateTopicsResponseTopicConfig{}
	t.ErrorCode, t.ErrorMessage = report(err)
	return t
}

func (c *topicCreation) create(req *kmsg.CreateTopicsRequestTopic) {
	done, err := c.decide(req)
	if err != nil {
		done = refusedTopic(req.Topic, err)
	}
	c.res.Topics = append(c.res.Topics, done)
}

// decide checks one topic in Apache's order (name, existence, configs,
// assignment) and adds its records.
func (c *topicCreation) decide(req *kmsg.CreateTopicsRequestTopic) (done kmsg.CreateTopicsResponseTopic, err *errors.Error) {
	if err := checkNewTopic(c.in.Image, req.Topic); err != nil {
		return done, err
	}
	values, err := creationConfigs(c.in, req)
	if err != nil {
		return done, err
	}
	assigned, err := c.assign(req)
	if err != nil {
		return done, err
	}
	if err := c.in.mutate(len(assigned)); err != nil {
		return done, err
	}
	for _, replicas := range assigned {
		c.replicas += len(replicas)
	}
	if c.parts += len(assigned); c.parts > maxNewPartitions || c.replicas > maxNewReplicas {
		return done, tooManyPartitions()
	}
	id := randomUUID(c.in.Rand)
	c.records = append(c.records, message(&record.TopicRecord{Name: req.Topic, TopicID: id}))
	c.addConfigs(req.Topic, values)
	c.records = appendNewPartitions(c.records, c.in.Image, id, 0, assigned)
	return c.createdTopic(req.Topic, id, assigned, values), nil
}

// addConfigs adds the records of a new topic's configs, between those of the
// topic and of its partitions as in Apache.
func (c *topicCreation) addConfigs(name string, values map[string]string) {
	resource := image.Resource{Type: image.ResourceTopic, Name: name}
	first := len(c.records)
	for _, key := range sortedKeys(values) {
		value := values[key]
		c.records = append(c.records, configRecord(resource, key, &value))
	}
	c.records = append(c.records, clearELR(c.in.Image, c.records[first:])...)
}

// checkNewTopic checks the name of a topic that is to be created. Topics of the
// same request do not collide with each other, as in Apache.
func checkNewTopic(im *image.Image, name string) *errors.Error {
	if im.TopicByName(name) != nil {
		return errors.New(errors.TopicAlreadyExists, "Topic '%s' already exists.", name)
	}
	if err := describe.TopicName(name); err != nil {
		return err
	}
	if other, ok := collidingTopic(im, name); ok {
		return errors.New(errors.InvalidTopicException,
			"Topic '%s' collides with existing topic: %s", name, other)
	}
	return nil
}

// creationConfigs are the configs of a new topic; the last of equal keys wins.
func creationConfigs(in Input, req *kmsg.CreateTopicsRequestTopic) (map[string]string, *errors.Error) {
	values := make(map[string]string, len(req.Configs))
	var nulls []string
	for _, kv := range req.Configs {
		if kv.Value == nil {
			nulls = append(nulls, kv.Name)
			continue
		}
		values[kv.Name] = *kv.Value
	}
	if len(nulls) > 0 {
		return nil, errors.New(errors.InvalidConfig,
			"Null value not supported for topic configs: %s", strings.Join(nulls, ","))
	}
	if len(values) == 0 {
		return values, nil
	}
	resource := image.Resource{Type: image.ResourceTopic, Name: req.Topic}
	for _, key := range sortedKeys(values) {
		value := values[key]
		if err := checkConfigWrite(in, resource, key, &value); err != nil {
			return nil, err
		}
	}
	return values, checkResourceConfig(in, resource, values, nil)
}

// assign finds the replicas of a new topic's partitions.
func (c *topicCreation) assign(req *kmsg.CreateTopicsRequestTopic) ([][]kafka.BrokerID, *errors.Error) {
	if len(req.ReplicaAssignment) > 0 {
		return manualAssignment(c.in.Image, req)
	}
	partitions, factor := int(req.NumPartitions), int(req.ReplicationFactor)
	switch {
	case factor < -1 || factor == 0:
		return nil, errors.New(errors.InvalidReplicationFactor,
			"Replication factor must be larger than 0, or -1 to use the default value.")
	case partitions < -1 || partitions == 0:
		return nil, errors.New(errors.InvalidPartitions,
			"Number of partitions was set to an invalid non-positive value.")
	}
	if partitions == -1 {
		partitions = int(c.in.Settings.NumPartitions)
	}
	if factor == -1 {
		factor = int(c.in.Settings.DefaultReplicationFactor)
	}
	usable := usableBrokers(c.in.Image)
	if partitions > maxNewPartitions || factor <= len(usable) && partitions*factor > maxNewReplicas {
		return nil, tooManyPartitions()
	}
	placed, err := placeReplicas(c.in.Rand, usable, partitions, factor)
	if err != nil {
		return nil, errors.New(err.Code, "Unable to replicate the partition %d time(s): %s", factor, err.Message)
	}
	return placed, nil
}

// tooManyPartitions is what Apache answers at its own limit
// (ReplicationControlManager, KAFKA-17870).
func tooManyPartitions() *errors.Error {
	return errors.New(errors.PolicyViolation, "Excessively large number of partitions per request.")
}

// manualAssignment is the assignment that the request itself gives.
func manualAssignment(im *image.Image, req *kmsg.CreateTopicsRequestTopic) ([][]kafka.BrokerID, *errors.Error) {
	switch {
	case req.ReplicationFactor != -1:
		return nil, errors.New(errors.InvalidRequest,
			"A manual partition assignment was specified, but replication factor was not set to -1.")
	case req.NumPartitions != -1:
		return nil, errors.New(errors.InvalidRequest,
			"A manual partition assignment was specified, but numPartitions was not set to -1.")
	}
	byPartition := make(map[int32][]kafka.BrokerID, len(req.ReplicaAssignment))
	factor := -1
	for _, a := range req.ReplicaAssignment {
		if _, ok := byPartition[a.Partition]; ok {
			return nil, errors.New(errors.InvalidReplicaAssignment,
				"Found multiple manual partition assignments for partition %d", a.Partition)
		}
		replicas, err := checkManualReplicas(im, a.Partition, a.Replicas, factor)
		if err != nil {
			return nil, err
		}
		factor = len(replicas)
		byPartition[a.Partition] = replicas
	}
	assigned := make([][]kafka.BrokerID, len(byPartition))
	for i := range assigned {
		replicas, ok := byPartition[int32(i)]
		if !ok {
			return nil, errors.New(errors.InvalidReplicaAssignment,
				"partitions should be a consecutive 0-based integer sequence")
		}
		assigned[i] = replicas
	}
	return assigned, nil
}

// checkManualReplicas checks a replica list that a user gave
// (validateManualPartitionAssignment); factor is the length that it must have,
// -1 if any will do. At least one of the brokers must be active.
func checkManualReplicas(im *image.Image, partition int32, ids []int32, factor int) ([]kafka.BrokerID, *errors.Error) {
	replicas, err := manualReplicas(im, ids, factor)
	if err != nil {
		return nil, err
	}
	for _, id := range replicas {
		if im.Broker(id).Active() {
			return replicas, nil
		}
	}
	return nil, errors.New(errors.InvalidReplicaAssignment,
		"All brokers specified in the manual partition assignment for partition %d are fenced or in controlled shutdown.", partition)
}

func manualReplicas(im *image.Image, ids []int32, factor int) ([]kafka.BrokerID, *errors.Error) {
	if len(ids) == 0 {
		return nil, errors.New(errors.InvalidReplicaAssignment,
			"The manual partition assignment includes an empty replica list.")
	}
	replicas := make([]kafka.BrokerID, len(ids))
	for i, id := range ids {
		replicas[i] = kafka.BrokerID(id)
	}
	sorted := slices.Sorted(slices.Values(replicas)) // so that the first error is Apache's
	for i, id := range sorted {
		if im.Broker(id) == nil {
			return nil, errors.New(errors.InvalidReplicaAssignment,
				"The manual partition assignment includes broker %d, but no such broker is registered.", id)
		}
		if i > 0 && sorted[i-1] == id {
			return nil, errors.New(errors.InvalidReplicaAssignment,
				"The manual partition assignment includes the broker %d more than once.", id)
		}
	}
	if factor >= 0 && len(replicas) != factor {
		return nil, errors.New(errors.InvalidReplicaAssignment,
			"The manual partition assignment includes a partition with %d replica(s), but this is not consistent "+
				"with previous partitions, which have %d replica(s).", len(replicas), factor)
	}
	return replicas, nil
}

// appendNewPartitions adds the records of new partitions, numbered from first.
// The ISR is every replica that is active, and the first of it leads; callers
// have made sure that there is one.
func appendNewPartitions(to []record.Message, im *image.Image, topic kafka.TopicID, first kafka.PartitionID, assigned [][]kafka.BrokerID) []record.Message {
	to = slices.Grow(to, len(assigned))
	version := im.MetadataVersion().PartitionVersion()
	brokers := make(map[kafka.BrokerID]newReplica)
	for i, replicas := range assigned {
		p := &record.PartitionRecord{PartitionID: first + kafka.PartitionID(i), TopicID: topic, Replicas: replicas}
		p.ISR = make([]kafka.BrokerID, 0, len(replicas))
		if version >= 1 {
			p.Directories = make([]kafka.DirectoryID, len(replicas))
		}
		for j, id := range replicas {
			b, ok := brokers[id]
			if !ok {
				b = newReplica{active: im.Broker(id).Active(), directory: defaultDirectory(im, id)}
				brokers[id] = b
			}
			if b.active {
				p.ISR = append(p.ISR, id)
			}
			if version >= 1 {
				p.Directories[j] = b.directory
			}
		}
		p.Leader = p.ISR[0]
		to = append(to, record.Message{Record: p, Version: version})
	}
	return to
}

// newReplica is what a new replica's record needs to know of its broker.
type newReplica struct {
	active    bool
	directory kafka.DirectoryID
}

// createdTopic is the answer for a topic that was created. Its partitions and
// configs are for those only who may describe its configs (KIP-525).
func (c *topicCreation) createdTopic(name string, id kafka.TopicID, assigned [][]kafka.BrokerID, values map[string]string) kmsg.CreateTopicsResponseTopic {
	t := kmsg.NewCreateTopicsResponseTopic()
	t.Topic, t.TopicID = name, id
	t.NumPartitions, t.ReplicationFactor = -1, -1
	t.Configs = []kmsg.CreateTopicsResponseTopicConfig{}
	if !c.in.Caller.may(opDescribeConfigs, resourceTopic, name) {
		t.ConfigErrorCode = int16(errors.TopicAuthorizationFailed)
		return t
	}
	t.NumPartitions = int32(len(assigned))
	t.ReplicationFactor = int16(len(assigned[0]))
	if c.res.Version >= 5 {
		t.Configs = c.effectiveConfigs(values)
	}
	return t
}

func (c *topicCreation) effectiveConfigs(values map[string]string) []kmsg.CreateTopicsResponseTopicConfig {
	if len(values) > 0 {
		return createdConfigs(c.in.layers(), values)
	}
	if c.defaults == nil {
		c.defaults = c.in.Memo.topicDefaults(c.in.layers())
	}
	return c.defaults
}

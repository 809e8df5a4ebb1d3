package controller

import (
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// newTopic asks for a topic with automatic assignment.
func newTopic(name string, partitions int32, factor int16, configs ...string) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, factor
	for i := 0; i+1 < len(configs); i += 2 {
		t.Configs = append(t.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: configs[i], Value: &configs[i+1]})
	}
	return t
}

// assignedTopic asks for a topic whose partitions, numbered from 0, have these
// replicas.
func assignedTopic(name string, replicas ...[]int32) kmsg.CreateTopicsRequestTopic {
	t := newTopic(name, -1, -1)
	for i, r := range replicas {
		t.ReplicaAssignment = append(t.ReplicaAssignment,
			kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(i), Replicas: r})
	}
	return t
}

func (c *cluster) createTopics(topics ...kmsg.CreateTopicsRequestTopic) (Decision, *kmsg.CreateTopicsResponse) {
	c.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.Topics = 7, topics
	d, res := CreateTopics(c.in, req)
	if !d.Atomic {
		c.t.Error("the records of CreateTopics are not atomic")
	}
	c.fold(d.Records...)
	return d, res
}

// mustCreate creates topics and returns the records.
func (c *cluster) mustCreate(topics ...kmsg.CreateTopicsRequestTopic) []record.Message {
	c.t.Helper()
	d, res := c.createTopics(topics...)
	for _, t := range res.Topics {
		wantError(c.t, t.Topic, t.ErrorCode, t.ErrorMessage, errors.None, "")
	}
	return d.Records
}

func TestCreateTopicsErrors(t *testing.T) {
	long := strings.Repeat("x", 250)
	again := assignedTopic("manual", []int32{1}, []int32{1})
	again.ReplicaAssignment[1].Partition = 0
	gap := assignedTopic("manual", []int32{1}, []int32{1})
	gap.ReplicaAssignment[1].Partition = 2
	mixed := assignedTopic("manual", []int32{1})
	mixed.ReplicationFactor = 1
	counted := assignedTopic("manual", []int32{1})
	counted.NumPartitions = 1
	null := newTopic("null", 1, 1)
	null.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms"}, {Name: "segment.ms"}}
	for _, tc := range []struct {
		topic kmsg.CreateTopicsRequestTopic
		code  errors.Code
		text  string
	}{
		{newTopic("", 1, 1), errors.InvalidTopicException, "Topic name is invalid: the empty string is not allowed"},
		{newTopic(".", 1, 1), errors.InvalidTopicException, "Topic name is invalid: '.' is not allowed"},
		{newTopic("..", 1, 1), errors.InvalidTopicException, "Topic name is invalid: '..' is not allowed"},
		{newTopic(long, 1, 1), errors.InvalidTopicException, "Topic name is invalid: the length of '" + long + "' is longer than the max allowed length 249"},
		{newTopic("a b", 1, 1), errors.InvalidTopicException, "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"},
		{newTopic("a.b_c", 1, 1), errors.TopicAlreadyExists, "Topic 'a.b_c' already exists."},
		{newTopic("a_b_c", 1, 1), errors.InvalidTopicException, "Topic 'a_b_c' collides with existing topic: a.b_c"},
		{newTopic("a_b.c", 1, 1), errors.InvalidTopicException, "Topic 'a_b.c' collides with existing topic: a.b_c"},
		{newTopic("__cluster_metadata", 1, 1), errors.InvalidRequest, "Creation of internal topic __cluster_metadata is prohibited."},
		{null, errors.InvalidConfig, "Null value not supported for topic configs: retention.ms,segment.ms"},
		{newTopic("c", 1, 1, "no.such.key", "1"), errors.InvalidConfig, "Unknown topic config name: no.such.key"},
		{newTopic("c", 1, 1, "retention.ms", "soon"), errors.InvalidConfig, "Invalid value soon for configuration retention.ms: Not a number of type LONG"},
		{newTopic("c", 1, 0), errors.InvalidReplicationFactor, "Replication factor must be larger than 0, or -1 to use the default value."},
		{newTopic("c", 1, -2), errors.InvalidReplicationFactor, "Replication factor must be larger than 0, or -1 to use the default value."},
		{newTopic("c", 0, 1), errors.InvalidPartitions, "Number of partitions was set to an invalid non-positive value."},
		{newTopic("c", 1, 9), errors.InvalidReplicationFactor, "Unable to replicate the partition 9 time(s): The target replication factor of 9 cannot be reached because only 4 broker(s) are registered or some brokers have all their log directories cordoned."},
		{newTopic("c", 200_001, 1), errors.PolicyViolation, "Excessively large number of partitions per request."},
		{newTopic("c", 2_147_483_647, 3), errors.PolicyViolation, "Excessively large number of partitions per request."},
		{mixed, errors.InvalidRequest, "A manual partition assignment was specified, but replication factor was not set to -1."},
		{counted, errors.InvalidRequest, "A manual partition assignment was specified, but numPartitions was not set to -1."},
		{again, errors.InvalidReplicaAssignment, "Found multiple manual partition assignments for partition 0"},
		{gap, errors.InvalidReplicaAssignment, "partitions should be a consecutive 0-based integer sequence"},
		{assignedTopic("m", []int32{}), errors.InvalidReplicaAssignment, "The manual partition assignment includes an empty replica list."},
		{assignedTopic("m", []int32{1, 99}), errors.InvalidReplicaAssignment, "The manual partition assignment includes broker 99, but no such broker is registered."},
		{assignedTopic("m", []int32{1, 2, 1}), errors.InvalidReplicaAssignment, "The manual partition assignment includes the broker 1 more than once."},
		{assignedTopic("m", []int32{1, 2}, []int32{1}), errors.InvalidReplicaAssignment, "The manual partition assignment includes a partition with 1 replica(s), but this is not consistent with previous partitions, which have 2 replica(s)."},
		{assignedTopic("m", []int32{4, 5}), errors.InvalidReplicaAssignment, "All brokers specified in the manual partition assignment for partition 0 are fenced or in controlled shutdown."},
	} {
		c := newCluster(t, image.MV43IV0, aBroker(1), aBroker(2), aBroker(3), aBroker(4, fenced), aBroker(5, shutting))
		c.mustCreate(newTopic("a.b_c", 1, 1))
		d, res := c.createTopics(tc.topic)
		got := res.Topics[0]
		wantError(t, tc.topic.Topic, got.ErrorCode, got.ErrorMessage, tc.code, tc.text)
		if len(d.Records) > 0 || got.NumPartitions != -1 || got.ReplicationFactor != -1 || len(res.Topics) != 1 {
			t.Errorf("%q: %d records, answer %+v", tc.topic.Topic, len(d.Records), res.Topics)
		}
	}
}

// One topic's error leaves the others alone, and a name that is there twice is
// answered once.
func TestCreateTopicsAreIndependent(t *testing.T) {
	c := newCluster(t, image.MV43IV0, someBrokers(3)...)
	d, res := c.createTopics(newTopic("a", 2, 3), newTopic("twice", 1, 1), newTopic("bad", 1, 5), newTopic("twice", 1, 1), newTopic("b", -1, -1))
	var names []string
	for _, topic := range res.Topics {
		names = append(names, topic.Topic)
	}
	if want := []string{"a", "bad", "b", "twice"}; !slices.Equal(names, want) {
		t.Fatalf("answers for %v, want %v", names, want)
	}
	wantError(t, "twice", res.Topics[3].ErrorCode, res.Topics[3].ErrorMessage, errors.InvalidRequest, "Duplicate topic name.")
	if len(recordsOf[*record.TopicRecord](d.Records)) != 2 || len(recordsOf[*record.PartitionRecord](d.Records)) != 3 {
		t.Errorf("records: %v", d.Records)
	}
	if a := res.Topics[0]; a.NumPartitions != 2 || a.ReplicationFactor != 3 || c.im.TopicByName("a").ID != a.TopicID {
		t.Errorf("a: %+v", a)
	}
}

// The records of a topic: topic, configs, ClearElr, partitions, at the versions
// of the metadata.version (as in the golden logs).
func TestCreatedTopicRecords(t *testing.T) {
	for _, tc := range []struct {
		level   image.MetadataVersion
		elr     bool
		version int16
		want    string
	}{
		{image.MV33IV3, false, 0, "Topic Config Config Partition"},
		{image.MV39IV0, false, 1, "Topic Config Config Partition"},
		{image.MV43IV0, false, 2, "Topic Config Config Partition"},
		{image.MV43IV0, true, 2, "Topic Config Config ClearElr Partition"},
	} {
		c := newCluster(t, tc.level, aBroker(1), aBroker(2, fenced), aBroker(3, shutting),
			aBroker(4, func(r *record.RegisterBrokerRecord) { r.LogDirs = append(r.LogDirs, kafka.UUID{0: 9}) }))
		if tc.elr {
			c.fold(message(&record.FeatureLevelRecord{Name: image.FeatureELRVersion, FeatureLevel: 1}))
		}
		topic := assignedTopic("t", []int32{2, 4, 1, 3})
		topic.Configs = newTopic("", 0, 0, "min.insync.replicas", "2", "cleanup.policy", "compact").Configs
		records := c.mustCreate(topic)
		var names []string
		for _, m := range records {
			names = append(names, strings.TrimSuffix(m.Record.RecordName(), "Record"))
		}
		if got := strings.Join(names, " "); got != tc.want {
			t.Errorf("%s: records %s, want %s", tc.level, got, tc.want)
		}
		last := records[len(records)-1]
		p := last.Record.(*record.PartitionRecord)
		if last.Version != tc.version || p.Leader != 4 || !slices.Equal(p.ISR, []kafka.BrokerID{4, 1}) || p.LeaderEpoch != 0 || p.PartitionEpoch != 0 {
			t.Errorf("%s: version %d %+v", tc.level, last.Version, p)
		}
		wantDirs := []kafka.UUID{dirOf(2), kafka.DirectoryUnassigned, dirOf(1), dirOf(3)}
		if tc.version == 0 {
			wantDirs = nil
		}
		if !slices.Equal(p.Directories, wantDirs) {
			t.Errorf("%s: directories %v, want %v", tc.level, p.Directories, wantDirs)
		}
	}
}

// The list is the one in a response of Apache 4.3.1 (golden trace, creation of
// __transaction_state).
func TestCreateTopicsReturnsConfigsAsApache(t *testing.T) {
	const want = `cleanup.policy=compact/1 compression.gzip.level=-1/5 compression.lz4.level=9/5 compression.type=uncompressed/1 ` +
		`compression.zstd.level=3/5 delete.retention.ms=86400000/5 file.delete.delay.ms=60000/5 flush.messages=9223372036854775807/5 ` +
		`flush.ms=9223372036854775807/5 follower.replication.throttled.replicas=/5 index.interval.bytes=4096/5 ` +
		`leader.replication.throttled.replicas=/5 local.retention.bytes=-2/5 local.retention.ms=-2/5 max.compaction.lag.ms=9223372036854775807/5 ` +
		`max.message.bytes=1048588/5 message.timestamp.after.max.ms=3600000/5 message.timestamp.before.max.ms=9223372036854775807/5 ` +
		`message.timestamp.type=CreateTime/5 min.cleanable.dirty.ratio=0.5/5 min.compaction.lag.ms=0/5 min.insync.replicas=1/1 ` +
		`preallocate=false/5 remote.log.copy.disable=false/5 remote.log.delete.on.disable=false/5 remote.storage.enable=false/5 ` +
		`retention.bytes=-1/5 retention.ms=604800000/5 segment.bytes=104857600/1 segment.index.bytes=10485760/5 segment.jitter.ms=0/5 ` +
		`segment.ms=604800000/5 unclean.leader.election.enable=false/1`
	c := newCluster(t, image.MV43IV0, someBrokers(2)...)
	_, res := c.createTopics(newTopic("__transaction_state", 2, 2, "compression.type", "uncompressed", "cleanup.policy", "compact",
		"min.insync.replicas", "1", "segment.bytes", "104857600", "unclean.leader.election.enable", "false"))
	if got := configText(res.Topics[0].Configs); got != want {
		t.Errorf("configs\n%s\nwant\n%s", got, want)
	}
	c.in.Settings.Static = map[string]string{"log.retention.hours": "2", "min.insync.replicas": "2"}
	c.fold(configRecord(image.Resource{Type: image.ResourceBroker}, "log.segment.bytes", ptr("2000000")),
		configRecord(image.Resource{Type: image.ResourceBroker, Name: "1"}, "message.max.bytes", ptr("77")))
	_, res = c.createTopics(newTopic("defaults", 1, 1))
	got := " " + configText(res.Topics[0].Configs) + " "
	for _, want := range []string{"retention.ms=7200000/4", "min.insync.replicas=2/4", "segment.bytes=2000000/3", "max.message.bytes=77/2"} {
		if !strings.Contains(got, " "+want+" ") {
			t.Errorf("%s is not in %s", want, got)
		}
	}
}

func configText(configs []kmsg.CreateTopicsResponseTopicConfig) string {
	var out []string
	for _, kv := range configs {
		out = append(out, kv.Name+"="+*kv.Value+"/"+string(rune('0'+kv.Source)))
	}
	return strings.Join(out, " ")
}

func TestCreateTopicsAuthorization(t *testing.T) {
	c := newCluster(t, image.MV43IV0, someBrokers(1)...)
	c.in.Caller.Allowed = onlyAllow(right{opCreate, resourceTopic, "mine"}, right{opCreate, resourceTopic, "shown"}, right{opDescribeConfigs, resourceTopic, "shown"})
	_, res := c.createTopics(newTopic("mine", 1, 1), newTopic("other", 1, 1), newTopic("shown", 1, 1))
	mine, shown, other := res.Topics[0], res.Topics[1], res.Topics[2]
	wantError(t, "mine", mine.ErrorCode, mine.ErrorMessage, errors.None, "")
	if mine.ConfigErrorCode != int16(errors.TopicAuthorizationFailed) || mine.NumPartitions != -1 || mine.ReplicationFactor != -1 || len(mine.Configs) != 0 {
		t.Errorf("mine shows what may not be described: %+v", mine)
	}
	if shown.ConfigErrorCode != 0 || shown.NumPartitions != 1 || len(shown.Configs) == 0 {
		t.Errorf("shown: %+v", shown)
	}
	wantError(t, "other", other.ErrorCode, other.ErrorMessage, errors.TopicAuthorizationFailed, "Authorization failed.")
	c.in.Caller.Allowed = onlyAllow(right{opCreate, resourceCluster, "kafka-cluster"})
	_, res = c.createTopics(newTopic("any", 1, 1))
	wantError(t, "any", res.Topics[0].ErrorCode, res.Topics[0].ErrorMessage, errors.None, "")
}

func TestCreateTopicsValidateOnly(t *testing.T) {
	c := newCluster(t, image.MV43IV0, someBrokers(1)...)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.ValidateOnly, req.Topics = 7, true, []kmsg.CreateTopicsRequestTopic{newTopic("t", 3, 1), newTopic("u", 3, 2)}
	d, res := CreateTopics(c.in, req)
	if len(d.Records) != 0 || res.Topics[0].ErrorCode != 0 || res.Topics[0].NumPartitions != 3 || res.Topics[1].ErrorCode == 0 {
		t.Errorf("%d records, %+v", len(d.Records), res.Topics)
	}
}

// A collision is found without a scan of all topics.
func TestCollidingTopic(t *testing.T) {
	c := newCluster(t, image.MV43IV0, someBrokers(1)...)
	c.mustCreate(newTopic("plain", 1, 1), newTopic("a.b.c_d", 1, 1), newTopic("a.b", 1, 1), newTopic("x__y", 1, 1), newTopic("x._z", 1, 1))
	for name, want := range map[string]string{
		"plain": "plain", "a_b_c.d": "a.b.c_d", "a_b": "a.b", "x..y": "x__y", "x._y": "x__y", "x_.z": "x._z", "a.b.c_d": "a.b.c_d",
		"a_b_c": "", "a": "", "pl.ain": "", "x._": "", "": "", "z.z": "",
	} {
		got, ok := collidingTopic(c.im, name)
		if got != want || ok != (want != "") {
			t.Errorf("%q collides with %q, %v; want %q", name, got, ok, want)
		}
	}
}

func (c *cluster) createPartitions(topics ...kmsg.CreatePartitionsRequestTopic) (Decision, *kmsg.CreatePartitionsResponse) {
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.Version, req.Topics = 3, topics
	return CreatePartitions(c.in, req)
}

func morePartitions(name string, count int32, replicas ...[]int32) kmsg.CreatePartitionsRequestTopic {
	t := kmsg.CreatePartitionsRequestTopic{Topic: name, Count: count}
	for _, r := range replicas {
		t.Assignment = append(t.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: r})
	}
	return t
}

func TestCreatePartitions(t *testing.T) {
	c := newCluster(t, image.MV43IV0, aBroker(1), aBroker(2), aBroker(3), aBroker(4, fenced))
	c.mustCreate(newTopic("t", 2, 2), newTopic("u", 1, 3))
	d, res := c.createPartitions(morePartitions("t", 4), morePartitions("u", 2, []int32{4, 3, 1}))
	for _, r := range res.Topics {
		wantError(t, r.Topic, r.ErrorCode, r.ErrorMessage, errors.None, "")
	}
	c.fold(d.Records...)
	if n := c.im.TopicByName("t").PartitionCount(); n != 4 {
		t.Errorf("t has %d partitions", n)
	}
	for id, p := range c.im.TopicByName("t").Partitions() {
		if len(p.Replicas) != 2 {
			t.Errorf("partition %d of t has replicas %v", id, p.Replicas)
		}
	}
	if p := c.im.TopicByName("u").Partition(1); p.Leader != 3 || !slices.Equal(p.ISR, []kafka.BrokerID{3, 1}) {
		t.Errorf("partition 1 of u: %+v", p)
	}
}

func TestCreatePartitionsErrors(t *testing.T) {
	c := newCluster(t, image.MV43IV0, aBroker(1), aBroker(2, fenced))
	c.mustCreate(newTopic("t", 2, 1))
	for _, tc := range []struct {
		topic kmsg.CreatePartitionsRequestTopic
		code  errors.Code
		text  string
	}{
		{morePartitions("none", 4), errors.UnknownTopicOrPartition, ""},
		{morePartitions("t", 2), errors.InvalidPartitions, "Topic already has 2 partition(s)."},
		{morePartitions("t", 1), errors.InvalidPartitions, "The topic t currently has 2 partition(s); 1 would not be an increase."},
		{morePartitions("t", 4, []int32{1}), errors.InvalidReplicaAssignment, "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified."},
		{morePartitions("t", 3, []int32{1, 2}), errors.InvalidReplicaAssignment, "The manual partition assignment includes a partition with 2 replica(s), but this is not consistent with previous partitions, which have 1 replica(s)."},
		{morePartitions("t", 3, []int32{2}), errors.InvalidReplicaAssignment, "All brokers specified in the manual partition assignment for partition 2 are fenced or in controlled shutdown."},
		{morePartitions("t", 2_000_000_000), errors.PolicyViolation, "Excessively large number of partitions per request."},
	} {
		d, res := c.createPartitions(tc.topic)
		wantError(t, tc.topic.Topic, res.Topics[0].ErrorCode, res.Topics[0].ErrorMessage, tc.code, tc.text)
		if len(d.Records) > 0 {
			t.Errorf("%+v: %d records", tc.topic, len(d.Records))
		}
	}
	d, res := c.createPartitions(morePartitions("t", 3), morePartitions("t", 4))
	if len(res.Topics) != 1 || len(d.Records) != 0 {
		t.Errorf("duplicates: %+v", res.Topics)
	}
	wantError(t, "duplicate", res.Topics[0].ErrorCode, res.Topics[0].ErrorMessage, errors.InvalidRequest, "Duplicate topic name.")
	c.in.Caller.Allowed = onlyAllow()
	_, res = c.createPartitions(morePartitions("t", 3))
	wantError(t, "denied", res.Topics[0].ErrorCode, res.Topics[0].ErrorMessage, errors.TopicAuthorizationFailed, "")
}

// What the loop pays for one topic, and for one request of 20,000 partitions:
// the decision and its fold.
func BenchmarkCreateTopics(b *testing.B) {
	for _, bench := range []struct {
		name       string
		partitions int32
	}{{"one-partition", 1}, {"20000-partitions", 20_000}} {
		b.Run(bench.name, func(b *testing.B) {
			c := newCluster(b, image.MV43IV0, someBrokers(6)...)
			base := c.im
			req := kmsg.NewPtrCreateTopicsRequest()
			req.Version, req.Topics = 7, []kmsg.CreateTopicsRequestTopic{newTopic("t", bench.partitions, 3)}
			b.ReportAllocs()
			for b.Loop() {
				d, _ := CreateTopics(c.in, req)
				if _, err := image.Fold(base, 100, 1, 0, d.Records); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package answers

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// since are all versions from one to another.
func since(first, last int16) (all []int16) {
	for v := first; v <= last; v++ {
		all = append(all, v)
	}
	return all
}

func only(v ...int16) []int16 { return v }

// story asks everything, in this order; later steps see what earlier ones did.
func (a *asker) story() {
	a.topics()
	a.metadata()
	a.produce()
	a.fetch()
	a.offsets()
	a.groups()
	a.configs()
	a.admin()
	a.ends()
}

func (a *asker) topics() {
	create := func() kmsg.Request {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.TimeoutMillis = 30_000
		add := func(name string, partitions int32, factor int16, configs ...string) {
			t := kmsg.NewCreateTopicsRequestTopic()
			t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, factor
			for i := 0; i < len(configs); i += 2 {
				c := kmsg.NewCreateTopicsRequestTopicConfig()
				c.Name, c.Value = configs[i], &configs[i+1]
				t.Configs = append(t.Configs, c)
			}
			req.Topics = append(req.Topics, t)
		}
		add("a", 3, 1)
		add("compact", 1, 1, "cleanup.policy", "compact")
		add("appendtime", 1, 1, "message.timestamp.type", "LogAppendTime")
		add("small", 1, 1, "max.message.bytes", "100")
		add("bad/name", 1, 1)
		add("none", 0, 1)
		add("wide", 1, 3)
		add("badconfig", 1, 1, "retention.ms", "x")
		return req
	}
	made, err := a.send(7, create())
	if err != nil {
		a.Fatal(err)
	}
	for _, t := range made.(*kmsg.CreateTopicsResponse).Topics {
		if t.ErrorCode == 0 {
			a.hide = append(a.hide, kafka.UUID(t.TopicID).String(), "<id of "+t.Topic+">")
			a.ids()[t.Topic] = t.TopicID
		}
	}
	a.until("the topics", 12, metadataOf("a", "compact", "appendtime", "small"), func(r kmsg.Response) bool {
		for _, t := range r.(*kmsg.MetadataResponse).Topics {
			if t.ErrorCode != 0 {
				return false
			}
		}
		return true
	})
	for topic, partitions := range map[string]int32{"a": 3, "compact": 1, "appendtime": 1, "small": 1} {
		for p := range partitions { // Apache's broker tells of a topic before it leads it
			a.until("the leader", 12, a.fetchOf(topic, p, 0), func(r kmsg.Response) bool { return r.(*kmsg.FetchResponse).Topics[0].Partitions[0].ErrorCode == 0 })
		}
	}
	a.step("CreateTopics again", since(2, 7), create)
}

// ids are the ids of the topics by name.
func (a *asker) ids() map[string][16]byte {
	if a.topicIDs == nil {
		a.topicIDs = map[string][16]byte{}
	}
	return a.topicIDs
}

func metadataOf(names ...string) func() kmsg.Request {
	return func() kmsg.Request {
		req := kmsg.NewPtrMetadataRequest()
		for _, n := range names {
			req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &n})
		}
		return req
	}
}

func (a *asker) metadata() {
	a.step("Metadata of topics", since(4, 13), metadataOf("a", "compact", "unknown", "bad/name", "a"))
	a.step("Metadata of all", only(0, 1, 5, 8, 13), func() kmsg.Request {
		req := kmsg.NewPtrMetadataRequest()
		req.IncludeClusterAuthorizedOperations, req.IncludeTopicAuthorizedOperations = true, true
		return req
	})
	a.step("Metadata of none", only(1, 13), func() kmsg.Request {
		return &kmsg.MetadataRequest{Topics: []kmsg.MetadataRequestTopic{}}
	})
	a.step("Metadata by id", only(12, 13), func() kmsg.Request {
		return &kmsg.MetadataRequest{Topics: []kmsg.MetadataRequestTopic{{TopicID: a.ids()["a"]}, {TopicID: [16]byte{1, 2}}}}
	})
	a.step("DescribeCluster", since(0, 2), func() kmsg.Request {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.IncludeClusterAuthorizedOperations, req.IncludeFencedBrokers = true, true
		return req
	})
	a.step("DescribeCluster of controllers", only(1, 2), func() kmsg.Request {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.EndpointType = 2
		return req
	})
	describe := func(limit int32, cursor *kmsg.DescribeTopicPartitionsRequestCursor, names ...string) func() kmsg.Request {
		return func() kmsg.Request {
			req := kmsg.NewPtrDescribeTopicPartitionsRequest()
			req.ResponsePartitionLimit, req.Cursor = limit, cursor
			for _, n := range names {
				req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: n})
			}
			return req
		}
	}
	a.step("DescribeTopicPartitions", only(0), describe(100, nil, "a", "unknown", "bad/name"))
	a.step("DescribeTopicPartitions of 2", only(0), describe(2, nil))
	a.step("DescribeTopicPartitions from a cursor", only(0), describe(2, &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "a", Partition: 2}))
	a.step("DescribeTopicPartitions from a cursor elsewhere", only(0), describe(2, &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "b"}, "a"))
}

// timestamp is that of every record.
const timestamp = 1_700_000_000_000

func records(keys bool, codec batch.Codec, values ...string) []byte {
	b := batch.NewBuilder(codec.Default())
	b.Reset()
	for _, v := range values {
		var key []byte
		if keys {
			key = []byte("k")
		}
		b.Add(timestamp, key, []byte(v))
	}
	return b.AppendTo(nil, 0, 0)
}

func (a *asker) produceTo(acks int16, topic string, partition int32, data []byte) func() kmsg.Request {
	return func() kmsg.Request {
		req := kmsg.NewPtrProduceRequest()
		req.Acks, req.TimeoutMillis = acks, 30_000
		req.Topics = []kmsg.ProduceRequestTopic{{Topic: topic, TopicID: a.ids()[topic], Partitions: []kmsg.ProduceRequestTopicPartition{{
			Partition: partition, Records: append([]byte{}, data...),
		}}}}
		return req
	}
}

func (a *asker) produce() {
	one := records(false, batch.None, "x")
	damaged := append([]byte{}, one...)
	damaged[len(damaged)-1] ^= 1
	old := append([]byte{}, one...)
	old[16] = 1
	a.step("Produce", since(3, 13), a.produceTo(-1, "a", 0, records(false, batch.None, "x", "y")))
	a.step("Produce acks=1", only(7), a.produceTo(1, "a", 0, one))
	a.step("Produce acks=2", only(7, 13), a.produceTo(2, "a", 0, one))
	a.step("Produce unknown topic", only(3, 9, 12), a.produceTo(-1, "unknown", 0, one))
	a.step("Produce unknown partition", only(9, 13), a.produceTo(-1, "a", 9, one))
	a.step("Produce damaged", only(3, 9, 13), a.produceTo(-1, "a", 0, damaged))
	a.step("Produce old format", only(9), a.produceTo(-1, "a", 0, old))
	a.step("Produce two batches", only(9, 13), a.produceTo(-1, "a", 0, append(append([]byte{}, one...), one...)))
	a.step("Produce nothing", only(9), a.produceTo(-1, "a", 0, []byte{}))
	a.step("Produce zstd", only(6, 7), a.produceTo(-1, "a", 0, records(false, batch.Zstd, "x")))
	a.step("Produce gzip", only(9), a.produceTo(-1, "a", 0, records(false, batch.Gzip, "x")))
	a.step("Produce without a key", only(7, 8, 13), a.produceTo(-1, "compact", 0, records(false, batch.None, "x", "y")))
	a.step("Produce with a key", only(8), a.produceTo(-1, "compact", 0, records(true, batch.None, "x", "y")))
	a.step("Produce too much", only(9), a.produceTo(-1, "small", 0, records(false, batch.None, string(make([]byte, 200)))))
	a.step("Produce to nowhere", only(13), func() kmsg.Request {
		req := a.produceTo(-1, "a", 0, one)().(*kmsg.ProduceRequest)
		req.Topics[0].TopicID = [16]byte{1, 2}
		return req
	})
}

func (a *asker) fetchOf(topic string, partition int32, offset int64, change ...func(*kmsg.FetchRequest)) func() kmsg.Request {
	return func() kmsg.Request {
		req := kmsg.NewPtrFetchRequest()
		req.MaxBytes, req.SessionEpoch, req.MaxWaitMillis = 1<<20, -1, 0
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, 1<<20
		req.Topics = []kmsg.FetchRequestTopic{{Topic: topic, TopicID: a.ids()[topic], Partitions: []kmsg.FetchRequestTopicPartition{p}}}
		for _, f := range change {
			f(req)
		}
		return req
	}
}

func (a *asker) fetch() {
	committed := func(r *kmsg.FetchRequest) { r.IsolationLevel = 1 }
	a.step("Fetch", since(4, 18), a.fetchOf("a", 0, 20))
	a.step("Fetch committed", only(4, 12, 18), a.fetchOf("a", 0, 20, committed))
	a.step("Fetch empty partition", only(4, 18), a.fetchOf("a", 1, 0, committed))
	a.step("Fetch beyond the end", only(4, 12, 18), a.fetchOf("a", 0, 1000))
	a.step("Fetch unknown partition", only(4, 18), a.fetchOf("a", 9, 0))
	a.step("Fetch unknown topic", only(4, 12), a.fetchOf("unknown", 0, 0))
	a.step("Fetch unknown id", only(13, 18), a.fetchOf("unknown", 0, 0, func(r *kmsg.FetchRequest) { r.Topics[0].TopicID = [16]byte{1, 2} }))
	a.step("Fetch unknown session", only(7, 18), a.fetchOf("a", 0, 0, func(r *kmsg.FetchRequest) { r.SessionID, r.SessionEpoch = 12345, 7 }))
	a.step("Fetch with an old epoch", only(12, 18), a.fetchOf("a", 0, 0, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = 99 }))
	a.step("Fetch diverging", only(12, 18), a.fetchOf("a", 0, 1000, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].LastFetchedEpoch = 0 }))
	begin, err := a.send(12, a.fetchOf("a", 0, 24, func(r *kmsg.FetchRequest) { r.SessionEpoch = 0 })())
	if err != nil {
		a.Fatal(err)
	}
	session := begin.(*kmsg.FetchResponse).SessionID
	next := func(epoch int32) func() kmsg.Request {
		return func() kmsg.Request {
			req := kmsg.NewPtrFetchRequest()
			req.MaxBytes, req.SessionID, req.SessionEpoch, req.Topics = 1<<20, session, epoch, []kmsg.FetchRequestTopic{}
			return req
		}
	}
	a.step("Fetch in a session", only(12), next(1))
	a.step("Fetch in a session, epoch again", only(12), next(1))
	a.step("Fetch in a session by id", only(13), next(2))
	a.step("Fetch in a session, end", only(12), next(-1))
}

func (a *asker) offsets() {
	list := func(at int64, partitions ...int32) func() kmsg.Request {
		return func() kmsg.Request {
			req := kmsg.NewPtrListOffsetsRequest()
			req.ReplicaID = -1
			t := kmsg.NewListOffsetsRequestTopic()
			t.Topic = "a"
			for _, id := range partitions {
				p := kmsg.NewListOffsetsRequestTopicPartition()
				p.Partition, p.Timestamp, p.CurrentLeaderEpoch = id, at, -1
				t.Partitions = append(t.Partitions, p)
			}
			req.Topics = append(req.Topics, t)
			return req
		}
	}
	a.step("ListOffsets latest", since(1, 11), list(-1, 0, 1, 9))
	a.step("ListOffsets earliest", only(1, 11), list(-2, 0))
	a.step("ListOffsets max timestamp", only(6, 7, 11), list(-3, 0, 1))
	a.step("ListOffsets earliest local", only(7, 8), list(-4, 0))
	a.step("ListOffsets latest tiered", only(8, 9), list(-5, 0))
	a.step("ListOffsets earliest pending", only(10, 11), list(-6, 0))
	a.step("ListOffsets unknown", only(11), list(-7, 0))
	a.step("ListOffsets by time", only(1, 11), list(timestamp, 0, 1))
	a.step("ListOffsets by a late time", only(1, 11), list(timestamp+1, 0))
	a.step("ListOffsets twice", only(1, 11), list(-1, 0, 0))
	a.step("OffsetForLeaderEpoch", since(2, 4), func() kmsg.Request {
		req := kmsg.NewPtrOffsetForLeaderEpochRequest()
		t := kmsg.NewOffsetForLeaderEpochRequestTopic()
		t.Topic = "a"
		for i, wanted := range []int32{0, 5, 0} {
			p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
			p.Partition, p.LeaderEpoch = []int32{0, 0, 9}[i], wanted
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
		return req
	})
	a.step("DeleteRecords", since(0, 2), func() kmsg.Request {
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.TimeoutMillis = 30_000
		req.Topics = []kmsg.DeleteRecordsRequestTopic{
			{Topic: "a", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: 3}, {Partition: 1, Offset: 5}, {Partition: 9}}},
			{Topic: "compact", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 1}}},
		}
		return req
	})
	a.step("Fetch before the start", only(12), a.fetchOf("a", 0, 0))
	id := func() kmsg.Request {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.ProducerID, req.ProducerEpoch = -1, -1
		return req
	}
	a.until("producer ids", 5, id, func(r kmsg.Response) bool { return r.(*kmsg.InitProducerIDResponse).ErrorCode == 0 })
	a.step("InitProducerId", since(0, 5), id)
	a.step("InitProducerId with half an id", only(4), func() kmsg.Request {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.ProducerID, req.ProducerEpoch = 5, -1
		return req
	})
}

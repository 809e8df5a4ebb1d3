package sim

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

const producerCount = 4

// topics of the world: the one with two in-sync replicas is what the fault bound
// is stated for; the other one's min.insync.replicas goes up and down.
var topics = []string{"steady", "changing"}

const partitionsPerTopic = 2

// names are all partitions that are produced to.
func names() []kafka.TopicPartition {
	var all []kafka.TopicPartition
	for _, t := range topics {
		for id := range partitionsPerTopic {
			all = append(all, kafka.TopicPartition{Topic: t, Partition: kafka.PartitionID(id)})
		}
	}
	return all
}

// everything is all partitions that there may be, names those that are produced to.
func everything() []kafka.TopicPartition { return append(names(), offsetsPartition) }

// names are the partitions of this world.
func (w *World) names() []kafka.TopicPartition {
	if w.plan.Groups {
		return everything()
	}
	return names()
}

func (w *World) topics() []string {
	if w.plan.Groups {
		return append(topics[:len(topics):len(topics)], offsetsPartition.Topic)
	}
	return topics
}

// client is an idempotent producer with acks=all and one request at a time to
// each partition.
type client struct {
	id    kafka.ProducerID
	lanes []*lane
}

// lane is a producer's way to one partition.
type lane struct {
	name    kafka.TopicPartition
	next    int32 // sequence
	batch   []byte
	count   int32
	waiting waiting
	// epoch is the newest leader epoch that the client has seen: it does not go back
	// to the leader of an older one (KIP-320).
	epoch kafka.LeaderEpoch
}

func newClient(i int) *client {
	p := &client{id: kafka.ProducerID(1000 + i)}
	for _, name := range names() {
		p.lanes = append(p.lanes, &lane{name: name})
	}
	return p
}

// chore sends the next batch of a lane, or the same again.
func (p *client) chore(w *World) {
	l := p.lanes[w.rnd.IntN(len(p.lanes))]
	to := l.leader(w)
	if to == nil || l.batch == nil && w.healing {
		return
	}
	if l.batch == nil {
		p.fill(w, l)
	}
	l.produce(w, to, func(at kafka.Offset, err error) { p.answered(w, l, to, at, err) })
}

// leader is whom a lane's next request goes to; nil while it waits for an answer, or
// knows no leader.
func (l *lane) leader(w *World) *broker {
	if l.waiting.busy(w.now) {
		return nil
	}
	leader, epoch := w.leaderOf(l.name)
	if leader == kafka.NoLeader || epoch < l.epoch {
		return nil
	}
	l.epoch = epoch
	return w.brokers[leader]
}

// produce sends a lane's batch.
func (l *lane) produce(w *World, to *broker, answered func(kafka.Offset, error)) {
	records := append([]byte(nil), l.batch...)
	l.ask(w, to, func(q *partition, answer func(kafka.Offset, error)) { q.produce(records, answer) }, answered)
}

// ask sends a request for something to be appended, and takes its answer unless that
// is late.
func (l *lane) ask(w *World, to *broker, what func(q *partition, answer func(kafka.Offset, error)), answered func(kafka.Offset, error)) {
	call := l.waiting.begin(w.now)
	w.send(outside, to.node(), func() {
		q, life := to.partition(l.name), to.lives
		answer := func(at kafka.Offset, err error) {
			if to.lives != life {
				return
			}
			if err != nil && q != nil && q.deposed() {
				// What it misses the true leader may have; no client can tell, in Kafka
				// either.
				err = errors.New(errors.NotLeaderOrFollower, "from a leader that is deposed and does not know it: %v", err)
			}
			w.send(to.node(), outside, func() {
				if l.waiting.done(call) {
					answered(at, err)
				}
			})
		}
		if q == nil {
			answer(0, errors.New(errors.UnknownTopicOrPartition, "not here"))
			return
		}
		what(q, answer)
	})
}

// fill makes the next batch: some records of some bytes, whose value says who
// wrote them and when.
func (p *client) fill(w *World, l *lane) {
	b := batch.NewBuilder(batch.None.Default())
	b.SetProducer(p.id, 0, l.next, false)
	l.count = 1 + w.rnd.Int32N(3)
	for i := range l.count {
		value := make([]byte, 16+w.rnd.IntN(200))
		binary.BigEndian.PutUint64(value, uint64(p.id))
		binary.BigEndian.PutUint64(value[8:], uint64(l.next+i))
		b.Add(w.now, nil, value)
	}
	l.batch = b.AppendTo(nil, 0, kafka.NoEpoch)
}

// answered takes the answer: what is acknowledged is for ever.
func (p *client) answered(w *World, l *lane, from *broker, at kafka.Offset, err error) {
	switch code := errors.CodeOf(err); code {
	case errors.None:
		w.truth.acknowledged(w, l.name, at, p.id, l.next, l.count)
		l.next, l.batch = l.next+l.count, nil
		w.event("acknowledged")
	case errors.OutOfOrderSequenceNumber, errors.InvalidProducerEpoch, errors.CorruptMessage, errors.DuplicateSequenceNumber:
		w.fail("Idempotence", "producer %d, which has one request at a time, got %v from broker %d for sequence %d of %s; %s", p.id, err, from.id, l.next, l.name, w.describe())
	default:
		w.event("produce retried")
	}
}

// leaderOf asks any live broker who leads a partition, as Metadata does.
func (w *World) leaderOf(name kafka.TopicPartition) (kafka.BrokerID, kafka.LeaderEpoch) {
	return w.leaderBy(w.brokers[w.rnd.IntN(brokerCount)], name)
}

// leaderBy is what a broker answers.
func (w *World) leaderBy(b *broker, name kafka.TopicPartition) (kafka.BrokerID, kafka.LeaderEpoch) {
	p := partitionIn(b.replay.Image(), name)
	if !b.up || p == nil {
		return kafka.NoLeader, kafka.NoEpoch
	}
	return p.Leader, p.LeaderEpoch
}

// createTopics makes the topics and waits for the answers.
func (w *World) createTopics() {
	made := map[string]bool{}
	next := 0
	w.calm("the topics", func() bool {
		if next++; next%64 == 1 {
			for _, name := range w.topics() {
				if c := w.activeController(); c != nil && !made[name] {
					w.ask(outside, c, createTopic(name), func(r kmsg.Response) {
						if resp, ok := r.(*kmsg.CreateTopicsResponse); ok {
							made[name] = resp.Topics[0].ErrorCode == 0 || errors.Code(resp.Topics[0].ErrorCode) == errors.TopicAlreadyExists
						}
					})
				}
			}
		}
		all := true
		for _, name := range w.topics() {
			all = all && made[name]
		}
		return all
	})
}

func createTopic(name string) kmsg.Request {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitionsPerTopic, brokerCount
	if name == offsetsPartition.Topic {
		t.NumPartitions = 1
	}
	c := kmsg.NewCreateTopicsRequestTopicConfig()
	value := "2"
	c.Name, c.Value = "min.insync.replicas", &value
	t.Configs = append(t.Configs, c)
	req.Topics = append(req.Topics, t)
	return req
}

func alterMinISR(topic string, to int) kmsg.Request {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = 1
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	value := fmt.Sprint(to)
	c.Name, c.Value = "min.insync.replicas", &value
	r.Configs = append(r.Configs, c)
	req.Resources = append(req.Resources, r)
	return req
}

// minISROf reads what a topic's min.insync.replicas is in an image.
func minISROf(im *image.Image, topic string) int {
	if v, ok := im.ConfigValue(image.Resource{Type: image.ResourceTopic, Name: topic}, "min.insync.replicas"); ok {
		return int(v[0] - '0')
	}
	return 1
}

package controller

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// TestStories runs the scripts in testdata/stories: a cluster at a level, and
// what happens to it. Each step prints the answer and the records; "show"
// prints partitions and brokers.
//
//	new level=L [elr=0|1] [death]  with fencing on proof of death
//	register broker=N [incarnation=N] [previous=E]
//	heartbeat broker=N [fence] [shutdown] [at=OFFSET] [lost=(0,1)] [cordoned=(0,1)]
//	pass ms=N [but=(N,...)]        time passes; all brokers but these are heard, then who expired is fenced
//	hang-up broker=N               it closes its heartbeat connection
//	dead broker=N [epoch=E]        its process is proven to be gone
//	unregister broker=N
//	create topic=NAME replicas=1-2/2-1 [CONFIG=VALUE]
//	config topic=NAME key=K value=V
//	isr topic=NAME [p=N] by=N to=(1,2) [recovering]
//	elect topic=NAME [p=N] [unclean] | balance | elect-unclean
//	reassign topic=NAME [p=N] [to=(1,2)]
//	assign broker=N topic=NAME [p=N] dir=N
//	failover
//	show
func TestStories(t *testing.T) {
	datadriven.Walk(t, filepath.Join("testdata", "stories"), func(t *testing.T, path string) {
		s := &story{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "new" {
				s.begin(t, d)
				return ""
			}
			s.t = t
			if d.Cmd == "create" {
				s.create(d)
				return ""
			}
			before := len(s.log)
			answer := s.step(t, d)
			return answer + picture(s.in.Image, s.log[before:])
		})
	})
}

type story struct {
	*world
	topics byte
}

func (s *story) begin(t *testing.T, d *datadriven.TestData) {
	var level int
	d.ScanArgs(t, "level", &level)
	features := DefaultFeatures(image.MetadataVersion(level))
	if elr := 0; d.MaybeScanArgs(t, "elr", &elr) && elr == 0 {
		delete(features, image.FeatureELRVersion)
	}
	s.world = newWorld(t, image.MetadataVersion(level), features)
	s.in.Settings.FenceOnDeath = d.HasArg("death")
}

func (s *story) step(t *testing.T, d *datadriven.TestData) string {
	var id int
	d.MaybeScanArgs(t, "broker", &id)
	broker := kafka.BrokerID(id)
	switch d.Cmd {
	case "register":
		return s.tellRegistration(t, d, broker)
	case "heartbeat":
		return s.tellHeartbeat(t, d, broker)
	case "pass":
		return s.passTime(t, d)
	case "hang-up":
		s.in.Sessions.HangUp(broker, s.in.Image.Broker(broker).Epoch)
		return ""
	case "dead":
		return s.proveDead(d, broker)
	case "unregister":
		req := kmsg.NewPtrUnregisterBrokerRequest()
		req.BrokerID = int32(broker)
		decision, resp := UnregisterBroker(s.in, req)
		s.apply(decision)
		return answered(resp.ErrorCode)
	case "config":
		var topic, key, value string
		d.ScanArgs(t, "topic", &topic)
		d.ScanArgs(t, "key", &key)
		d.ScanArgs(t, "value", &value)
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		req.Version, req.Resources = 1, append(req.Resources, changeOf(image.ResourceTopic, topic, "set "+key+"="+value))
		decision, resp := IncrementalAlterConfigs(s.in, req)
		s.apply(decision)
		return answered(resp.Resources[0].ErrorCode)
	case "isr":
		return s.alterISR(t, d)
	case "elect":
		topic, p := place(t, d)
		kind := askPreferred
		if d.HasArg("unclean") {
			kind = askUnclean
		}
		decision, code := electOne(s.in, kind, topic, int32(p))
		s.apply(decision)
		return answered(int16(code))
	case "balance", "elect-unclean":
		decide := BalanceLeaders
		if d.Cmd == "elect-unclean" {
			decide = ElectUnclean
		}
		decision, _ := decide(s.in)
		s.apply(decision)
		return ""
	case "reassign":
		topic, p := place(t, d)
		decision, code := s.decideReassignment(1, true, topic, int32(p), brokerIntsOrNil(list(d, "to")))
		s.apply(decision)
		return answered(int16(code))
	case "assign":
		topic, p := place(t, d)
		var n int
		d.ScanArgs(t, "dir", &n)
		return answered(int16(s.assign(broker, dir(broker, byte(n)), s.in.Image.TopicByName(topic).ID, int32(p))[0]))
	case "failover":
		s.in.Sessions.Reset(s.in.Image, s.in.NowMs)
		s.in.Sessions.Inherit(s.in.NowMs + worldTimeout)
		s.in.Sessions.PresumeFenced(s.in.Image, s.in.NowMs+worldTimeout)
		return ""
	case "show":
		return s.show()
	}
	t.Fatalf("unknown step %s", d.Cmd)
	return ""
}

func answered(code int16) string {
	if code == 0 {
		return ""
	}
	return errors.Code(code).String() + "\n"
}

func place(t *testing.T, d *datadriven.TestData) (topic string, p int) {
	d.ScanArgs(t, "topic", &topic)
	d.MaybeScanArgs(t, "p", &p)
	return topic, p
}

func list(d *datadriven.TestData, key string) (ids []kafka.BrokerID) {
	for _, arg := range d.CmdArgs {
		if arg.Key != key {
			continue
		}
		for _, v := range arg.Vals {
			id, err := strconv.Atoi(v)
			if err != nil {
				panic(err)
			}
			ids = append(ids, kafka.BrokerID(id))
		}
	}
	return ids
}

func brokerIntsOrNil(ids []kafka.BrokerID) []int32 {
	if ids == nil {
		return nil
	}
	return kafka.Int32s(ids)
}

func (s *story) tellRegistration(t *testing.T, d *datadriven.TestData, broker kafka.BrokerID) string {
	incarnation := 1
	d.MaybeScanArgs(t, "incarnation", &incarnation)
	req := s.registration(broker, byte(incarnation))
	d.MaybeScanArgs(t, "previous", &req.PreviousBrokerEpoch)
	return answered(s.register(req).ErrorCode)
}

func (s *story) tellHeartbeat(t *testing.T, d *datadriven.TestData, broker kafka.BrokerID) string {
	req := s.beat(broker)
	req.WantFence, req.WantShutdown = d.HasArg("fence"), d.HasArg("shutdown")
	d.MaybeScanArgs(t, "at", &req.CurrentMetadataOffset)
	for _, n := range list(d, "lost") {
		req.OfflineLogDirs = append(req.OfflineLogDirs, dir(broker, byte(n)))
	}
	if d.HasArg("cordoned") {
		req.CordonedLogDirs = [][16]byte{}
		for _, n := range list(d, "cordoned") {
			req.CordonedLogDirs = append(req.CordonedLogDirs, dir(broker, byte(n)))
		}
	}
	resp := s.heartbeat(req)
	if resp.ErrorCode != 0 {
		return answered(resp.ErrorCode)
	}
	return fmt.Sprintf("caught up=%v fenced=%v shut down=%v\n", resp.IsCaughtUp, resp.IsFenced, resp.ShouldShutdown)
}

func (s *story) passTime(t *testing.T, d *datadriven.TestData) string {
	var ms int64
	d.ScanArgs(t, "ms", &ms)
	s.in.NowMs += ms
	silent := list(d, "but")
	for b := range s.in.Image.Brokers() {
		if !containsAll(silent, []kafka.BrokerID{b.ID}) {
			s.in.Sessions.Touch(b.ID, b.Epoch, s.in.NowMs, s.in.NextOffset-1)
		}
	}
	for id, due := s.in.Sessions.NoLongerPresumed(s.in.NowMs); due; id, due = s.in.Sessions.NoLongerPresumed(s.in.NowMs) {
		decision, more := ElectHeldBack(s.in, id)
		s.apply(decision)
		if !more {
			s.in.Sessions.Forgive(id)
		}
	}
	for {
		decision, fenced := FenceExpired(s.in)
		if fenced == kafka.NoLeader {
			s.in.Sessions.Prune(s.in.Image, s.in.NowMs, worldTimeout)
			return ""
		}
		s.apply(decision)
	}
}

func (s *story) proveDead(d *datadriven.TestData, broker kafka.BrokerID) string {
	epoch := s.in.Image.Broker(broker).Epoch
	if d.HasArg("epoch") {
		var e int64
		d.ScanArgs(s.t.(*testing.T), "epoch", &e)
		epoch = kafka.BrokerEpoch(e)
	}
	decision, ok := FenceDead(s.in, broker, epoch)
	if !ok {
		return "not fenced\n"
	}
	s.apply(decision)
	s.in.Sessions.PresumeDead(broker, s.in.NowMs, worldTimeout)
	return ""
}

// create reads replicas=1-2/2-1 as the replicas of two partitions.
func (s *story) create(d *datadriven.TestData) {
	var name string
	configs := map[string]string{}
	var replicas [][]kafka.BrokerID
	for _, arg := range d.CmdArgs {
		switch arg.Key {
		case "topic":
			name = arg.Vals[0]
		case "replicas":
			for _, part := range strings.Split(arg.Vals[0], "/") {
				var ids []kafka.BrokerID
				for _, v := range strings.Split(part, "-") {
					n, _ := strconv.Atoi(v)
					ids = append(ids, kafka.BrokerID(n))
				}
				replicas = append(replicas, ids)
			}
		default:
			configs[arg.Key] = arg.Vals[0]
		}
	}
	s.topics++
	s.topic(s.topics, name, configs, replicas...)
}

func (s *story) alterISR(t *testing.T, d *datadriven.TestData) string {
	topic, p := place(t, d)
	var by int
	d.ScanArgs(t, "by", &by)
	req, asked := alterRequest(s.world, kafka.BrokerID(by), topic, list(d, "to")...)
	part := s.partition(topic, kafka.PartitionID(p))
	asked.Partition, asked.LeaderEpoch, asked.PartitionEpoch = int32(p), int32(part.LeaderEpoch), int32(part.PartitionEpoch)
	if d.HasArg("recovering") {
		asked.LeaderRecoveryState = 1
	}
	decision, resp := AlterPartition(s.in, req)
	s.apply(decision)
	return answered(resp.Topics[0].Partitions[0].ErrorCode)
}

func (s *story) show() string {
	var b strings.Builder
	for reg := range s.in.Image.Brokers() {
		state := "active"
		switch stateOf(reg) {
		case stateFenced:
			state = "fenced"
		case stateControlledShutdown:
			state = "shutting down"
		}
		fmt.Fprintf(&b, "broker %d epoch=%d %s\n", reg.ID, reg.Epoch, state)
	}
	for topic := range s.in.Image.TopicsByName("") {
		for id, p := range topic.Partitions() {
			fmt.Fprintf(&b, "%s-%d %s\n", topic.Name, id, partitionText(p))
		}
	}
	return b.String()
}

package sim

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/incarnation"
	"kvorum/broker/replica/core"
	"kvorum/broker/storage"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/replay"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// broker is one broker: the shell around the cores of its partitions, and what is
// on its disk.
type broker struct {
	w      *World
	id     kafka.BrokerID
	up     bool
	paused bool
	lives  int
	skew   int64
	// startedAt is when its last life began.
	startedAt int64
	// dark says that it is down and its machine too; slandered how many faults make it
	// look dead.
	dark      bool
	slandered int
	hungUp    int // the last life in which a connection was closed, by it or in its name

	// On disk: the file system of the partitions, the checkpoints beside them,
	// which are written in one durable step, and the metadata log, which is fsynced
	// before anybody acts on it.
	fs          *vfs.MemFS
	checkpoints map[kafka.TopicPartition]checkpoint
	metadata    [][]byte
	// memory is as whom it writes, nil before the first start; clean says that it was
	// closed in order. A kill costs no page cache: who comes back from it goes on as
	// who it was (with a new incarnation the controllers would have to take every kill
	// for a loss, and three kills for the loss of everything).
	memory *incarnation.Memory
	clean  bool
	// failed says that the disk of the partitions has failed since, which is noted in the
	// directory of the metadata log.
	failed bool
	// boots counts the losses of power.
	boots int
	// journal holds the expansions of ISRs that were proposed and not decided; each
	// is durable before it is sent.
	journal map[kafka.TopicPartition]*core.Proposal
	hidden  string // a directory that is not where it was

	// In memory.
	files      *storage.Files
	replay     *replay.Replayer
	partitions []*partition // in the order in which the image gave them
	epoch      kafka.BrokerEpoch
	unfenced   bool
	stopping   bool
	confirmed  bool         // it has had all metadata since it registered
	published  kafka.Offset // end of what the partitions act on

	// coordination is its coordinator, nil of one that is none; election is what that
	// has not heard yet. unconfirmed says that it goes by an image from before its
	// start that no controller has confirmed.
	coordination *coordination
	election     func()
	electionAt   int64
	unconfirmed  bool
	undone       bool // it has made no log where there is none

	metadataWait, heartbeatWait waiting
	heartbeatDue                int64
}

// checkpoint is what the checkpoint files know of a partition.
type checkpoint struct{ highWatermark, recovery kafka.Offset }

// waiting is a request without an answer, and when it is given up.
type waiting struct {
	call  uint64
	until int64
}

const requestTimeoutMs = 1000

// begin takes a call; done ends it and reports whether its answer is still waited
// for.
func (q *waiting) begin(now int64) uint64 {
	q.call++
	q.until = now + requestTimeoutMs
	return q.call
}

func (q *waiting) busy(now int64) bool { return q.until > now }

func (q *waiting) done(call uint64) bool {
	if call != q.call || q.until == 0 {
		return false
	}
	q.until = 0
	return true
}

func (w *World) newBroker(id kafka.BrokerID) *broker {
	return &broker{w: w, id: id, fs: vfs.NewCrashableMem(), checkpoints: map[kafka.TopicPartition]checkpoint{},
		journal: map[kafka.TopicPartition]*core.Proposal{}}
}

func (b *broker) node() node { return node(b.id) }

// wallClock is what records are stamped with. Whatever waits for a time to pass
// goes by a clock that does not jump.
func (b *broker) wallClock() int64 { return b.w.now + b.skew }

// start is a start of the process: what is in memory is what the disk says. Who
// comes back from a kill is who it was, and serves from the image that it has, with
// or without controllers.
func (b *broker) start() {
	b.up, b.dark, b.paused, b.unfenced, b.stopping = true, false, false, false, false
	b.lives++
	b.startedAt = b.w.now
	b.files = storage.NewFiles(b.fs, 1000)
	b.partitions, b.epoch, b.published, b.confirmed = nil, kafka.NoBrokerEpoch, 0, false
	b.coordination, b.election, b.unconfirmed, b.undone = nil, nil, false, false
	b.metadataWait, b.heartbeatWait, b.heartbeatDue = waiting{}, waiting{}, 0
	b.replay = replay.New(nil)
	for _, data := range b.metadata {
		if _, err := b.replay.Feed(data); err != nil {
			b.w.fail("MetadataLogMatching", "broker %d cannot replay its own metadata log: %v", b.id, err)
		}
	}
	b.w.tell("broker %d starts for the %d. time with metadata up to %d", b.id, b.lives, b.replay.NextOffset())
	begun := b.remember()
	b.epoch = begun.Epoch
	if ok, _ := begun.Serves(b.ownRegistration()); ok {
		b.confirmed, b.unconfirmed = true, true
		b.w.event("served from the last image")
		b.publish()
	}
}

// directory is the id of the broker's only log directory.
func (b *broker) directory() kafka.DirectoryID { return kafka.DirectoryID{0: 2, 15: byte(b.id)} }

// metadataDirectory is that of the one in which the broker's metadata log is.
func (b *broker) metadataDirectory() kafka.DirectoryID {
	return kafka.DirectoryID{0: 3, 15: byte(b.id)}
}

// remember finds out as whom the broker starts, and notes it in both of its directories.
func (b *broker) remember() incarnation.Start {
	found := incarnation.Found{Path: fmt.Sprintf("broker %d", b.id), ID: b.directory(), Memory: b.memory, Place: incarnation.Place{Boot: fmt.Sprint(b.boots)}, Clean: b.clean}
	log := incarnation.Found{Path: found.Path + "'s metadata", ID: b.metadataDirectory(), Place: found.Place, Synced: true}
	if b.memory != nil {
		found.CleanEpoch = b.memory.Epoch
		beside := *b.memory
		if b.failed {
			beside.Directories = []kafka.DirectoryID{log.ID}
		}
		log.Memory = &beside
	}
	fresh := kafka.UUID{0: 5, 13: byte(b.lives >> 8), 14: byte(b.lives), 15: byte(b.id)}
	begun := incarnation.Begin(true, []incarnation.Found{found, log}, fresh)
	b.memory = &incarnation.Memory{ID: begun.ID, Epoch: begun.Epoch, Previous: begun.Previous, Directories: []kafka.DirectoryID{found.ID, log.ID}, Place: found.Place}
	b.clean, b.failed = false, false
	return begun
}

// ownRegistration is what the broker's copy of the metadata log says of it.
func (b *broker) ownRegistration() *incarnation.Registration {
	me := b.replay.Image().Broker(b.id)
	if me == nil {
		return nil
	}
	return &incarnation.Registration{ID: me.IncarnationID, Epoch: me.Epoch, Fenced: me.Fenced, Leaving: me.InControlledShutdown, Same: true}
}

// chore is the next thing that a broker does.
func (b *broker) chore() {
	if !b.up || b.paused {
		return
	}
	switch p := b.w.rnd.IntN(100); {
	case p < 15:
		b.fetchMetadata()
	case p < 25:
		b.report()
	case p < 27:
		b.flush()
	case len(b.partitions) == 0:
	case p < 80:
		b.partitions[b.w.rnd.IntN(len(b.partitions))].fetch()
	case p < 90:
		b.partitions[b.w.rnd.IntN(len(b.partitions))].tick()
	default:
		b.partitions[b.w.rnd.IntN(len(b.partitions))].proposeAgain()
	}
}

// flush makes one partition durable, and now and then checkpoints all high
// watermarks.
func (b *broker) flush() {
	if len(b.partitions) == 0 {
		return
	}
	p := b.partitions[b.w.rnd.IntN(len(b.partitions))]
	if err := p.log.Flush(); err != nil {
		panic(err)
	}
	c := b.checkpoints[p.name]
	c.recovery = p.log.RecoveryPoint()
	b.checkpoints[p.name] = c
	b.w.event("partition flushed")
	for _, p := range b.partitions {
		c := b.checkpoints[p.name]
		c.highWatermark = p.log.HighWatermark()
		b.checkpoints[p.name] = c
	}
}

// someController is the active one, or now and then any.
func (b *broker) someController() *controllerNode {
	if c := b.w.activeController(); c != nil && !b.w.chance(10) {
		return c
	}
	return b.w.controllers[b.w.rnd.IntN(controllerCount)]
}

// fetchMetadata asks a controller for the metadata log behind what the disk has.
func (b *broker) fetchMetadata() {
	if b.metadataWait.busy(b.w.now) {
		return
	}
	if b.w.activeController() == nil && b.confirmed && b.w.chance(4) {
		b.peerMetadata()
		return
	}
	call, from, c := b.metadataWait.begin(b.w.now), b.replay.NextOffset(), b.someController()
	registered := b.epoch != kafka.NoBrokerEpoch
	if from != b.metadataEnd().Offset {
		panic("sim: the replay is not where the disk is")
	}
	life := b.lives
	b.w.send(b.node(), c.node(), func() {
		if !c.active() {
			return
		}
		data := c.raft.Batches(from)
		b.w.send(c.node(), b.node(), func() {
			if b.lives == life && b.metadataWait.done(call) {
				b.takeMetadata(data, registered)
			}
		})
	})
}

// metadataEnd is the end of what the disk has, and the epoch of its last batch.
func (b *broker) metadataEnd() kafka.EpochOffset {
	end := kafka.EpochOffset{Epoch: kafka.NoEpoch}
	if n := len(b.metadata); n > 0 {
		for v := range batch.All(b.metadata[n-1]) {
			end = kafka.EpochOffset{Offset: v.EndOffset(), Epoch: v.Epoch()}
		}
	}
	return end
}

// takeMetadata stores committed batches and acts on them, but not before it has
// all that was committed when it registered: until then it does not know what has
// become of what it was.
func (b *broker) takeMetadata(data []byte, registered bool) {
	n := 0
	for v := range batch.All(data) {
		n += v.Size()
		if b.w.chance(8) {
			break
		}
	}
	b.confirmed = b.confirmed || registered && n == len(data)
	b.unconfirmed = b.unconfirmed && !(registered && n == len(data))
	if n > 0 {
		b.metadata = append(b.metadata, data[:n:n])
		if _, err := b.replay.Feed(data[:n]); err != nil {
			b.w.fail("MetadataLogMatching", "broker %d cannot replay the metadata log: %v", b.id, err)
		}
	}
	b.w.truth.committedImage(b.w, b.replay.Image()) // it may be ahead of what the controllers have folded
	if b.confirmed {
		b.publish()
	}
}

// publish lets the partitions act on the image.
func (b *broker) publish() {
	again := b.undone && !b.unconfirmed
	if b.published == b.replay.NextOffset() && !again {
		return
	}
	b.undone = b.undone && !again
	b.published = b.replay.NextOffset()
	b.electNow()
	im := b.replay.Image()
	for t := range im.Topics() {
		for id, p := range t.Partitions() {
			b.assign(im, t, id, p)
		}
	}
	b.coordinate(im)
}

func (b *broker) assign(im *image.Image, t *image.Topic, id kafka.PartitionID, state *image.Partition) {
	mine := false
	for _, r := range state.Replicas {
		mine = mine || r == b.id
	}
	if !mine {
		return
	}
	name := kafka.TopicPartition{Topic: t.Name, Partition: id}
	p := b.partition(name)
	if p == nil {
		if !b.has(name) && !core.MayMake(b.unconfirmed) {
			b.undone = true
			b.w.event("no log made by an unconfirmed image")
			return
		}
		p = b.open(name, t.ID)
		b.partitions = append(b.partitions, p)
	}
	p.assume(im, state)
}

func (b *broker) partition(name kafka.TopicPartition) *partition {
	for _, p := range b.partitions {
		if p.name == name {
			return p
		}
	}
	return nil
}

// report sends the registration, or a heartbeat when it is due.
func (b *broker) report() {
	if b.heartbeatWait.busy(b.w.now) || b.w.now < b.heartbeatDue {
		return
	}
	call := b.heartbeatWait.begin(b.w.now)
	b.heartbeatDue = b.w.now + heartbeatMs
	if b.epoch == kafka.NoBrokerEpoch {
		b.w.ask(b.node(), b.someController(), b.registration(), func(r kmsg.Response) {
			if b.heartbeatWait.done(call) {
				b.registered(r)
			}
		})
		return
	}
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.Version = 1
	req.BrokerID, req.BrokerEpoch, req.CurrentMetadataOffset = int32(b.id), int64(b.epoch), int64(b.published)-1
	req.WantFence, req.WantShutdown = b.published == 0, b.stopping
	b.memory.Leaving = b.memory.Leaving || b.stopping
	b.w.ask(b.node(), b.someController(), req, func(r kmsg.Response) {
		if b.heartbeatWait.done(call) {
			b.beaten(r)
		}
	})
}

func (b *broker) registration() kmsg.Request {
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.Version = 4
	req.BrokerID, req.ClusterID = int32(b.id), clusterID
	req.IncarnationID = b.memory.ID
	req.PreviousBrokerEpoch = int64(b.memory.Previous)
	l := kmsg.NewBrokerRegistrationRequestListener()
	l.Name, l.Host, l.Port = "PLAINTEXT", "localhost", uint16(9092+b.id)
	req.Listeners = append(req.Listeners, l)
	req.LogDirs = append(req.LogDirs, b.directory())
	for _, r := range image.SupportedFeatures() {
		f := kmsg.NewBrokerRegistrationRequestFeature()
		f.Name, f.MinSupportedVersion, f.MaxSupportedVersion = r.Name, r.MinSupportedVersion, r.MaxSupportedVersion
		req.Features = append(req.Features, f)
	}
	return req
}

func (b *broker) registered(r kmsg.Response) {
	resp, ok := r.(*kmsg.BrokerRegistrationResponse)
	if !ok || resp.ErrorCode != 0 {
		return
	}
	b.epoch, b.heartbeatDue = kafka.BrokerEpoch(resp.BrokerEpoch), 0
	b.memory.Epoch = b.epoch
	b.w.tell("broker %d is registered with epoch %d", b.id, b.epoch)
}

func (b *broker) beaten(r kmsg.Response) {
	resp, ok := r.(*kmsg.BrokerHeartbeatResponse)
	if !ok {
		return
	}
	switch errors.Code(resp.ErrorCode) {
	case errors.None:
	case errors.StaleBrokerEpoch, errors.BrokerIDNotRegistered:
		b.w.tell("broker %d is not who the controllers know", b.id)
		b.w.event("registered again")
		b.epoch, b.heartbeatDue = kafka.NoBrokerEpoch, 0
		return
	default:
		return
	}
	if b.unfenced == resp.IsFenced {
		b.unfenced = !resp.IsFenced
		b.w.tell("broker %d is fenced: %t", b.id, resp.IsFenced)
	}
	if resp.ShouldShutdown && b.stopping {
		b.stopped()
	}
}

package controller

import (
	"math/rand/v2"
	"slices"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// usableBrokers are the brokers that new replicas may be placed on: registered,
// not shutting down, and with at least one directory that is not cordoned
// (BrokerHeartbeatManager.usableBrokers, KIP-1066). Fenced ones count.
func usableBrokers(im *image.Image) []*image.Broker {
	usable := make([]*image.Broker, 0, im.BrokerCount())
	for b := range im.Brokers() {
		if !b.InControlledShutdown && !allCordoned(b) {
			usable = append(usable, b)
		}
	}
	return usable
}

func allCordoned(b *image.Broker) bool {
	if len(b.Directories) == 0 {
		return false
	}
	for _, dir := range b.Directories {
		if !slices.Contains(b.CordonedDirectories, dir) {
			return false
		}
	}
	return true
}

// placeReplicas assigns replicas for a number of new partitions; the result has
// one replica list per partition, its first replica the preferred leader.
//
// It keeps the contract of Apache's StripedReplicaPlacer, by another method:
//   - a partition never has two replicas on one broker;
//   - replicas are striped over racks: a rack gets another replica of a partition
//     only when every other rack with a free broker has as many. Brokers without
//     a rack form one rack;
//   - the first replica is unfenced; inside a rack fenced brokers come last;
//   - within one call every unfenced broker leads as many partitions as any
//     other, plus or minus one.
//
// The errors are INVALID_REPLICATION_FACTOR with Apache's texts.
func placeReplicas(random *rand.Rand, brokers []*image.Broker, partitions, factor int) ([][]kafka.BrokerID, *errors.Error) {
	p := newPlacer(random, brokers)
	switch {
	case factor <= 0:
		return nil, errors.New(errors.InvalidReplicationFactor,
			"Invalid replication factor %d: the replication factor must be positive.", factor)
	case p.unfenced == 0:
		return nil, errors.New(errors.InvalidReplicationFactor,
			"All brokers are currently fenced, or have all their log directories cordoned.")
	case factor > len(brokers):
		return nil, errors.New(errors.InvalidReplicationFactor,
			"The target replication factor of %d cannot be reached because only %d broker(s) are registered "+
				"or some brokers have all their log directories cordoned.", factor, len(brokers))
	}
	placed := make([][]kafka.BrokerID, partitions)
	all := make([]kafka.BrokerID, 0, partitions*factor) // one allocation for all lists
	for i := range placed {
		start := len(all)
		all = p.place(all, factor)
		placed[i] = all[start:len(all):len(all)]
	}
	return placed, nil
}

// placer is the state of one call of placeReplicas.
type placer struct {
	random   *rand.Rand
	racks    []*placerRack
	unfenced int
	// leaders is what is left of the current round, in which every unfenced
	// broker leads once.
	leaders []leaderTurn
}

// placerRack holds a rack's brokers as queues: who was placed goes to the back,
// who was passed over keeps its turn.
type placerRack struct {
	unfenced, fenced []kafka.BrokerID
}

type leaderTurn struct {
	rack   int
	broker kafka.BrokerID
}

func newPlacer(random *rand.Rand, brokers []*image.Broker) *placer {
	p := &placer{random: random}
	byName := make(map[string]*placerRack)
	var unnamed *placerRack
	rackOf := func(name *string) *placerRack {
		r := unnamed
		if name != nil {
			r = byName[*name]
		}
		if r != nil {
			return r
		}
		r = &placerRack{}
		p.racks = append(p.racks, r)
		if name == nil {
			unnamed = r
		} else {
			byName[*name] = r
		}
		return r
	}
	for _, b := range brokers {
		r := rackOf(b.Rack)
		if b.Fenced {
			r.fenced = append(r.fenced, b.ID)
		} else {
			r.unfenced = append(r.unfenced, b.ID)
			p.unfenced++
		}
	}
	for _, r := range p.racks {
		p.shuffle(r.unfenced)
		p.shuffle(r.fenced)
	}
	return p
}

func (p *placer) shuffle(ids []kafka.BrokerID) {
	p.random.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
}

// place appends the replicas of the next partition to all. The caller has
// checked that there are as many brokers as replicas.
func (p *placer) place(all []kafka.BrokerID, factor int) []kafka.BrokerID {
	if len(p.leaders) == 0 {
		p.nextRound()
	}
	leader := p.leaders[0]
	p.leaders = p.leaders[1:]
	start := len(all)
	all = append(all, leader.broker)
	for lap := 0; len(all)-start < factor; lap++ {
		for i := 1; i <= len(p.racks) && len(all)-start < factor; i++ {
			rack := (leader.rack + i) % len(p.racks)
			if lap == 0 && rack == leader.rack {
				continue // the leader is its rack's replica of the first lap
			}
			if id, ok := p.racks[rack].next(all[start:]); ok {
				all = append(all, id)
			}
		}
	}
	return all
}

// next takes the rack's next broker that is not used yet, an unfenced one if
// there is any.
func (r *placerRack) next(used []kafka.BrokerID) (kafka.BrokerID, bool) {
	if id, ok := takeNext(r.unfenced, used); ok {
		return id, true
	}
	return takeNext(r.fenced, used)
}

// takeNext moves the first unused id of queue to its back and returns it.
func takeNext(queue, used []kafka.BrokerID) (kafka.BrokerID, bool) {
	for i, id := range queue {
		if !slices.Contains(used, id) {
			copy(queue[i:], queue[i+1:])
			queue[len(queue)-1] = id
			return id, true
		}
	}
	return kafka.NoLeader, false
}

// nextRound lines up every unfenced broker once, striped over the racks, in a
// new random order.
func (p *placer) nextRound() {
	p.random.Shuffle(len(p.racks), func(i, j int) { p.racks[i], p.racks[j] = p.racks[j], p.racks[i] })
	orders := make([][]kafka.BrokerID, len(p.racks))
	for i, r := range p.racks {
		orders[i] = slices.Clone(r.unfenced)
		p.shuffle(orders[i])
	}
	p.leaders = p.leaders[:0]
	for lap := 0; len(p.leaders) < p.unfenced; lap++ {
		for i, order := range orders {
			if lap < len(order) {
				p.leaders = append(p.leaders, leaderTurn{rack: i, broker: order[lap]})
			}
		}
	}
}

// defaultDirectory is the directory of a new replica on a broker: its only one,
// UNASSIGNED where the broker itself has to choose, MIGRATING where it reported
// none (ClusterControlManager.defaultDir). An unregistered broker reads
// UNASSIGNED; that it is not registered is for others to find.
func defaultDirectory(im *image.Image, id kafka.BrokerID) kafka.DirectoryID {
	b := im.Broker(id)
	switch {
	case b == nil || len(b.Directories) > 1:
		return kafka.DirectoryUnassigned
	case len(b.Directories) == 0:
		return kafka.DirectoryMigrating
	}
	return b.Directories[0]
}

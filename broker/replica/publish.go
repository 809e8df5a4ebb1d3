package replica

import (
	"sync"

	"kvorum/broker/replica/core"
	"kvorum/broker/storage"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// assignment is a partition that this broker has a replica of.
type assignment struct {
	topic *image.Topic
	id    kafka.PartitionID
	state *image.Partition
}

func (a assignment) name() kafka.TopicPartition {
	return kafka.TopicPartition{Topic: a.topic.Name, Partition: a.id}
}

// Publish makes the replicas what the image says: it takes away what was deleted
// or moved, makes logs for what is new, and leads and follows (ReplicaManager.
// applyDelta). When it returns, every partition that this broker leads takes
// records; who asks first for one that is on the disk opens it (cold). Partitions
// that did not change go on undisturbed meanwhile.
//
// The first call compares the names of all logs on disk with the image: those of
// topics that it does not know, or does not have on this broker, are renamed and
// kept aside (stray). One that turns out to be of an earlier topic of that name is
// when it is opened. So the image must be one that a live quorum has confirmed; for
// one that is not see Distrust.
func (ps *Partitions) Publish(c *image.Changes, im *image.Image) {
	ps.image.Store(im)
	if !ps.judged && !ps.unconfirmed.Load() {
		ps.judged = true
		ps.setStraysAside(im)
	}
	var changed []assignment
	var gone []kafka.TopicPartition
	for t := range c.Topics() {
		for p := range t.Partitions() {
			had := p.Old != nil && hosts(p.Old, ps.self)
			has := t.New != nil && p.New != nil && hosts(p.New, ps.self)
			switch {
			case has:
				changed = append(changed, assignment{t.New, p.ID, p.New})
			case had:
				if tp := (kafka.TopicPartition{Topic: t.Old.Name, Partition: p.ID}); ps.remove(tp, t.Old.ID, t.New == nil) {
					gone = append(gone, tp)
				}
			}
		}
	}
	if ps.unconfirmed.Load() {
		gone = nil // strays, when the image is confirmed
	}
	if err := ps.dirs.Delete(gone...); err != nil {
		ps.logger.Error("logs could not be deleted", "partitions", len(gone), "error", err)
	}
	set := ps.newSettings(im)
	ps.throttle(c, set)
	for _, a := range changed {
		set.of(a.topic.Name)
	}
	inParallel(changed, func(a assignment) { ps.apply(a, im, set) })
	ps.reconfigure(c, im, set)
	ps.moveRate.Store(set.layers.Number(moveRateKey))
	ps.moves.signal()
	select {
	case ps.chilled <- struct{}{}:
	default: // openCold is about to look
	}
}

func hosts(p *image.Partition, broker kafka.BrokerID) bool {
	for _, r := range p.Replicas {
		if r == broker {
			return true
		}
	}
	return false
}

// appliers is how many partitions are changed at a time. A new log is made in
// memory; one that is on the disk takes a handful of system calls to be opened, and
// more than a few at a time only queue there.
const appliers = 8

// inParallel calls f for every element and waits for all calls.
func inParallel[T any](all []T, f func(T)) {
	if len(all) == 1 {
		f(all[0])
		return
	}
	var wg sync.WaitGroup
	next := make(chan T)
	for range min(appliers, len(all)) {
		wg.Go(func() {
			for t := range next {
				f(t)
			}
		})
	}
	for _, t := range all {
		next <- t
	}
	close(next)
	wg.Wait()
}

// setStraysAside renames the logs that the image does not have here: of a topic
// that it does not know, or of a partition whose replicas are elsewhere.
func (ps *Partitions) setStraysAside(im *image.Image) {
	inParallel(ps.dirs.All(), func(l storage.Stored) {
		if topic := im.TopicByName(l.Partition.Topic); topic != nil {
			if p := topic.Partition(l.Partition.Partition); p != nil && hosts(p, ps.self) {
				return
			}
		}
		ps.logger.Warn("log is of no partition of this broker and is kept aside", "path", l.Path)
		setAside := ps.dirs.Stray
		if l.Future {
			setAside = ps.dirs.StrayFuture
		}
		if err := setAside(l.Partition); err != nil {
			ps.logger.Error("stray log could not be renamed", "path", l.Path, "error", err)
		}
	})
}

// remove ends a partition here: its topic was deleted, or its replica moved to
// other brokers. It reports whether its log is to be deleted.
func (ps *Partitions) remove(tp kafka.TopicPartition, id kafka.TopicID, deleted bool) bool {
	p := ps.known(tp)
	if p == nil || p.topicID != id {
		return false
	}
	why := errors.New(errors.NotLeaderOrFollower, "partition %s has left broker %d", tp, ps.self)
	if deleted {
		why = errors.New(errors.UnknownTopicOrPartition, "the topic of partition %s was deleted", tp)
	}
	p.end(why)
	ps.mu.Lock()
	delete(ps.hosted, tp)
	ps.mu.Unlock()
	return true
}

// end makes a partition answer everybody with why, for good, once no append is
// under way. Who is opening it comes to the end before.
func (p *Partition) end(why error) {
	p.warming.Lock()
	defer p.warming.Unlock()
	p.cold.Store(nil)
	p.owner.fetchers.assign(p, kafka.NoLeader)
	p.role.Lock()
	defer p.role.Unlock()
	p.owner.moves.drop(p)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone, p.leader, p.follower = why, nil, nil
	p.upset()
}

// apply makes one partition what the image says. It is called for several
// partitions at a time, but not for the same one.
func (ps *Partitions) apply(a assignment, im *image.Image, set *settings) {
	tp, c := a.name(), &cold{a, im, set}
	p := ps.known(tp)
	if p == nil {
		p = &Partition{name: tp, topicID: a.topic.ID, owner: ps, epoch: kafka.NoEpoch, leaderID: kafka.NoLeader}
		p.cold.Store(c)
		if !ps.dirs.Unopened(tp) {
			p.warm() // a new log costs nothing
		}
		ps.mu.Lock()
		ps.hosted[tp] = p
		ps.mu.Unlock()
		return
	}
	if !p.chill(c) && p.fault() == nil {
		p.assume(a, coreState(a, im, set.of(tp.Topic).minISR))
	}
}

// openLog finds the partition's log or makes it, in the directory that the image
// names if that is online here. The controllers are told when it is another one.
func (ps *Partitions) openLog(p *Partition, a assignment, im *image.Image, set *settings) error {
	wanted := a.state.Directory(ps.self)
	where := wanted
	if where == kafka.DirectoryLost {
		where = kafka.DirectoryUnassigned // the directory is gone, and the log with it
	}
	config := set.of(p.name.Topic).log
	unconfirmed := ps.unconfirmed.Load()
	if _, there := ps.dirs.Where(p.name); !there && !core.MayMake(unconfirmed) {
		return errUnconfirmed
	}
	if _, err := ps.dirs.Adopt(p.name, p.topicID, wanted); err != nil {
		return err
	}
	l, err := ps.dirs.Create(p.name, p.topicID, config, where)
	if errors.CodeOf(err) == errors.InconsistentTopicID && !unconfirmed {
		ps.logger.Warn("log is of an earlier topic, or of none, and is kept aside", "partition", p.name, "error", err)
		if err := ps.dirs.Stray(p.name); err != nil {
			return err
		}
		l, err = ps.dirs.Create(p.name, p.topicID, config, where)
	}
	if err != nil {
		return err
	}
	p.log.Store(l)
	ps.journal.read(p.logDirectory())
	if to, moving := ps.resumeMove(p); moving && to == wanted {
		return nil // the controllers know where it is going to be
	}
	if dir, ok := ps.dirs.Where(p.name); ok && dir != wanted && !im.MetadataVersion().Before(image.MV37IV2) {
		ps.homes.assign(p, dir)
	}
	return nil
}

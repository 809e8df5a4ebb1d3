package quorum

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
	"kvorum/quorum/controller"
)

// decider answers one API: it decides on the pending image.
type decider struct {
	decide func(controller.Input, kmsg.Request) (controller.Decision, kmsg.Response)
	// visible is true for changes that a client looks for right after: the reply
	// waits until the brokers have fetched them (read your writes).
	visible bool
	// preMigration is true for what is answered before ZooKeeper has been copied
	// (QuorumController's RUNS_IN_PREMIGRATION): reads, and what keeps brokers and
	// controllers registered.
	preMigration bool
	// after notes soft state once the decision stands; nil for most.
	after func(c *Core, ev Request, resp kmsg.Response)
}

// bind gives a decision of package controller the shape of the table.
func bind[Q kmsg.Request, S kmsg.Response](decide func(controller.Input, Q) (controller.Decision, S)) decider {
	return decider{decide: func(in controller.Input, req kmsg.Request) (controller.Decision, kmsg.Response) {
		d, resp := decide(in, req.(Q))
		return d, resp
	}}
}

// read gives an answer that changes nothing the shape of the table.
func read[Q kmsg.Request, S kmsg.Response](answer func(controller.Input, Q) S) decider {
	return decider{preMigration: true, decide: func(in controller.Input, req kmsg.Request) (controller.Decision, kmsg.Response) {
		return controller.Decision{}, answer(in, req.(Q))
	}}
}

// seen is bind for changes that clients look for.
func seen[Q kmsg.Request, S kmsg.Response](decide func(controller.Input, Q) (controller.Decision, S)) decider {
	d := bind(decide)
	d.visible = true
	return d
}

// early is a decider with preMigration.
func early(d decider) decider {
	d.preMigration = true
	return d
}

// deciders are the APIs that the loop answers, by key.
var deciders = map[int16]decider{
	kmsg.CreateTopics.Int16():               seen(controller.CreateTopics),
	kmsg.DeleteTopics.Int16():               seen(controller.DeleteTopics),
	kmsg.CreatePartitions.Int16():           seen(controller.CreatePartitions),
	kmsg.AlterConfigs.Int16():               seen(controller.AlterConfigs),
	kmsg.IncrementalAlterConfigs.Int16():    seen(controller.IncrementalAlterConfigs),
	kmsg.CreateACLs.Int16():                 seen(controller.CreateAcls),
	kmsg.DeleteACLs.Int16():                 seen(controller.DeleteAcls),
	kmsg.DescribeACLs.Int16():               read(controller.DescribeAcls),
	kmsg.AlterClientQuotas.Int16():          seen(controller.AlterClientQuotas),
	kmsg.AlterUserSCRAMCredentials.Int16():  seen(controller.AlterUserScramCredentials),
	kmsg.CreateDelegationToken.Int16():      seen(controller.CreateDelegationToken),
	kmsg.RenewDelegationToken.Int16():       seen(controller.RenewDelegationToken),
	kmsg.ExpireDelegationToken.Int16():      seen(controller.ExpireDelegationToken),
	kmsg.ElectLeaders.Int16():               seen(controller.ElectLeaders),
	kmsg.AlterPartitionAssignments.Int16():  seen(controller.AlterPartitionReassignments),
	kmsg.ListPartitionReassignments.Int16(): read(controller.ListPartitionReassignments),
	kmsg.UpdateFeatures.Int16():             seen(controller.UpdateFeatures),
	kmsg.UnregisterBroker.Int16():           early(seen(controller.UnregisterBroker)),
	kmsg.AlterPartition.Int16():             bind(controller.AlterPartition),
	kmsg.AssignReplicasToDirs.Int16():       bind(controller.AssignReplicasToDirs),
	kmsg.AllocateProducerIDs.Int16():        bind(controller.AllocateProducerIDs),
	kmsg.ControllerRegistration.Int16():     early(bind(controller.RegisterController)),
	kmsg.BrokerRegistration.Int16():         {preMigration: true, decide: bind(controller.RegisterBroker).decide, after: afterRegistration},
	kmsg.BrokerHeartbeat.Int16():            {preMigration: true, decide: bind(controller.Heartbeat).decide, after: afterHeartbeat},
}

// stepRequest decides a request and parks its reply until what it was decided
// on is committed. A request that changes nothing parks too: it has read
// pending state.
func (c *Core) stepRequest(ev Request) {
	refuse := func(err *errors.Error) { c.out.Replies = append(c.out.Replies, Reply{ID: ev.ID, Err: err}) }
	if q, ok := ev.Body.(*kmsg.DescribeQuorumRequest); ok && c.role != active {
		c.out.Replies = append(c.out.Replies, Reply{ID: ev.ID, Response: describeQuorumElsewhere(q)})
		return
	}
	if c.role != active {
		refuse(errors.New(errors.NotController, "%s", errors.NotController.Message()))
		return
	}
	if c.bytes > c.limits.pendingBytes || c.parked.len() >= c.cfg.MaxParked {
		refuse(errors.New(errors.RequestTimedOut, "the controllers have too much that is not committed: try again"))
		return
	}
	if c.now >= ev.DeadlineMs {
		refuse(errors.New(errors.RequestTimedOut, "the request waited too long before the controller could look at it"))
		return
	}
	if q, ok := ev.Body.(*kmsg.DescribeQuorumRequest); ok {
		c.parked.add(parkedReply{id: ev.ID, need: c.next, deadlineMs: ev.DeadlineMs, response: c.describeQuorum(q)})
		return
	}
	d, ok := deciders[ev.Body.Key()]
	if !ok {
		panic(fmt.Sprintf("quorum: API %s (%d) is bound to the loop, which has no decision for it", kmsg.NameForKey(ev.Body.Key()), ev.Body.Key()))
	}
	if !d.preMigration {
		switch state := c.pending.ZkMigrationState(); {
		case state == image.ZkPreMigration:
			refuse(errors.New(errors.NotController, "The controller is in pre-migration mode: nothing is changed before ZooKeeper has been copied"))
			return
		case state == image.ZkNone && c.cfg.Settings.ZooKeeperMigration:
			refuse(errors.New(errors.NotController, "The migration was rolled back: ZooKeeper's brokers have a controller of their own again"))
			return
		}
	}
	in := c.input(ev.Caller)
	in.Image = c.visible()
	spent := c.mutations.of(c.now, c.pending, ev.Caller, ev.Body)
	in.Mutate = spent.take
	decision, response := d.decide(in, ev.Body)
	spent.announce(response)
	if c.transaction != nil && len(decision.Records) > 0 {
		c.heardWithin(ev)
		refuse(errors.New(errors.RequestTimedOut, "ZooKeeper is being copied or given back: try again"))
		return
	}
	if err := c.apply(decision); err != nil {
		code, message := errors.From(err)
		text := code.Message()
		if message != nil {
			text = *message
		}
		if code == errors.UnknownServerError {
			c.note(true, "%s: %v", kmsg.NameForKey(ev.Body.Key()), err)
		}
		refuse(errors.New(code, "%s", text))
		return
	}
	if d.after != nil {
		d.after(c, ev, response)
	}
	c.parked.add(parkedReply{
		id: ev.ID, need: c.next, deadlineMs: ev.DeadlineMs, response: response,
		brokers: d.visible && len(decision.Records) > 0,
	})
}

// afterRegistration begins the broker's session.
func afterRegistration(c *Core, ev Request, r kmsg.Response) {
	req, resp := ev.Body.(*kmsg.BrokerRegistrationRequest), r.(*kmsg.BrokerRegistrationResponse)
	if resp.ErrorCode == 0 {
		c.heard(kafka.BrokerID(req.BrokerID), kafka.BrokerEpoch(resp.BrokerEpoch), ev.Connection)
		c.sessions.Registered(kafka.BrokerID(req.BrokerID), kafka.BrokerEpoch(resp.BrokerEpoch), c.now, c.cfg.Settings.SessionTimeoutMs)
	}
}

// afterHeartbeat notes that the broker lives and how far it is.
func afterHeartbeat(c *Core, ev Request, r kmsg.Response) {
	req, resp := ev.Body.(*kmsg.BrokerHeartbeatRequest), r.(*kmsg.BrokerHeartbeatResponse)
	if resp.ErrorCode != 0 {
		return
	}
	c.heard(kafka.BrokerID(req.BrokerID), kafka.BrokerEpoch(req.BrokerEpoch), ev.Connection)
	c.sessions.Heartbeat(c.pending, controller.BrokerSession{
		ID: kafka.BrokerID(req.BrokerID), Epoch: kafka.BrokerEpoch(req.BrokerEpoch), LastContactMs: c.now,
		MetadataOffset: kafka.Offset(req.CurrentMetadataOffset), WantFence: req.WantFence, WantShutdown: req.WantShutdown,
	})
}

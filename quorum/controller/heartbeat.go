package controller

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// brokerState is where a broker stands (BrokerControlState).
//
//	fenced -> unfenced                 it wants it and has applied its registration
//	fenced -> shutdown now             it wants to stop
//	unfenced -> fenced                 it wants it, or its session expired
//	unfenced -> controlled shutdown    it wants to stop and leads partitions
//	unfenced -> shutdown now           it wants to stop and leads none
//	controlled shutdown -> shutdown now  it leads none, and every active broker knows
//	controlled shutdown -> fenced      its session expired
type brokerState int8

const (
	stateFenced brokerState = iota
	stateUnfenced
	stateControlledShutdown
	stateShutdownNow // fenced, and told to exit
)

func stateOf(b *image.Broker) brokerState {
	switch {
	case b.Fenced:
		return stateFenced
	case b.InControlledShutdown:
		return stateControlledShutdown
	}
	return stateUnfenced
}

// Heartbeat decides on a broker's heartbeat: whether it is fenced, unfenced, or
// may stop, and which of its directories are lost or cordoned (BrokerHeartbeat
// v0-v2; ReplicationControlManager.processBrokerHeartbeat). A broker that is
// well yields no record. Not atomic. The loop tells Sessions about the
// heartbeat when the error code is 0 (Sessions.Heartbeat).
func Heartbeat(in Input, req *kmsg.BrokerHeartbeatRequest) (Decision, *kmsg.BrokerHeartbeatResponse) {
	resp := kmsg.NewPtrBrokerHeartbeatResponse()
	resp.Version = req.Version
	b, err := checkBrokerEpoch(in.Image, kafka.BrokerID(req.BrokerID), kafka.BrokerEpoch(req.BrokerEpoch))
	if err != nil {
		resp.ErrorCode = int16(err.Code)
		return Decision{}, resp
	}
	if max(len(req.OfflineLogDirs), len(req.CordonedLogDirs)) > maxRegistrationItems {
		resp.ErrorCode = int16(errors.InvalidRequest)
		return Decision{}, resp
	}
	pass := newPartitionPass(in)
	next := nextBrokerState(in, b, req)
	if next != stateOf(b) {
		switch next {
		case stateFenced, stateShutdownNow:
			if !b.Fenced { // Kafka fences a fenced broker that stops once more
				pass.fenceBroker(b)
			}
		case stateUnfenced:
			pass.unfenceBroker(b)
		case stateControlledShutdown:
			pass.beginControlledShutdown(b)
		}
	}
	if pass.rules.mv >= image.MV37IV2 {
		pass.loseDirectories(b, directoryIDs(req.OfflineLogDirs))
	}
	if pass.rules.mv >= image.MV43IV0 {
		pass.cordonDirectories(b, directoryIDs(req.CordonedLogDirs))
	}
	resp.IsCaughtUp = caughtUp(b, req)
	resp.IsFenced = next == stateFenced || next == stateShutdownNow
	resp.ShouldShutdown = next == stateShutdownNow
	return Decision{Records: pass.records}, resp
}

// caughtUp reports whether the broker has applied its own registration.
func caughtUp(b *image.Broker, req *kmsg.BrokerHeartbeatRequest) bool {
	return kafka.Offset(req.CurrentMetadataOffset) >= b.RegisteredAt
}

// nextBrokerState is BrokerHeartbeatManager.calculateNextBrokerState.
func nextBrokerState(in Input, b *image.Broker, req *kmsg.BrokerHeartbeatRequest) brokerState {
	switch state := stateOf(b); state {
	case stateFenced:
		switch {
		case req.WantShutdown:
			return stateShutdownNow
		case !req.WantFence && caughtUp(b, req):
			return stateUnfenced
		}
		return stateFenced
	case stateUnfenced:
		switch {
		case req.WantFence && req.WantShutdown:
			return stateShutdownNow
		case req.WantFence:
			return stateFenced
		case req.WantShutdown && leads(in.Image, b.ID):
			return stateControlledShutdown
		case req.WantShutdown:
			return stateShutdownNow
		}
		return stateUnfenced
	default:
		if mayEndShutdown(in, b) {
			return stateShutdownNow
		}
		return state
	}
}

// mayEndShutdown reports whether a broker in controlled shutdown leads nothing
// any more and every active broker has applied the records that moved its
// leaderships away: only then does no client miss the new leader.
func mayEndShutdown(in Input, b *image.Broker) bool {
	if leads(in.Image, b.ID) {
		return false
	}
	needed, known := in.Sessions.ShutdownOffset(b.ID, b.Epoch)
	if !known {
		needed = in.Image.At().Offset
	}
	return needed <= in.Sessions.LowestActiveOffset(in.Image)
}

// FenceExpired fences the broker whose session expired first, if there is one,
// and names it (ReplicationControlManager.maybeFenceOneStaleBroker); otherwise
// it returns kafka.NoLeader. One at a time, so that the next one is decided on
// what the first one left; the loop calls it until nobody is left, and
// Sessions.Prune then. Not atomic.
//
// Kafka 4.x fences a broker again that is fenced already; that is left out.
func FenceExpired(in Input) (Decision, kafka.BrokerID) {
	for _, s := range in.Sessions.Expired(in.NowMs, in.Settings.SessionTimeoutMs) {
		b := in.Image.Broker(s.ID)
		if b == nil || b.Epoch != s.Epoch || b.Fenced {
			continue
		}
		pass := newPartitionPass(in)
		pass.once = true
		pass.fenceBroker(b)
		return Decision{Records: pass.records}, b.ID
	}
	return Decision{}, kafka.NoLeader
}

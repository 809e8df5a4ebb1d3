package quorum

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol"
	wire "kvorum/protocol/errors"
)

const (
	// followInterval is how often, at least, a controller that is not active tells
	// the active one how far its log is, and looks whether it is registered.
	followInterval = 500 * time.Millisecond
	// followTimeout bounds one exchange with the active controller.
	followTimeout = 2 * time.Second
	// maxFollowResponse bounds an answer: both are short, and whatever records a
	// Fetch brings along are limited by its MaxBytes.
	maxFollowResponse = maxFetchBytes + 64<<10
)

// followActive is what a controller does while another one is active: it keeps
// its registration current (KIP-919) and fetches at the end of its own log, so
// that the active controller can describe the quorum as Apache's would. What it
// fetches is not used: Raft brings the log.
func (c *Controller) followActive(ctx context.Context) {
	var conn net.Conn
	var connected string
	hangUp := func() {
		if conn != nil {
			conn.Close()
			conn = nil
		}
	}
	defer hangUp()
	ticker := time.NewTicker(followInterval)
	defer ticker.Stop()
	for told := kafka.NoOffset; c.awaitFollowing(ctx, ticker.C, told); {
		told = c.log.Store().EndOffset() // also where this turn fails: the next tick tries again
		address, ok := c.activeAddress()
		if !ok || address != connected {
			hangUp()
		}
		if !ok {
			continue
		}
		if conn == nil {
			var err error
			dialer := net.Dialer{Timeout: followTimeout}
			if conn, err = dialer.DialContext(ctx, "tcp", address); err != nil {
				conn = nil
				continue // the next tick tries again; health shows what is missing
			}
			connected = address
		}
		if err := c.followOnce(conn); err != nil {
			c.logger.Debug("exchange with the active controller", "address", address, "error", err)
			hangUp()
		}
	}
}

// awaitFollowing waits until the active controller is to hear of this one: at the
// next tick, or, where a broker runs in this process, as soon as the log has grown
// past what was told. Replies to changes wait for that broker too, and what it has
// applied counts no further than this controller's position. And such a broker waits
// for what the active controller tells first. It is false at the end.
func (c *Controller) awaitFollowing(ctx context.Context, tick <-chan time.Time, told kafka.Offset) bool {
	for {
		changed := c.WaitState()
		if c.gathered.taken() && c.log.Store().EndOffset() > told {
			return ctx.Err() == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick:
			return true
		case <-changed:
			if c.gathered.taken() && !c.wasTold() {
				return ctx.Err() == nil
			}
		}
	}
}

// waitTold returns a channel that is closed when the active controller has told the
// end of its log; nil where it has.
func (c *Controller) waitTold() <-chan struct{} {
	if c.wasTold() {
		return nil
	}
	return c.told
}

func (c *Controller) wasTold() bool {
	select {
	case <-c.told:
		return true
	default:
		return false
	}
}

// confirms reports whether nothing that was committed when this process started is
// missing in a state.
func (c *Controller) confirms(s *State) bool { return s.Active || c.wasTold() && s.End >= c.toldEnd }

// learnEnd takes what the active controller answers to a Fetch at the end of this
// log. Only an active one answers without an error; its high watermark is the end of
// its log.
func (c *Controller) learnEnd(resp *kmsg.FetchResponse) {
	if c.wasTold() || resp.ErrorCode != 0 || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return
	}
	if p := &resp.Topics[0].Partitions[0]; p.ErrorCode == 0 && p.HighWatermark >= 0 && p.DivergingEpoch.EndOffset < 0 {
		c.toldEnd = kafka.Offset(p.HighWatermark)
		close(c.told)
	}
}

// activeAddress is where the active controller listens, if it is another node.
func (c *Controller) activeAddress() (string, bool) {
	state := c.state.Load()
	if state.Leader == kafka.NoNode || state.Leader == c.cfg.Core.Self || len(c.cfg.Core.Endpoints) == 0 {
		return "", false
	}
	e, ok := c.endpointOf(state.Leader, c.cfg.Core.Endpoints[0].Name)
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))), ok
}

func (c *Controller) followOnce(conn net.Conn) error {
	state := c.state.Load()
	if err := conn.SetDeadline(time.Now().Add(followTimeout)); err != nil {
		return err
	}
	if r := state.Image.Controller(c.cfg.Core.Self); r == nil || r.IncarnationID != c.cfg.Core.Incarnation {
		if state.Image.MetadataVersion() >= minRegistrationVersion {
			resp := kmsg.NewPtrControllerRegistrationResponse()
			if err := exchange(conn, c.cfg.Core.registration(), resp); err != nil {
				return err
			}
			if err := wire.Code(resp.ErrorCode).Err(); err != nil && wire.Code(resp.ErrorCode) != wire.NotController {
				return fmt.Errorf("register this controller: %w", err)
			}
		}
	}
	resp := kmsg.NewPtrFetchResponse()
	if err := exchange(conn, c.positionRequest(state), resp); err != nil {
		return err
	}
	c.learnEnd(resp)
	return nil
}

// positionRequest is a Fetch at the end of this controller's log.
func (c *Controller) positionRequest(state *State) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version = 17
	req.ClusterID = &c.cfg.ClusterID
	req.ReplicaState.ID, req.ReplicaState.Epoch = int32(c.cfg.Core.Self), -1
	req.MaxBytes = 1
	part := kmsg.NewFetchRequestTopicPartition()
	part.CurrentLeaderEpoch = int32(state.Epoch)
	part.FetchOffset = int64(c.log.Store().EndOffset())
	part.LastFetchedEpoch = int32(c.log.Store().LastEpoch())
	part.ReplicaDirectoryID = c.cfg.Core.DirectoryID
	topic := kmsg.NewFetchRequestTopic()
	topic.TopicID = kafka.MetadataTopicID
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	return req
}

// exchange sends one request and reads its response. There is never more than
// one request on the connection.
func exchange(conn net.Conn, req kmsg.Request, resp kmsg.Response) error {
	const correlation = 1
	clientID := "kvorum-controller"
	resp.SetVersion(req.GetVersion())
	if _, err := conn.Write(protocol.AppendRequest(nil, correlation, &clientID, req)); err != nil {
		return fmt.Errorf("send %s: %w", kmsg.NameForKey(req.Key()), err)
	}
	if _, err := protocol.ReadAnswer(conn, maxFollowResponse, nil, correlation, resp); err != nil {
		return fmt.Errorf("read the answer to %s: %w", kmsg.NameForKey(req.Key()), err)
	}
	return nil
}

package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	wire "kvorum/protocol/errors"
)

// QuorumStatus is the state of the metadata quorum, as its active controller
// tells it.
type QuorumStatus struct {
	ClusterID     string            `json:"cluster_id"`
	Leader        kafka.NodeID      `json:"leader"`
	Epoch         kafka.LeaderEpoch `json:"epoch"`
	HighWatermark kafka.Offset      `json:"high_watermark"`
	Voters        []QuorumReplica   `json:"voters"`
	Observers     []QuorumReplica   `json:"observers"`
}

// QuorumReplica is one copy of the metadata log.
type QuorumReplica struct {
	ID           kafka.NodeID      `json:"id"`
	DirectoryID  kafka.DirectoryID `json:"directory_id"`
	LogEndOffset kafka.Offset      `json:"log_end_offset"` // -1 if the leader has not heard of it
	Lag          kafka.Offset      `json:"lag"`            // -1 if it is not known
	LastFetchMs  int64             `json:"last_fetch_ms"`  // milliseconds since 1970, -1 for never
	CaughtUpMs   int64             `json:"last_caught_up_ms"`
	Address      string            `json:"address,omitempty"`
}

// Healthy says what is wrong with the quorum, nil if nothing is: without a
// majority of voters that follow closely the next failure stops the cluster.
func (s *QuorumStatus) Healthy(now time.Time) error {
	if s.Leader < 0 {
		return errors.New("no controller is active")
	}
	current := 0
	var behind []string
	for _, v := range s.Voters {
		if v.ID == s.Leader || v.CaughtUpMs >= 0 && now.Sub(time.UnixMilli(v.CaughtUpMs)) < staleAfter {
			current++
		} else {
			behind = append(behind, fmt.Sprint(v.ID))
		}
	}
	if len(behind) > 0 {
		return fmt.Errorf("%d of %d controllers are current; behind or gone: %s", current, len(s.Voters), strings.Join(behind, ", "))
	}
	return nil
}

// staleAfter is how long a controller may not have been seen at the end of the
// log: several of its half-second exchanges.
const staleAfter = 10 * time.Second

// Quorum asks the controllers at bootstrap (HOST:PORT, separated by commas) for
// the state of the quorum. It goes through them until one knows the active one.
func Quorum(ctx context.Context, bootstrap string, timeout time.Duration) (*QuorumStatus, error) {
	if bootstrap == "" {
		return nil, errors.New("no controllers are named: use --bootstrap-controller HOST:PORT")
	}
	resp, found, err := DescribeQuorum(ctx, bootstrap, true, timeout)
	if err != nil {
		return nil, err
	}
	status := &QuorumStatus{ClusterID: found.ClusterID}
	status.fill(&resp.Topics[0].Partitions[0], addressesOf(found))
	return status, nil
}

// DescribeQuorum asks for the state of the quorum, of which the answer describes
// one partition, and for the cluster. bootstrap (HOST:PORT, separated by commas)
// names controllers, or else brokers, which ask the active controller by
// themselves; it goes through them until one has an answer.
func DescribeQuorum(ctx context.Context, bootstrap string, controllers bool, timeout time.Duration) (*kmsg.DescribeQuorumResponse, *kmsg.DescribeClusterResponse, error) {
	var problems []error
	for _, address := range strings.Split(bootstrap, ",") {
		resp, found, err := quorumFrom(ctx, address, controllers, timeout)
		if err == nil {
			return resp, found, nil
		}
		problems = append(problems, fmt.Errorf("%s: %w", address, err))
	}
	return nil, nil, errors.Join(problems...)
}

// quorumFrom asks the broker at address; or the controller there who is active,
// and that one.
func quorumFrom(ctx context.Context, address string, controllers bool, timeout time.Duration) (*kmsg.DescribeQuorumResponse, *kmsg.DescribeClusterResponse, error) {
	cluster := kmsg.NewPtrDescribeClusterRequest()
	if controllers {
		cluster.EndpointType = 2
	}
	found, err := ask[*kmsg.DescribeClusterResponse](ctx, address, timeout, cluster)
	if err != nil {
		return nil, nil, err
	}
	if err := wire.Code(found.ErrorCode).Err(); err != nil {
		return nil, nil, fmt.Errorf("describe the cluster: %w", err)
	}
	if controllers {
		active, ok := addressesOf(found)[kafka.NodeID(found.ControllerID)]
		if !ok {
			return nil, nil, errors.New("no controller is active that this one knows of")
		}
		address = active
	}
	req := kmsg.NewPtrDescribeQuorumRequest()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic = kafka.MetadataTopic
	topic.Partitions = append(topic.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	req.Topics = append(req.Topics, topic)
	resp, err := ask[*kmsg.DescribeQuorumResponse](ctx, address, timeout, req)
	if err == nil {
		err = checkQuorum(resp)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("describe the quorum: ask %s: %w", address, err)
	}
	return resp, found, nil
}

func addressesOf(found *kmsg.DescribeClusterResponse) map[kafka.NodeID]string {
	out := map[kafka.NodeID]string{}
	for _, b := range found.Brokers {
		out[kafka.NodeID(b.NodeID)] = fmt.Sprintf("%s:%d", b.Host, b.Port)
	}
	return out
}

func checkQuorum(resp *kmsg.DescribeQuorumResponse) error {
	if err := wire.Code(resp.ErrorCode).Err(); err != nil {
		return err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return errors.New("the answer does not describe the metadata log")
	}
	return wire.Code(resp.Topics[0].Partitions[0].ErrorCode).Err()
}

func (status *QuorumStatus) fill(p *kmsg.DescribeQuorumResponseTopicPartition, addresses map[kafka.NodeID]string) {
	status.Leader, status.Epoch, status.HighWatermark = kafka.NodeID(p.LeaderID), kafka.LeaderEpoch(p.LeaderEpoch), kafka.Offset(p.HighWatermark)
	replicas := func(states []kmsg.DescribeQuorumResponseTopicPartitionReplicaState) []QuorumReplica {
		out := make([]QuorumReplica, 0, len(states))
		for _, s := range states {
			r := QuorumReplica{
				ID: kafka.NodeID(s.ReplicaID), DirectoryID: s.ReplicaDirectoryID, LogEndOffset: kafka.Offset(s.LogEndOffset),
				Lag: -1, LastFetchMs: s.LastFetchTimestamp, CaughtUpMs: s.LastCaughtUpTimestamp, Address: addresses[kafka.NodeID(s.ReplicaID)],
			}
			if r.LogEndOffset >= 0 {
				r.Lag = max(0, status.HighWatermark-r.LogEndOffset)
			}
			out = append(out, r)
		}
		return out
	}
	status.Voters, status.Observers = replicas(p.CurrentVoters), replicas(p.Observers)
}

// ask sends one request to one controller and returns its answer.
func ask[S kmsg.Response](ctx context.Context, address string, timeout time.Duration, req kmsg.Request) (S, error) {
	var none S
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RequestRetries(0), kgo.ClientID(clientID), kgo.DialTimeout(timeout))
	if err != nil {
		return none, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	got, err := client.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return none, err
	}
	return got.(S), nil
}

package znode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"kvorum/internal/kafka"
)

// DecodeClusterID reads /cluster/id.
func DecodeClusterID(data []byte) (string, error) {
	o, err := parseVersion(data, 1, 1)
	if err != nil {
		return "", err
	}
	return get[string](o, "id")
}

// Controller is /controller: who is the controller. A broker in ZooKeeper mode
// holds it as an ephemeral node with KRaftEpoch -1; a KRaft controller as a
// persistent one with the KRaft epoch of its claim.
type Controller struct {
	ID          kafka.NodeID
	TimestampMs int64
	KRaftEpoch  kafka.LeaderEpoch
}

// DecodeController reads /controller.
func DecodeController(data []byte) (Controller, error) {
	o, err := parse(data)
	if err != nil {
		return Controller{}, err
	}
	v, err := o.version(1, 2)
	if err != nil {
		return Controller{}, err
	}
	id, err := o.id("brokerid")
	if err != nil {
		return Controller{}, err
	}
	c := Controller{ID: kafka.NodeID(id), KRaftEpoch: kafka.NoEpoch}
	if o.has("timestamp") {
		if c.TimestampMs, err = o.number("timestamp"); err != nil {
			return Controller{}, err
		}
	}
	if v >= 2 && o.has("kraftControllerEpoch") {
		epoch, err := o.id("kraftControllerEpoch")
		if err != nil {
			return Controller{}, err
		}
		c.KRaftEpoch = kafka.LeaderEpoch(epoch)
	}
	return c, nil
}

// Encode writes /controller.
func (c Controller) Encode() []byte {
	return encode(struct {
		Version   int               `json:"version"`
		ID        kafka.NodeID      `json:"brokerid"`
		Timestamp string            `json:"timestamp"`
		Epoch     kafka.LeaderEpoch `json:"kraftControllerEpoch"`
	}{2, c.ID, strconv.FormatInt(c.TimestampMs, 10), c.KRaftEpoch})
}

// DecodeControllerEpoch reads /controller_epoch, a number as text.
func DecodeControllerEpoch(data []byte) (kafka.LeaderEpoch, error) {
	v, err := strconv.ParseInt(string(data), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("the epoch is %q and not a number of 32 bits", shorten(data))
	}
	return kafka.LeaderEpoch(v), nil
}

// EncodeControllerEpoch writes /controller_epoch.
func EncodeControllerEpoch(e kafka.LeaderEpoch) []byte {
	return strconv.AppendInt(nil, int64(e), 10)
}

// Migration is /migration: which KRaft controller writes to ZooKeeper and how far
// it has come (KIP-866). All are -1 before the first claim.
type Migration struct {
	ControllerID    kafka.NodeID
	ControllerEpoch kafka.LeaderEpoch
	// Offset is the last offset of the metadata log that is in ZooKeeper, and Epoch
	// the KRaft epoch of that record.
	Offset kafka.Offset
	Epoch  kafka.LeaderEpoch
}

// NoMigration is /migration as a controller creates it.
var NoMigration = Migration{ControllerID: kafka.NoNode, ControllerEpoch: kafka.NoEpoch, Offset: kafka.NoOffset, Epoch: kafka.NoEpoch}

// Copied reports whether ZooKeeper's metadata is in the metadata log
// (ZkMigrationLeadershipState.initialZkMigrationComplete).
func (m Migration) Copied() bool { return m.Offset > 0 }

// DecodeMigration reads /migration.
func DecodeMigration(data []byte) (Migration, error) {
	o, err := parseVersion(data, 0, 0)
	if err != nil {
		return Migration{}, err
	}
	var numbers [3]int32
	for i, name := range []string{"kraft_controller_id", "kraft_controller_epoch", "kraft_metadata_epoch"} {
		if numbers[i], err = o.id(name); err != nil {
			return Migration{}, err
		}
	}
	offset, err := o.number("kraft_metadata_offset")
	if err != nil {
		return Migration{}, err
	}
	return Migration{
		ControllerID: kafka.NodeID(numbers[0]), ControllerEpoch: kafka.LeaderEpoch(numbers[1]),
		Offset: kafka.Offset(offset), Epoch: kafka.LeaderEpoch(numbers[2]),
	}, nil
}

// Encode writes /migration.
func (m Migration) Encode() []byte {
	return encode(struct {
		Version         int               `json:"version"`
		Offset          kafka.Offset      `json:"kraft_metadata_offset"`
		ControllerID    kafka.NodeID      `json:"kraft_controller_id"`
		Epoch           kafka.LeaderEpoch `json:"kraft_metadata_epoch"`
		ControllerEpoch kafka.LeaderEpoch `json:"kraft_controller_epoch"`
	}{0, m.Offset, m.ControllerID, m.Epoch, m.ControllerEpoch})
}

// Broker is /brokers/ids/N: the ephemeral registration of a broker in ZooKeeper
// mode, or in migration mode.
type Broker struct {
	ID        kafka.BrokerID
	Version   int // 1 to 5: which fields the broker wrote
	Endpoints []Endpoint
	Rack      string
	Features  map[string]FeatureRange // KIP-584, from version 5
	// TimestampMs is when it registered by its own clock, and CreatedMs by ZooKeeper's, in
	// milliseconds since 1970; 0 if that is not known.
	TimestampMs, CreatedMs int64
}

// Endpoint is one listener of a broker.
type Endpoint struct {
	Listener, Protocol, Host string
	Port                     uint16
}

// FeatureRange is the levels of a feature that a broker supports.
type FeatureRange struct {
	Min int16 `json:"min_version"`
	Max int16 `json:"max_version"`
}

// DecodeBroker reads the node of a live broker.
func DecodeBroker(id kafka.BrokerID, data []byte) (Broker, error) {
	o, err := parse(data)
	if err != nil {
		return Broker{}, err
	}
	b := Broker{ID: id}
	if b.Version, err = o.version(1, 5); err != nil {
		return Broker{}, err
	}
	if b.Rack, err = getOr(o, "rack", ""); err != nil {
		return Broker{}, err
	}
	if o.has("timestamp") {
		if b.TimestampMs, err = o.number("timestamp"); err != nil {
			return Broker{}, err
		}
	}
	if b.Version == 1 {
		host, err := get[string](o, "host")
		if err != nil {
			return Broker{}, err
		}
		port, err := get[uint16](o, "port")
		if err != nil {
			return Broker{}, err
		}
		b.Endpoints = []Endpoint{{"PLAINTEXT", "PLAINTEXT", host, port}}
		return b, nil
	}
	if b.Features, err = getOr(o, "features", b.Features); err != nil {
		return Broker{}, err
	}
	return b, b.readEndpoints(o)
}

// readEndpoints reads the listeners. Without a map of protocols, before version 4,
// a listener is named as its protocol.
func (b *Broker) readEndpoints(o object) error {
	texts, err := get[[]string](o, "endpoints")
	if err != nil {
		return err
	}
	protocols, err := getOr(o, "listener_security_protocol_map", map[string]string{})
	if err != nil {
		return err
	}
	for _, text := range texts {
		e, err := parseEndpoint(text)
		if err != nil {
			return err
		}
		if p, ok := protocols[e.Listener]; ok {
			e.Protocol = p
		}
		b.Endpoints = append(b.Endpoints, e)
	}
	return nil
}

// parseEndpoint reads LISTENER://host:port; an IPv6 address may be in brackets.
func parseEndpoint(text string) (Endpoint, error) {
	name, address, ok := strings.Cut(text, "://")
	colon := strings.LastIndexByte(address, ':')
	if !ok || name == "" || colon < 0 {
		return Endpoint{}, fmt.Errorf("the endpoint %q is not LISTENER://host:port", shorten([]byte(text)))
	}
	port, err := strconv.ParseUint(address[colon+1:], 10, 16)
	if err != nil {
		return Endpoint{}, fmt.Errorf("the endpoint %q has no port", shorten([]byte(text)))
	}
	host := strings.TrimSuffix(strings.TrimPrefix(address[:colon], "["), "]")
	return Endpoint{Listener: name, Protocol: name, Host: host, Port: uint16(port)}, nil
}

// ProducerIDBlock is /latest_producer_id_block: the block of producer ids that was
// given out last, both ends included.
type ProducerIDBlock struct {
	Broker     kafka.BrokerID
	Start, End kafka.ProducerID
}

// DecodeProducerIDBlock reads /latest_producer_id_block; an empty node, as
// controllers create it, means that no block was given out and is nil.
func DecodeProducerIDBlock(data []byte) (*ProducerIDBlock, error) {
	if len(data) == 0 {
		return nil, nil
	}
	o, err := parseVersion(data, 1, 1)
	if err != nil {
		return nil, err
	}
	broker, err := o.id("broker")
	if err != nil {
		return nil, err
	}
	start, err := o.number("block_start")
	if err != nil {
		return nil, err
	}
	end, err := o.number("block_end")
	if err != nil {
		return nil, err
	}
	if start < 0 || end < start || end+1 <= 0 {
		return nil, fmt.Errorf("the block %d to %d is not one", start, end)
	}
	return &ProducerIDBlock{kafka.BrokerID(broker), kafka.ProducerID(start), kafka.ProducerID(end)}, nil
}

// Encode writes /latest_producer_id_block.
func (b ProducerIDBlock) Encode() []byte {
	return encode(struct {
		Version int            `json:"version"`
		Broker  kafka.BrokerID `json:"broker"`
		Start   string         `json:"block_start"`
		End     string         `json:"block_end"`
	}{1, b.Broker, strconv.FormatInt(int64(b.Start), 10), strconv.FormatInt(int64(b.End), 10)})
}

// Feature is /feature: the finalized features of a cluster in ZooKeeper mode
// (KIP-584). Kafka 3.9 finalizes none there.
type Feature struct {
	Enabled bool
	Names   []string // of the finalized features, in ascending order
}

// DecodeFeature reads /feature.
func DecodeFeature(data []byte) (Feature, error) {
	o, err := parseVersion(data, 1, 2)
	if err != nil {
		return Feature{}, err
	}
	status, err := o.id("status")
	if err != nil {
		return Feature{}, err
	}
	features, err := getOr(o, "features", map[string]json.RawMessage{})
	if err != nil {
		return Feature{}, err
	}
	return Feature{Enabled: status == 1, Names: sortedKeys(features)}, nil
}

// Move is a partition that an operator asked to be moved through ZooKeeper.
type Move struct {
	Topic     string            `json:"topic"`
	Partition kafka.PartitionID `json:"partition"`
	Replicas  []kafka.BrokerID  `json:"replicas"`
}

// DecodeReassignments reads /admin/reassign_partitions, and the form without
// replicas that /admin/preferred_replica_election has.
func DecodeReassignments(data []byte) ([]Move, error) {
	o, err := parseVersion(data, 1, 1)
	if err != nil {
		return nil, err
	}
	return getOr[[]Move](o, "partitions", nil)
}

// isEmptyObject reports whether a node holds nothing that counts.
func isEmptyObject(data []byte) bool {
	return len(data) == 0 || bytes.Equal(bytes.TrimSpace(data), []byte("{}"))
}

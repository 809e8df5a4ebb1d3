// Package txn is the place of the transaction coordinator's pure core. So far it
// has the records of __transaction_state, which is what a broker finds when it
// takes over the directories of an Apache broker (TransactionLog).
package txn

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
)

// Status is the state of a transaction (TransactionState).
type Status int8

// The states of a transaction.
const (
	Empty Status = iota
	Ongoing
	PrepareCommit
	PrepareAbort
	CompleteCommit
	CompleteAbort
	Dead
	PrepareEpochFence
)

var statusNames = [...]string{"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence"}

// String is Kafka's name.
func (s Status) String() string {
	if s < 0 || int(s) >= len(statusNames) {
		return fmt.Sprintf("Status(%d)", int8(s))
	}
	return statusNames[s]
}

// Transaction is what a record says about a transactional id. The fields from
// Previous on are known from version 1 of the record, and have their zero or -1 in
// version 0.
type Transaction struct {
	Producer  kafka.ProducerID
	Epoch     int16
	TimeoutMs int32
	Status    Status
	// Partitions are in the transaction, in the order of the record. nil and empty
	// are told apart, as Apache writes them: none yet, and none any more.
	Partitions []Partitions
	UpdatedMs  int64
	StartedMs  int64 // -1: not begun

	Previous      kafka.ProducerID // of the last committed transaction; -1: none
	Next          kafka.ProducerID // given out when the epochs of Producer run out; -1: none
	NextEpoch     int16
	ClientVersion int16 // transaction.version that the client uses
}

// Partitions are partitions of one topic.
type Partitions struct {
	Topic string
	IDs   []kafka.PartitionID
}

// The versions of a record's value: 0 where transaction.version is 0, else 1.
const (
	V0 = 0
	V1 = 1
)

// Key is the record key of a transactional id.
func Key(id string) []byte {
	k := kmsg.TxnMetadataKey{TransactionalID: id}
	return k.AppendTo(make([]byte, 0, 4+len(id)))
}

// ParseKey reads what Key writes; other kinds of keys are an error.
func ParseKey(key []byte) (string, error) {
	if len(key) < 4 || binary.BigEndian.Uint16(key) != 0 {
		return "", fmt.Errorf("the key %x is not that of a transactional id", key)
	}
	if n := int(int16(binary.BigEndian.Uint16(key[2:]))); n < 0 || n != len(key)-4 {
		return "", fmt.Errorf("a key of %d bytes holds an id of %d", len(key), n)
	}
	return string(key[4:]), nil
}

// Value encodes the transaction in a version.
func (t *Transaction) Value(version int16) []byte {
	v := kmsg.TxnMetadataValue{
		Version: version, ProducerID: int64(t.Producer), ProducerEpoch: t.Epoch, TimeoutMillis: t.TimeoutMs, State: kmsg.TransactionState(t.Status),
		LastUpdateTimestamp: t.UpdatedMs, StartTimestamp: t.StartedMs,
		PreviousProducerID: int64(t.Previous), NextProducerID: int64(t.Next), NextProducerEpoch: t.NextEpoch, ClientTransactionVersion: t.ClientVersion,
	}
	if t.Partitions != nil {
		v.Topics = make([]kmsg.TxnMetadataValueTopic, 0, len(t.Partitions))
	}
	for _, p := range t.Partitions {
		topic := kmsg.TxnMetadataValueTopic{Topic: p.Topic}
		for _, id := range p.IDs {
			topic.Partitions = append(topic.Partitions, int32(id))
		}
		v.Topics = append(v.Topics, topic)
	}
	return v.AppendTo(nil)
}

// ParseValue decodes a value of version 0 or 1. Fields that a later version of
// Kafka adds are passed by.
func ParseValue(value []byte) (*Transaction, error) {
	if len(value) < 2 {
		return nil, fmt.Errorf("a value of %d bytes has no version", len(value))
	}
	if version := int16(binary.BigEndian.Uint16(value)); version < V0 || version > V1 {
		return nil, fmt.Errorf("a transaction's value has version %d; %d to %d are known", version, V0, V1)
	}
	v := kmsg.NewTxnMetadataValue()
	if err := v.ReadFrom(value); err != nil {
		return nil, fmt.Errorf("decode a transaction's value of %d bytes: %w", len(value), err)
	}
	t := &Transaction{
		Producer: kafka.ProducerID(v.ProducerID), Epoch: v.ProducerEpoch, TimeoutMs: v.TimeoutMillis, Status: Status(v.State),
		UpdatedMs: v.LastUpdateTimestamp, StartedMs: v.StartTimestamp,
		Previous: kafka.ProducerID(v.PreviousProducerID), Next: kafka.ProducerID(v.NextProducerID), NextEpoch: v.NextProducerEpoch, ClientVersion: v.ClientTransactionVersion,
	}
	if v.Topics != nil {
		t.Partitions = make([]Partitions, 0, len(v.Topics))
	}
	for _, topic := range v.Topics {
		p := Partitions{Topic: topic.Topic}
		for _, id := range topic.Partitions {
			p.IDs = append(p.IDs, kafka.PartitionID(id))
		}
		t.Partitions = append(t.Partitions, p)
	}
	return t, nil
}

package image

import (
	"fmt"
	"slices"
	"strings"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
)

// Values of the fields of BrokerRegistrationChangeRecord
// (BrokerRegistrationFencingChange, BrokerRegistrationInControlledShutdownChange).
const (
	changeFence    = 1
	changeUnfence  = -1
	changeShutdown = 1
)

func (d *Delta) registerBroker(offset kafka.Offset, r *record.RegisterBrokerRecord) error {
	at := offset
	if offset < 0 {
		at = kafka.Offset(r.BrokerEpoch)
	}
	d.brokers.set(r.BrokerID, &Broker{
		ID:                   r.BrokerID,
		Epoch:                r.BrokerEpoch,
		IncarnationID:        r.IncarnationID,
		Endpoints:            sortedBy(r.EndPoints, endpointName),
		Features:             sortedBy(r.Features, rangeName),
		Rack:                 r.Rack,
		Fenced:               r.Fenced,
		InControlledShutdown: r.InControlledShutdown,
		IsMigratingZkBroker:  r.IsMigratingZkBroker,
		Directories:          orNil(sortedIDs(r.LogDirs)),
		CordonedDirectories:  sortedIDs(r.CordonedLogDirs),
		RegisteredAt:         at,
	})
	return nil
}

// broker returns the registration that a record is about
// (ClusterDelta.getBrokerOrThrow).
func (d *Delta) broker(id kafka.BrokerID, epoch kafka.BrokerEpoch) (*Broker, error) {
	b := d.brokers.get(id)
	if b == nil {
		return nil, fmt.Errorf("broker %d is not registered", id)
	}
	if b.Epoch != epoch {
		return nil, fmt.Errorf("broker %d is registered with broker epoch %d, not %d", id, b.Epoch, epoch)
	}
	return b, nil
}

func (d *Delta) unregisterBroker(r *record.UnregisterBrokerRecord) error {
	if _, err := d.broker(r.BrokerID, r.BrokerEpoch); err != nil {
		return err
	}
	d.brokers.delete(r.BrokerID)
	return nil
}

// fenceBroker is for the records of metadata.version below 3.3-IV2.
func (d *Delta) fenceBroker(id kafka.BrokerID, epoch kafka.BrokerEpoch, fenced bool) error {
	b, err := d.broker(id, epoch)
	if err != nil {
		return err
	}
	next := *b
	next.Fenced = fenced
	d.brokers.set(id, &next)
	return nil
}

func (d *Delta) changeBroker(r *record.BrokerRegistrationChangeRecord) error {
	b, err := d.broker(r.BrokerID, r.BrokerEpoch)
	if err != nil {
		return err
	}
	next := *b
	switch r.Fenced {
	case changeFence:
		next.Fenced = true
	case changeUnfence:
		next.Fenced = false
	case 0:
	default:
		return fmt.Errorf("broker %d: the change of fenced is %d instead of -1, 0 or 1", r.BrokerID, r.Fenced)
	}
	switch r.InControlledShutdown {
	case changeShutdown:
		next.InControlledShutdown = true
	case 0:
	default:
		return fmt.Errorf("broker %d: the change of controlled shutdown is %d instead of 0 or 1", r.BrokerID, r.InControlledShutdown)
	}
	if len(r.LogDirs) > 0 {
		next.Directories = sortedIDs(r.LogDirs)
	}
	if r.CordonedLogDirs != nil {
		next.CordonedDirectories = sortedIDs(r.CordonedLogDirs)
	}
	d.brokers.set(r.BrokerID, &next)
	return nil
}

func (d *Delta) registerController(r *record.RegisterControllerRecord) {
	d.controllers.set(r.ControllerID, &Controller{
		ID:               r.ControllerID,
		IncarnationID:    r.IncarnationID,
		ZkMigrationReady: r.ZkMigrationReady,
		Endpoints:        sortedBy(r.EndPoints, endpointName),
		Features:         sortedBy(r.Features, rangeName),
	})
}

// orNil makes empty and absent the same, so that equal states are equal values.
func orNil[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return slices.Clip(s)
}

// A registration's endpoints, features and directories are sets, and Apache
// writes them into snapshots in the order of a hash map. The image keeps them
// sorted, so that images that come from the log and from a snapshot are equal.

func endpointName(e Endpoint) string  { return e.Name }
func rangeName(f FeatureRange) string { return f.Name }

func sortedBy[T any](s []T, name func(T) string) []T {
	return sortedCopy(s, func(a, b T) int { return strings.Compare(name(a), name(b)) })
}

func sortedIDs(s []kafka.UUID) []kafka.UUID { return sortedCopy(s, kafka.UUID.Compare) }

// sortedCopy keeps the difference between nil and empty.
func sortedCopy[T any](s []T, compare func(a, b T) int) []T {
	if slices.IsSortedFunc(s, compare) {
		return s
	}
	s = slices.Clone(s)
	slices.SortStableFunc(s, compare)
	return s
}

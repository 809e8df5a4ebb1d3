package controller

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// maxRegistrationItems bounds the listeners, features and directories of one
// registration: they are kept in every image and snapshot. Kafka has no limit;
// real brokers have a handful of listeners and features, and up to some dozens
// of disks.
const maxRegistrationItems = 1000

// RegisterBroker decides on a broker's registration (BrokerRegistration v0-v4;
// ClusterControlManager.registerBroker). The broker epoch of a new incarnation
// is in.NextOffset. Not atomic: the registration is the last record, and a
// broker whose registration was cut off registers again.
func RegisterBroker(in Input, req *kmsg.BrokerRegistrationRequest) (Decision, *kmsg.BrokerRegistrationResponse) {
	resp := kmsg.NewPtrBrokerRegistrationResponse()
	resp.Version = req.Version
	records, epoch, err := registerBroker(in, req)
	if err != nil {
		resp.ErrorCode = int16(err.Code)
		return Decision{}, resp
	}
	resp.BrokerEpoch = int64(epoch)
	return Decision{Records: records}, resp
}

func registerBroker(in Input, req *kmsg.BrokerRegistrationRequest) ([]record.Message, kafka.BrokerEpoch, *errors.Error) {
	id := kafka.BrokerID(req.BrokerID)
	existing := in.Image.Broker(id)
	if err := checkRegistration(in, req, existing); err != nil {
		return nil, 0, err
	}
	level := in.Image.MetadataVersion()
	r := &record.RegisterBrokerRecord{
		BrokerID: id, IncarnationID: req.IncarnationID, Rack: req.Rack, EndPoints: brokerEndpoints(req.Listeners),
		Features: brokerFeatures(req.Features), IsMigratingZkBroker: req.IsMigratingZkBroker,
	}
	if level >= image.MV37IV2 {
		r.LogDirs = directoryIDs(req.LogDirs)
	}
	pass := newPartitionPass(in)
	if existing != nil && existing.IncarnationID == kafka.UUID(req.IncarnationID) {
		// The same process registers again, to add what the metadata.version did
		// not allow before.
		r.BrokerEpoch, r.Fenced, r.InControlledShutdown = existing.Epoch, existing.Fenced, existing.InControlledShutdown
		if level >= image.MV43IV0 {
			r.CordonedLogDirs = existing.CordonedDirectories
		}
	} else {
		r.BrokerEpoch, r.Fenced = kafka.BrokerEpoch(in.NextOffset), true
		clean := existing != nil && req.Version >= 3 && kafka.BrokerEpoch(req.PreviousBrokerEpoch) == existing.Epoch
		if existing != nil && quiet(in, existing) {
			pass.dead = id // replaced at once: checkRegistration
		}
		pass.restarted(id, clean)
	}
	return append(pass.records, record.Message{Record: r, Version: level.RegisterBrokerVersion()}), r.BrokerEpoch, nil
}

// checkRegistration applies Kafka's rules in Kafka's order.
func checkRegistration(in Input, req *kmsg.BrokerRegistrationRequest, existing *image.Broker) *errors.Error {
	if req.ClusterID != in.Settings.ClusterID {
		return errors.New(errors.InconsistentClusterID, "Expected cluster ID %s, but got cluster ID %s", in.Settings.ClusterID, req.ClusterID)
	}
	// The broker of a combined node is in the same process: what registered before
	// was an earlier run, which cannot be alive.
	own := existing != nil && in.Settings.Combined && kafka.NodeID(existing.ID) == in.Settings.NodeID
	if existing != nil && existing.IncarnationID != kafka.UUID(req.IncarnationID) && !existing.Fenced && !own &&
		sessionStands(in, existing) && !replacesAtOnce(in, existing, directoryIDs(req.LogDirs)) {
		return errors.New(errors.DuplicateBrokerRegistration, "Another broker is registered with broker id %d. "+
			"If the broker was recently restarted, this resolves itself when the session of its last run expires.", req.BrokerID)
	}
	if err := checkMode(in, req); err != nil {
		return err
	}
	if max(len(req.Listeners), len(req.Features), len(req.LogDirs)) > maxRegistrationItems {
		return errors.New(errors.InvalidRegistration, "More than %d listeners, features or directories in request", maxRegistrationItems)
	}
	if err := checkListeners(req.Listeners); err != nil {
		return err
	}
	if err := checkDirectories(in.Image, req); err != nil {
		return err
	}
	return checkBrokerFeatures(in, req)
}

func sessionStands(in Input, b *image.Broker) bool {
	return in.Sessions.Valid(b.ID, b.Epoch, in.NowMs, in.Settings.SessionTimeoutMs)
}

// checkListeners refuses what the record cannot hold: it is keyed by name.
func checkListeners(listeners []kmsg.BrokerRegistrationRequestListener) *errors.Error {
	seen := make(map[string]bool, len(listeners))
	for i := range listeners {
		name := listeners[i].Name
		if seen[name] {
			return errors.New(errors.InvalidRegistration, "Duplicate listener %s in request", name)
		}
		seen[name] = true
	}
	return nil
}

func checkDirectories(img *image.Image, req *kmsg.BrokerRegistrationRequest) *errors.Error {
	if img.MetadataVersion() < image.MV37IV2 {
		return nil
	}
	dirs := directoryIDs(req.LogDirs)
	if len(dirs) == 0 {
		return errors.New(errors.InvalidRegistration, "No directories specified in request")
	}
	if slices.ContainsFunc(dirs, kafka.UUID.Reserved) {
		return errors.New(errors.InvalidRegistration, "Reserved directory ID in request")
	}
	mine := make(map[kafka.DirectoryID]bool, len(dirs))
	for _, dir := range dirs {
		mine[dir] = true
	}
	if len(mine) != len(dirs) {
		return errors.New(errors.InvalidRegistration, "Duplicate directory ID in request")
	}
	for other := range img.Brokers() {
		if other.ID == kafka.BrokerID(req.BrokerID) {
			continue
		}
		for _, dir := range other.Directories {
			if mine[dir] {
				return errors.New(errors.InvalidRegistration, "Broker %d is already registered with directory %s", other.ID, dir)
			}
		}
	}
	return nil
}

// checkBrokerFeatures makes sure that the broker can run at every finalized
// level, kraft.version included. A feature that it does not list it does not
// have, which is level 0.
func checkBrokerFeatures(in Input, req *kmsg.BrokerRegistrationRequest) *errors.Error {
	listed := make(map[string]bool, len(req.Features))
	for i := range req.Features {
		f := &req.Features[i]
		if listed[f.Name] {
			return errors.New(errors.InvalidRegistration, "Duplicate feature %s in request", f.Name)
		}
		listed[f.Name] = true
		if err := checkFeature(f.Name, f.MinSupportedVersion, f.MaxSupportedVersion, finalizedLevel(in, f.Name)); err != nil {
			return err
		}
	}
	if !listed[image.FeatureMetadataVersion] {
		return errors.New(errors.InvalidRegistration, "Request features do not contain '%s'", image.FeatureMetadataVersion)
	}
	finalized := in.Image.Features()
	finalized[image.FeatureKRaftVersion] = in.KRaftVersion
	for _, name := range slices.Sorted(maps.Keys(finalized)) { // so that the first error is always the same one
		if !listed[name] && finalized[name] != 0 {
			return checkFeature(name, 0, 0, finalized[name])
		}
	}
	return nil
}

func finalizedLevel(in Input, name string) int16 {
	if name == image.FeatureKRaftVersion {
		return in.KRaftVersion
	}
	return in.Image.FeatureLevel(name)
}

func checkFeature(name string, least, most, finalized int16) *errors.Error {
	if finalized >= least && finalized <= most {
		return nil
	}
	return errors.New(errors.UnsupportedVersion, "Unable to register because the broker does not support finalized version %d of %s. "+
		"The broker wants a version between %d and %d, inclusive.", finalized, name, least, most)
}

func brokerEndpoints(listeners []kmsg.BrokerRegistrationRequestListener) []image.Endpoint {
	out := make([]image.Endpoint, len(listeners))
	for i, l := range listeners {
		out[i] = image.Endpoint{Name: l.Name, Host: l.Host, Port: l.Port, SecurityProtocol: l.SecurityProtocol}
	}
	return out
}

func brokerFeatures(features []kmsg.BrokerRegistrationRequestFeature) []image.FeatureRange {
	out := make([]image.FeatureRange, len(features))
	for i, f := range features {
		out[i] = image.FeatureRange{Name: f.Name, MinSupportedVersion: f.MinSupportedVersion, MaxSupportedVersion: f.MaxSupportedVersion}
	}
	return out
}

// directoryIDs copies ids out of a request; nil stays nil.
func directoryIDs(ids [][16]byte) []kafka.DirectoryID {
	if ids == nil {
		return nil
	}
	out := make([]kafka.DirectoryID, len(ids))
	for i, id := range ids {
		out[i] = id
	}
	return out
}

// UnregisterBroker decides on taking a broker out of the cluster
// (UnregisterBroker v0). It may be alive: it has to be stopped by whoever asks.
func UnregisterBroker(in Input, req *kmsg.UnregisterBrokerRequest) (Decision, *kmsg.UnregisterBrokerResponse) {
	resp := kmsg.NewPtrUnregisterBrokerResponse()
	resp.Version = req.Version
	refuse := func(err *errors.Error) (Decision, *kmsg.UnregisterBrokerResponse) {
		resp.ErrorCode, resp.ErrorMessage = report(err)
		return Decision{}, resp
	}
	if err := in.Caller.mayCluster(opAlter); err != nil {
		return refuse(err)
	}
	b := in.Image.Broker(kafka.BrokerID(req.BrokerID))
	if b == nil {
		return refuse(errors.New(errors.BrokerIDNotRegistered, "Broker ID %d is not currently registered", req.BrokerID))
	}
	pass := newPartitionPass(in)
	pass.once = true
	pass.unregisterBroker(b)
	return Decision{Records: pass.records}, resp
}

// RegisterController notes that a controller runs, where it listens and what it
// supports (ControllerRegistration v0, KIP-919).
func RegisterController(in Input, req *kmsg.ControllerRegistrationRequest) (Decision, *kmsg.ControllerRegistrationResponse) {
	resp := kmsg.NewPtrControllerRegistrationResponse()
	resp.Version = req.Version
	refuse := func(err *errors.Error) (Decision, *kmsg.ControllerRegistrationResponse) {
		resp.ErrorCode, resp.ErrorMessage = report(err)
		return Decision{}, resp
	}
	if in.Image.MetadataVersion() < image.MV37IV0 {
		return refuse(errors.New(errors.UnsupportedVersion, "The current MetadataVersion is too old to support controller registrations."))
	}
	if max(len(req.Listeners), len(req.Features)) > maxRegistrationItems {
		return refuse(errors.New(errors.InvalidRegistration, "More than %d listeners or features in request", maxRegistrationItems))
	}
	r := &record.RegisterControllerRecord{
		ControllerID: kafka.NodeID(req.ControllerID), IncarnationID: req.IncarnationID, ZkMigrationReady: req.ZkMigrationReady,
	}
	for _, l := range req.Listeners {
		r.EndPoints = append(r.EndPoints, image.Endpoint{Name: l.Name, Host: l.Host, Port: l.Port, SecurityProtocol: l.SecurityProtocol})
	}
	for _, f := range req.Features {
		r.Features = append(r.Features, image.FeatureRange{Name: f.Name, MinSupportedVersion: f.MinSupportedVersion, MaxSupportedVersion: f.MaxSupportedVersion})
	}
	return Decision{Records: []record.Message{message(r)}, Atomic: true}, resp
}

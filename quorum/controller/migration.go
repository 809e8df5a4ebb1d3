package controller

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// The levels of metadata.version at which brokers in ZooKeeper mode can come over:
// from 3.7-IV0 on controllers say that they are ready (Apache's can from 3.6-IV1 on,
// and ask each other before that); after 3.9-IV0 there are no such brokers.
const (
	minMigrationVersion = image.MV37IV0
	maxMigrationVersion = image.MV39IV0
)

// CheckMigrationVersion says whether a cluster that is formatted at a
// metadata.version can take brokers over from ZooKeeper. Their
// inter.broker.protocol.version has to be the same one: a broker in ZooKeeper mode
// registers for that alone.
func CheckMigrationVersion(level image.MetadataVersion) error {
	if level >= minMigrationVersion && level <= maxMigrationVersion {
		return nil
	}
	return fmt.Errorf("zookeeper.metadata.migration.enable: metadata.version %s cannot take brokers over from ZooKeeper, only %s to %s: "+
		"format the controllers with the release that the brokers have as inter.broker.protocol.version (--release-version 3.9)", level, minMigrationVersion, maxMigrationVersion)
}

// migrationAtActivation is what the start of a leadership does to the state of a
// migration, on a log that is not new (ActivationRecordsGenerator). note says what an
// operator should know.
//
// Apache ends the migration when the key is gone, whoever is still in ZooKeeper mode;
// those brokers then hear from nobody. Here it goes on until there is none.
func migrationAtActivation(in Input) (records []record.Message, note string, err error) {
	enabled := in.Settings.ZooKeeperMigration
	switch state := in.Image.ZkMigrationState(); {
	case state == image.ZkNone && enabled:
		return nil, "", fmt.Errorf("zookeeper.metadata.migration.enable=true, but this cluster was formatted without it and has never been on ZooKeeper, or its migration was rolled back: " +
			"remove the line, or format the controllers anew")
	case state == image.ZkPreMigration && !enabled:
		return nil, "this cluster waits for a migration from ZooKeeper and changes nothing before it: set zookeeper.metadata.migration.enable=true and zookeeper.connect on every controller", nil
	case state == image.ZkMigration && !enabled:
		if left := zooKeeperBrokers(in.Image); len(left) > 0 {
			return nil, fmt.Sprintf("the migration from ZooKeeper cannot end: %s in ZooKeeper mode and hear nothing from this controller; "+
				"set zookeeper.metadata.migration.enable=true again and restart the controllers, then the brokers in KRaft mode, or unregister those that are gone", brokersAre(left)), nil
		}
		return []record.Message{message(&record.ZkMigrationStateRecord{ZkMigrationState: image.ZkPostMigration})},
			"ending the migration from ZooKeeper: zookeeper.metadata.migration.enable is not set any more", nil
	case state == image.ZkPostMigration && enabled:
		return nil, "the migration from ZooKeeper is over: zookeeper.metadata.migration.enable does nothing; remove it", nil
	}
	return nil, "", nil
}

// zooKeeperBrokers are the brokers that are registered in ZooKeeper mode.
func zooKeeperBrokers(img *image.Image) (out []*image.Broker) {
	for b := range img.Brokers() {
		if b.IsMigratingZkBroker {
			out = append(out, b)
		}
	}
	return out
}

func brokersAre(list []*image.Broker) string {
	const most = 20
	var ids []string
	for _, b := range list[:min(most, len(list))] {
		ids = append(ids, fmt.Sprint(b.ID))
	}
	switch {
	case len(list) > most:
		return fmt.Sprintf("%d brokers are", len(list))
	case len(list) == 1:
		return "broker " + ids[0] + " is"
	}
	return "brokers " + strings.Join(ids, ", ") + " are"
}

// checkMode says whether a broker may register in the mode that it is in: in
// ZooKeeper mode before the copy, in either while both are in the cluster, else in
// KRaft mode (ClusterControlManager.registerBroker; that the migration must not be
// over is ours: nobody would send it control requests).
func checkMode(in Input, req *kmsg.BrokerRegistrationRequest) *errors.Error {
	state := in.Image.ZkMigrationState()
	if !req.IsMigratingZkBroker {
		if state == image.ZkPreMigration {
			return errors.New(errors.BrokerIDNotRegistered, "Controller is in pre-migration mode and cannot register KRaft brokers until the metadata migration is complete.")
		}
		return nil
	}
	if !in.Settings.ZooKeeperMigration || state != image.ZkPreMigration && state != image.ZkMigration {
		return errors.New(errors.BrokerIDNotRegistered, "Controller does not support registering ZK brokers.")
	}
	for i := range req.Listeners {
		if req.Listeners[i].Name == in.Settings.InterBrokerListener {
			return nil
		}
	}
	return errors.New(errors.InvalidRegistration, "Broker does not have the current inter.broker.listener %s", in.Settings.InterBrokerListener)
}

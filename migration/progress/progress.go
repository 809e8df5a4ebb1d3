// Package progress is what people and scripts see of a migration from ZooKeeper that
// is under way. The active controller fills it from its driver (internal/server), it
// travels as JSON in the answer to DescribeMigration, and the command line shows it.
// It is pure.
package progress

import (
	"fmt"
	"strings"

	"kvorum/internal/kafka"
	"kvorum/migration/driver"
)

// Progress is where one controller's part of the migration stands.
type Progress struct {
	Node   kafka.NodeID `json:"node"`
	Active bool         `json:"active"` // it leads the quorum; only then is the rest more than the log's
	// ZooKeeper is the controller's zookeeper.connect.
	ZooKeeper string `json:"zookeeper"`
	ClusterID string `json:"cluster_id"`
	// State is one of driver.State, by name, and Log the state in the metadata log: none,
	// pre-migration, migration, post-migration.
	State string `json:"state"`
	Log   string `json:"log"`
	// Reason is why State is STOPPED, and Error why the last step failed, which is tried
	// again.
	Reason string `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	// Action is the step under way, since SinceMs of the Unix epoch.
	Action  string `json:"action,omitempty"`
	SinceMs int64  `json:"since_ms,omitempty"`
	// NodesRead are the nodes of ZooKeeper that were read for the copy.
	NodesRead int `json:"nodes_read,omitempty"`
	// Offset is the end of the committed log, inclusive, Written up to where ZooKeeper
	// holds it (-1: not yet in this leadership), and Lag what lies between in dual write.
	Offset  kafka.Offset `json:"offset"`
	Written kafka.Offset `json:"written"`
	Lag     int64        `json:"lag"`
	// ControllerEpoch is /controller_epoch of our claim, 0 before it.
	ControllerEpoch int32 `json:"controller_epoch"`
	// AwaitedControllers have not registered as ready for a migration, AwaitedBrokers
	// are in ZooKeeper and have not registered here.
	AwaitedControllers []kafka.NodeID   `json:"awaited_controllers"`
	AwaitedBrokers     []kafka.BrokerID `json:"awaited_brokers"`
	ZooKeeperMode      []kafka.BrokerID `json:"zookeeper_mode_brokers"`
	KRaftMode          []kafka.BrokerID `json:"kraft_mode_brokers"`
	// Told says how far the brokers in ZooKeeper mode have been told.
	Told []Told `json:"told"`
}

// Told is how far one broker in ZooKeeper mode has been told of the metadata.
type Told struct {
	Broker  kafka.BrokerID `json:"broker"`
	Address string         `json:"address"`
	Offset  kafka.Offset   `json:"offset"` // -1 before the first
	Lag     int64          `json:"lag"`
	Error   string         `json:"error,omitempty"`
}

// LogName names a state of the metadata log.
func LogName(s driver.LogState) string {
	switch s {
	case driver.None:
		return "none"
	case driver.Migration:
		return "migration"
	case driver.PreMigration:
		return "pre-migration"
	case driver.PostMigration:
		return "post-migration"
	}
	return fmt.Sprintf("unknown (%d)", s)
}

// Next says what is awaited, and whose turn it is.
func (p *Progress) Next() string {
	switch p.State {
	case driver.Inactive.String():
		return "nobody's: another controller is active, or none"
	case driver.WaitForQuorum.String():
		if len(p.AwaitedControllers) == 0 {
			return "the controllers': they look at ZooKeeper"
		}
		return fmt.Sprintf("yours: start the controllers %s with zookeeper.metadata.migration.enable=true", List(p.AwaitedControllers))
	case driver.WaitForBrokers.String():
		if len(p.AwaitedBrokers) == 0 {
			return "the controllers': they wait for brokers in ZooKeeper"
		}
		return fmt.Sprintf("yours: restart the brokers %s with zookeeper.metadata.migration.enable=true, one after the other", List(p.AwaitedBrokers))
	case driver.WaitForStart.String():
		return "yours: every broker has registered; kvorum migrate start begins, as kvorum.migration.start=command says"
	case driver.BecomeController.String(), driver.Copying.String(), driver.Syncing.String():
		return "the controllers'"
	case driver.DualWrite.String():
		if len(p.ZooKeeperMode) > 0 {
			return fmt.Sprintf("yours: restart the brokers %s in KRaft mode, one after the other; or go back: kvorum migrate rollback", List(p.ZooKeeperMode))
		}
		return "yours: when you are content, kvorum migrate finalize; after it only kvorum migrate restore goes back, with everything stopped"
	case driver.KRaft.String():
		return "yours: remove the keys of ZooKeeper from the controllers, restart them one after the other, and stop ZooKeeper"
	case driver.RollingBack.String():
		return "the controllers': they give ZooKeeper back"
	case driver.RolledBack.String():
		return "yours: stop the controllers, restart the brokers without zookeeper.metadata.migration.enable, and format the controllers anew before the next attempt"
	case driver.Stopped.String():
		return "yours: put in order what the reason names, then kvorum migrate resume"
	}
	return "unknown to this release"
}

// Over reports whether nothing will change by itself any more.
func (p *Progress) Over() bool {
	return p.State == driver.KRaft.String() || p.State == driver.RolledBack.String()
}

// List writes ids with commas, "-" for none.
func List[T ~int32](ids []T) string {
	if len(ids) == 0 {
		return "-"
	}
	var out strings.Builder
	for i, id := range ids {
		if i > 0 {
			out.WriteString(",")
		}
		fmt.Fprint(&out, int32(id))
	}
	return out.String()
}

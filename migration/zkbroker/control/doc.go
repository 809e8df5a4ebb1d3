// Package control makes the control requests of a KRaft controller to brokers that
// still run in ZooKeeper mode (KIP-866): UpdateMetadata, LeaderAndIsr and
// StopReplica, out of an image or of the changes between two. Package zkbroker
// sends them. Pure.
//
// It follows MigrationPropagator and ControllerBrokerRequestBatch of Apache Kafka
// 3.9 and leaves out what is sent twice there; docs/design/0006 lists what is
// different. Brokers in KRaft mode read the metadata log and get none of this.
package control

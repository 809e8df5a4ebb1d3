// Package zkbroker keeps brokers in ZooKeeper mode told, for as long as a KRaft
// controller stands in for ZooKeeper's controller (KIP-866, hybrid mode). The
// migration's driver publishes each image; the sender has a connection of its own to
// every broker that is registered in ZooKeeper mode and not fenced, and tells it what
// is different from what that broker has acknowledged. Package control makes the
// requests.
package zkbroker

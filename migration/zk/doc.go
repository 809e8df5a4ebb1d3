// Package zk is the connection of a migration to ZooKeeper: it reads every node
// that Kafka keeps there into a znode.Tree, and writes nodes only under a fence,
// as part of one transaction with the nodes that say who the controller is.
//
// It stands on github.com/go-zookeeper/zk. That library speaks plain TCP and TLS
// (through the dialer here) and the digest scheme of authentication; it does not
// speak SASL, so nodes that only a SASL identity may read are an error that names
// them.
package zk

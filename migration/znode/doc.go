// Package znode is what Apache Kafka 3.9 keeps in ZooKeeper, as typed values: the
// paths, a decoder and an encoder for the data of each node, and Decode, which
// reads a whole tree of nodes.
//
// It stands between migration/zk, which fetches and writes bytes, and
// migration/convert, which makes metadata records of the values. Znodes are
// written by other programs and by hand: every decoder takes any bytes and gives
// a value or an error, and Decode names the path of each node it cannot read.
// Pure: no clock, no locks, no I/O.
//
// The formats are those of kafka.zk.ZkData, ZkAclStore and
// DelegationTokenManagerZk of Kafka 3.9.
package znode

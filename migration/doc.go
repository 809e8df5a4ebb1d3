// Package migration is how a cluster leaves ZooKeeper: what would be done, what
// stands in the way, and, in the packages below, how ZooKeeper is read and written
// and how its metadata becomes the metadata log (KIP-866).
//
// Below it, znode has the formats of the nodes, convert makes records of them, and
// zk is the connection. This package has the plan: NewPlan takes what was read
// from ZooKeeper and from the brokers and says what a migration will do. It
// decides on values alone; admin reads and asks.
package migration

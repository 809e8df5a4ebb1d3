// Package convert turns what Kafka keeps in ZooKeeper into records of the metadata
// log, and what the metadata log says into znodes.
//
// Records is the copy at the beginning of a migration (KIP-866): the records that
// Apache's controllers write for the same nodes. The way back is dual write: All
// and Changed say which nodes an image asks for, and Writes compares them with
// the nodes that there are, so that only what is different is written. Pure: ids
// and randomness come in as values, and nothing is read or written here.
package convert

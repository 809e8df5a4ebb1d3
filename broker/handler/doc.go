// Package handler is what a broker answers: one file per Kafka API, each of
// which opens with the versions it serves and how it behaves.
//
// It stands between package listener, which hands in decoded requests one at a
// time per connection, and what a broker is made of: the image of the metadata
// log, the replicas, the group coordinators, and the way to the active
// controller. A handler keeps nothing of its own but fetch sessions; it looks
// everything up, asks for what must be done, and says item by item what became
// of it, in the order and with the codes of Apache's KafkaApis.
package handler

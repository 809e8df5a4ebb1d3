// Package leaving has real clusters of Apache Kafka 3.9 on a real ZooKeeper, and
// what kvorum makes of them.
package leaving

// Package replication tests that partitions are the same on all their replicas:
// between brokers of kvorum's, and between those and Apache's, while brokers die
// and leaders move.
package replication

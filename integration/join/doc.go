// Package join lets kvorum's broker join controllers as a process of its own: those
// of kvorum and those of Apache Kafka.
package join

// Package mixed puts brokers of Apache Kafka 3.9.2, of 4.3.1 and of kvorum's into
// one cluster of kvorum's controllers, and lets clients use all of them.
package mixed

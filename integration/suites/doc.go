// Package suites runs the integration tests that clients' authors wrote against
// their clients, franz-go's and kafka-go's, with one node of kvorum in Kafka's
// place. What must pass is what passes against Apache Kafka 4.3.1: those lists
// are recorded in testdata, with the exceptions and their reasons.
package suites

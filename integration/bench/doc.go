// Package bench measures kvorum and Apache Kafka 4.3.1 side by side, from one
// run on one machine: topic creation, failover, start, memory, large images and
// read-your-writes.
//
// `make bench` runs it in full and writes the table into docs/benchmarks.md. A
// plain `go test` runs each benchmark once in a small form, which shows that it
// works and says nothing about speed.
package bench

// Package bench measures kvorum and Apache Kafka 4.3.1 side by side, from one
// run on one machine. Of the controllers: topic creation, failover, start, memory,
// large images and read-your-writes. Of one node (TestNode...): rates, latency,
// start, topics, partitions, restart, memory.
//
// `make bench` runs it in full and writes the tables into docs/benchmarks.md, `make
// bench-node` and `make bench-memory` the parts that their names say. A
// plain `go test` runs each benchmark once in a small form, which shows that it
// works and says nothing about speed.
package bench

# The targets that people type; .ci/run is what a change must pass.

.PHONY: test lint bench bench-node bench-memory bench-replication bench-provision bench-migration demo-migration microbench fuzz ci soak

test:
	go test ./...

lint:
	bash -euo pipefail -c 'source .ci/lib.sh; formatted; go vet ./...; go run "$$STATICCHECK" ./...; go test ./internal/lint'

# The side by side figures of docs/benchmarks.md; they want a quiet machine and an hour. `make microbench` is every package's own benchmarks.
bench:
	KVORUM_BENCH=1 KVORUM_PEERS=required KVORUM_BENCH_TABLE=docs/benchmarks.md go test -count 1 -timeout 3h -v ./integration/bench

# The part of one node: 15 minutes, 20 GB of disk.
bench-node:
	KVORUM_BENCH=1 KVORUM_PEERS=required KVORUM_BENCH_TABLE=docs/benchmarks.md go test -count 1 -timeout 1h -v -run 'TestNode' ./integration/bench

# A node's resident memory over ten minutes of load.
bench-memory:
	KVORUM_BENCH=1 KVORUM_BENCH_MEMORY=1 KVORUM_BENCH_TABLE=docs/benchmarks.md go test -count 1 -timeout 30m -v -run TestNodeMemory ./integration/bench

# Six nodes with three replicas of everything: about 15 minutes.
bench-replication:
	KVORUM_BENCH=1 KVORUM_PEERS=required KVORUM_BENCH_TABLE=docs/benchmarks.md go test -count 1 -timeout 1h -v -run TestReplication ./integration/bench

# What docs/operations.md says to provision: two minutes; the table is in the log.
bench-provision:
	KVORUM_BENCH=1 go test -count 1 -timeout 30m -v -run TestProvision ./integration/bench

# A migration by Apache's own controllers beside one by kvorum's: a quarter of an hour; the table is in the log.
bench-migration:
	KVORUM_BENCH=1 KVORUM_PEERS=required go test -count 1 -timeout 2h -v -run 'TestBenchMigration$$' ./integration/leaving

microbench:
	bash -euo pipefail -c 'source .ci/lib.sh; packages | xargs go test -run "^$$" -bench . -benchmem'

fuzz:
	.ci/fuzz 60s

ci:
	.ci/run

soak:
	.ci/soak --rounds 200

# The way out of ZooKeeper, to watch: real ZooKeeper and Kafka 3.9.2 processes (Java 17 and Maven are needed), three to four minutes.
demo-migration:
	KVORUM_DEMO=1 KVORUM_PEERS=required go test -count 1 -timeout 30m -v -run 'TestDemo$$' ./integration/leaving

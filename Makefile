# The targets that people type; .ci/run is what a change must pass.

.PHONY: test lint bench fuzz ci soak

test:
	go test ./...

lint:
	bash -euo pipefail -c 'source .ci/lib.sh; formatted; go vet ./...; go run "$$STATICCHECK" ./...; go test ./internal/lint'

bench:
	bash -euo pipefail -c 'source .ci/lib.sh; packages | xargs go test -run "^$$" -bench . -benchmem'

fuzz:
	.ci/fuzz 60s

ci:
	.ci/run

soak:
	.ci/soak --rounds 200

# make help lists the targets. Everything runs on the loopback interface only.

GO ?= go
FUZZTIME ?= 30s
ARGS ?=
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
COMMIT := $(shell git describe --always --dirty=+dirty --abbrev=12 2>/dev/null)
LDFLAGS := -X main.buildCommit=$(COMMIT)

# Packages whose tests take longer than a few seconds run side by side at most as many as there are cores;
# go test's own default does that. The limit is per package and far above what any of them needs.
TESTFLAGS ?= -count=1 -timeout 10m

.PHONY: help run build test race fuzz faults lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## serve on :8080 with an embedded NATS; ARGS="--addr :9000" adds flags
	$(GO) run ./server $(ARGS)

build: ## bin/throng, with the commit it was built from
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/throng ./server

# Twice on purpose: allocation budgets only hold without the race detector, races only show with it.
test: ## all tests, then all again under the race detector
	$(GO) test $(TESTFLAGS) ./...
	$(MAKE) --no-print-directory race

race: ## all tests under the race detector
	$(GO) test -race $(TESTFLAGS) ./...

fuzz: ## every fuzz target for FUZZTIME (30s)
	@set -e; grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
		sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file" | while read -r target; do \
			echo "== $$target in $$(dirname "$$file"), $(FUZZTIME)"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x "$$(dirname "$$file")" </dev/null; \
		done; \
	done

faults: ## the long forms of the fault tests: real NATS servers killed, stopped and cut off; some 10 minutes
	THRONG_FAULTS=long $(GO) test -count=1 -timeout 60m -v ./server/faults

lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
		if [ -n "$$unformatted" ]; then echo "not gofmt'd:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

clean: ## remove what the targets above made
	rm -rf bin
	find . -name '*.test' -o -name '*.pprof' -o -name trace.out | xargs -r rm -f

include bench/bench.mk

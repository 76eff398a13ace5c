# Targets of the bench, included by the top Makefile. Everything runs on loopback only.
# Pin server and load to cores of their own where there are two or more; figures of unpinned runs say so.

BENCH_SERVER_CPUS ?= 0
BENCH_CLIENT_CPUS ?= 1
BENCH_PIN := --server-cpus $(BENCH_SERVER_CPUS) --client-cpus $(BENCH_CLIENT_CPUS)
# Connections of bench and bench-peers, and of bench-million.
CONNECTIONS ?= 10000
MILLION ?= 1000000
HOLD ?= 5m
ROUNDS ?= 2
PROFILE ?= cpu
LOAD ?= fanout
BENCH_NODE := bin/throng --addr {addr} --admin-addr {admin} --data-dir {dir} --drain-window 100ms --log-level warn
# <date>-<commit>-<machine>, as bench/results/ names its files; only `make bench-baseline` writes there.
BENCH_STAMP = $(shell date -u +%Y%m%d)-$(shell git rev-parse --short=12 HEAD)-$(shell uname -n)
BENCH_OUT ?= bin/results

HISTORY_ROUNDS ?= 2
# Connections that publish and listen in bench-history's first part.
PUBLISHERS ?= 100
BENCH_HISTORY_NODE := bin/throng --config bench/peers/history.yaml --addr {addr} --admin-addr {admin} --data-dir {dir} --drain-window 100ms --log-level warn
BENCH_HISTORY_PEERS := --server 'throng=$(BENCH_HISTORY_NODE)' --server 'centrifuge=bin/peers/centrifuge -addr {addr} -admin-addr {admin}' --rounds $(HISTORY_ROUNDS)

.PHONY: bench-bin bench bench-million bench-history bench-peers bench-peers-bin bench-baseline profile benchstat pgo

bench-bin:
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/throng ./server
	$(GO) build -trimpath -o bin/bench ./bench
	@mkdir -p $(BENCH_OUT)

bench: bench-bin ## the node through idle, fan-out, storm, handshake and latency; reports in bin/results
	bin/bench compare -c $(CONNECTIONS) --rounds $(ROUNDS) $(BENCH_PIN) --channel bench \
		--server 'throng=$(BENCH_NODE)' --server 'bare-epoll=bin/bench null-server --addr {addr}' --base bare-epoll \
		--no-ceiling --out $(BENCH_OUT)/$(BENCH_STAMP)-battery.json --html $(BENCH_OUT)/battery.html
	bin/bench handshake $(BENCH_PIN) --channel bench --no-ceiling --spawn '$(BENCH_NODE)' --out $(BENCH_OUT)/$(BENCH_STAMP)-handshake.json
	bin/bench latency $(BENCH_PIN) --channel bench --no-ceiling --spawn '$(BENCH_NODE)' --out $(BENCH_OUT)/$(BENCH_STAMP)-latency.json
	bin/bench rooms $(BENCH_PIN) --channel bench --no-ceiling --spawn '$(BENCH_NODE)' --out $(BENCH_OUT)/$(BENCH_STAMP)-rooms.json

bench-million: bench-bin ## a million idle connections, then one broadcast to all (MILLION=100000 HOLD=1m scales it down)
	bin/bench million -c $(MILLION) --hold $(HOLD) --server-bin bin/throng --no-ceiling \
		--out $(BENCH_OUT)/$(BENCH_STAMP)-million-$(MILLION).json --html $(BENCH_OUT)/million.html

bench-history: bench-bin ## acknowledged publications, recovery and the memory of positions, beside the centrifuge library
	cd bench/peers && $(GO) build -trimpath -o ../../bin/peers/ ./centrifuge
	bin/bench publish -c $(PUBLISHERS) --channels $(PUBLISHERS) $(BENCH_PIN) $(BENCH_HISTORY_PEERS) --out $(BENCH_OUT)/$(BENCH_STAMP)-publish.json
	bin/bench recover -c $(CONNECTIONS) $(BENCH_PIN) $(BENCH_HISTORY_PEERS) --out $(BENCH_OUT)/$(BENCH_STAMP)-recover.json
	bin/bench recover -c $(CONNECTIONS) --channels 1000 --missed 10 --outages 1 $(BENCH_PIN) $(BENCH_HISTORY_PEERS) \
		--out $(BENCH_OUT)/$(BENCH_STAMP)-recover-spread.json
	bin/bench recover -c $(CONNECTIONS) --restart --outages 1 $(BENCH_PIN) --name throng --spawn '$(BENCH_HISTORY_NODE)' \
		--out $(BENCH_OUT)/$(BENCH_STAMP)-recover-restart.json
	bin/bench positions -c $(CONNECTIONS) $(BENCH_PIN) $(BENCH_HISTORY_PEERS) --out $(BENCH_OUT)/$(BENCH_STAMP)-positions.json
	bin/bench report --format none --html $(BENCH_OUT)/history.html $(BENCH_OUT)/$(BENCH_STAMP)-publish.json \
		$(BENCH_OUT)/$(BENCH_STAMP)-recover.json $(BENCH_OUT)/$(BENCH_STAMP)-recover-spread.json \
		$(BENCH_OUT)/$(BENCH_STAMP)-recover-restart.json $(BENCH_OUT)/$(BENCH_STAMP)-positions.json

bench-peers-bin:
	cd bench/peers && $(GO) build -trimpath -o ../../bin/peers/ ./...
	bench/peers/node/start.sh -install

bench-peers: bench-bin bench-peers-bin ## the node beside the servers a user might pick instead, with ratios
	bin/bench compare -c $(CONNECTIONS) --rounds $(ROUNDS) $(BENCH_PIN) --servers bench/peers/servers.json --base throng \
		--no-ceiling --out $(BENCH_OUT)/$(BENCH_STAMP)-peers.json --html $(BENCH_OUT)/peers.html

bench-baseline: ## copy the newest reports of this commit to bench/results (commit them with the reason)
	@mkdir -p bench/results && cp -v $(BENCH_OUT)/$(BENCH_STAMP)-*.json bench/results/

profile: bench-bin ## profile the node under load: PROFILE=cpu|mem|mutex|block|trace LOAD=fanout|idle|storm
	bin/bench profile --profile $(PROFILE) --load $(LOAD) -c $(CONNECTIONS) $(BENCH_PIN) --channel bench \
		--server-bin bin/throng --dir bin/profiles/$(PROFILE)-$(LOAD)

pgo: bench-bin ## refresh server/default.pgo from a CPU profile under fan-out, handshakes and storms
	bin/bench profile --profile cpu --load pgo -c $(CONNECTIONS) $(BENCH_PIN) --channel bench \
		--server-bin bin/throng --dir bin/profiles/pgo
	cp bin/profiles/pgo/cpu.pprof server/default.pgo

# Go benchmarks of the packages that are on every message's way, here and at BASE, compared by benchstat.
BENCHSTAT := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
BENCH_PACKAGES ?= ./server/wire ./server/hub ./server/ws ./broker
BENCH_COUNT ?= 6
benchstat: ## Go micro-benchmarks of this tree against BASE=<commit>
	@test -n "$(BASE)" || { echo "benchstat: BASE=<commit> is missing"; exit 2; }
	@mkdir -p bin/benchstat
	rm -rf bin/benchstat/tree && git worktree prune && git worktree add --detach bin/benchstat/tree $(BASE)
	cd bin/benchstat/tree && $(GO) test -run '^$$' -bench . -benchmem -count $(BENCH_COUNT) $(BENCH_PACKAGES) >../base.txt; \
		status=$$?; cd ../../.. && git worktree remove --force bin/benchstat/tree; exit $$status
	$(GO) test -run '^$$' -bench . -benchmem -count $(BENCH_COUNT) $(BENCH_PACKAGES) >bin/benchstat/head.txt
	$(GO) run $(BENCHSTAT) bin/benchstat/base.txt bin/benchstat/head.txt

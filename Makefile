# The only command surface: `make` or `make help` says what there is.
#
# CARGO_TARGET_DIR and UMBRA_ENVOY are honoured. REQUIRE_ENVOY=1 makes a missing Envoy an error instead of a
# SKIPPED line, REQUIRE_APISERVER=1 a missing Kubernetes control plane, REQUIRE_BROWSER=1 a missing Chromium; .ci/run sets both (the second where Go is).

SHELL := /bin/bash
CARGO ?= cargo
PYTHON ?= python3
# Cargo's own folder for what it builds, wherever it was told to put it.
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
KEEP ?=
# Property tests see the same cases in every run: a change must not be refused for an old defect that it happens to meet.
# `make test PROPTEST_RNG_SEED=$$RANDOM PROPTEST_CASES=2000` looks for new ones, as `cargo test` by itself does.
export PROPTEST_RNG_SEED ?= 2026
# x86_64-unknown-linux-gnu, aarch64-unknown-linux-gnu: named to cargo, so that flags are not those of build scripts too.
HOST = $(shell $(or $(RUSTC),rustc) --version --verbose | sed -n 's/^host: //p')
HOST_VARIABLE = $(shell echo $(HOST) | tr 'a-z-' 'A-Z_')
BUILD_GO = $(PYTHON) tests/tools/build_go.py

.DEFAULT_GOAL := help
.PHONY: help check build static standalone test explain istiod attack long pictures kubernetes hosts scale bench figures fuzz fuzzers ahead demo golden fmt lint deny clean tools controlplane

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "; print "make TARGET, where TARGET is one of\n"} \
	  /^[a-z]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: tools build ## See a real Envoy mirror live traffic, in half a minute (KEEP=1: leave it running until Ctrl-C)
	@$(TARGET)/debug/umbra-demo $(if $(KEEP),--keep)

check: ## The fast loop: formats, lints, and all tests that start no other program: unit tests, golden cases, tidy
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- --deny warnings
	UMBRA_ENVOY=none $(CARGO) test --workspace --exclude umbra-tests --exclude umbra-testkit --lib --bins --tests
	UMBRA_ENVOY=none $(CARGO) test --package umbra-tests --test golden --test tidy

# Tests bring features of their own (tokio's test-util), so that whatever is built without them is built once more for them.
test: TESTS = --tests

build: ## Build every program (debug) into target/debug
	$(CARGO) build --workspace --bins $(TESTS)

# jemalloc is built for one size of pages and runs with smaller ones too: on aarch64 kernels have up to 64 KiB.
# What was freed goes back to the system after a second, not ten: after an outage all proxies come back at once.
BUILD_STATIC = $(if $(filter aarch64-%,$(HOST)),JEMALLOC_SYS_WITH_LG_PAGE=16) \
  JEMALLOC_SYS_WITH_MALLOC_CONF=dirty_decay_ms:1000 \
  CARGO_TARGET_$(HOST_VARIABLE)_RUSTFLAGS='-C target-feature=+crt-static' \
  $(CARGO) build --release --locked --target $(HOST)

static: ## Build umbra as one static binary (release) into target/static: what the container image is made of
	$(BUILD_STATIC) --package umbra-server --bin umbra
	@mkdir -p $(TARGET)/static
	@cp $(TARGET)/$(HOST)/release/umbra $(TARGET)/static/umbra

standalone: static ## Start that binary in an empty root, as in its image, without a container engine
	@$(PYTHON) tests/tools/start_static.py $(TARGET)/static/umbra

test: tools build ## Every tier of tests, with the real Envoy, and on a real Kubernetes API server where Go is
	@# Why they cannot be built, the builder says; what is skipped without them, the tests say.
	@$(BUILD_GO) || [ -z "$$REQUIRE_APISERVER" ]
	UMBRA_BIN=$(TARGET)/debug/umbra $(CARGO) test --workspace --lib --bins --test '[!k]*' --test kit
	UMBRA_BIN=$(TARGET)/debug/umbra $(CARGO) test --workspace --test kubernetes -- --test-threads $(CLUSTERS)

# Tests on a cluster mostly wait, so that three of them have room on two cores.
CLUSTERS = $(shell cores=$$(nproc 2>/dev/null || echo 3); echo $$(( cores > 3 ? cores : 3 )))

# Requests a second.
RATE ?= 2000

# Pairs of rules and a request.
PAIRS ?= 10000

explain: tools build ## Compare `umbra explain` with a real Envoy on PAIRS=10000 random pairs of rules and a request
	UMBRA_EXPLAIN_PAIRS=$(PAIRS) UMBRA_BIN=$(TARGET)/debug/umbra $(CARGO) test --package umbra-tests --test envoy explain:: -- --nocapture

# Random worlds, about 150 requests in each.
WORLDS ?= 340

istiod: tools controlplane build ## Compare umbra with a real istiod in WORLDS=340 random worlds, through real Envoys; needs Go, and a quarter of an hour to build istiod
	@$(BUILD_GO) istiod
	REQUIRE_ENVOY=1 REQUIRE_APISERVER=1 REQUIRE_CAPTURE=1 UMBRA_WORLDS=$(WORLDS) UMBRA_BIN=$(TARGET)/debug/umbra \
	  $(CARGO) test --package umbra-tests --test istiod -- --nocapture --test-threads 1

attack: static ## Clients that mean harm, one after the other, against a release build: print what others are served meanwhile, and what stays
	LONG_ATTACKS=1 UMBRA_BIN=$(TARGET)/static/umbra $(CARGO) test --package umbra-tests --test attack -- --test-threads 1 --nocapture

long: tools static ## What takes minutes of traffic through real Envoys, against a release build: a share of 0.01 %, and what counting and judging cost (RATE=2000 requests a second)
	UMBRA_LONG=1 UMBRA_RATE=$(RATE) UMBRA_BIN=$(TARGET)/static/umbra $(CARGO) test --package umbra-tests --test envoy -- shares::a_hundredth costs:: --test-threads 1 --nocapture

kubernetes: tools controlplane build ## The tests on a real Kubernetes API server, with Flagger and Argo Rollouts; needs Go
	REQUIRE_APISERVER=1 UMBRA_BIN=$(TARGET)/debug/umbra $(CARGO) test --package umbra-tests --test kubernetes

# How long there is traffic before them.
MINUTES ?= 10

pictures: tools build ## Take the pictures of docs/dashboard.md anew, after MINUTES=10 of traffic; needs a Chromium
	UMBRA_PICTURES=docs/pictures UMBRA_PICTURE_MINUTES=$(MINUTES) REQUIRE_BROWSER=1 REQUIRE_ENVOY=1 UMBRA_BIN=$(TARGET)/debug/umbra \
	  $(CARGO) test --package umbra-tests --test browser pictures:: -- --nocapture

# How many batches `make hosts` tries on each Envoy.
BATCHES ?= 2500

hosts: tools build ## Virtual hosts as resources, thousands of random batches on the newest, an older and the oldest Envoy: BATCHES=2500
	for version in 1.40.0 1.39.3 1.37.0; do \
	  envoy=$$($(PYTHON) tests/tools/fetch_envoy.py $$version) && echo "Envoy $$version" && \
	  UMBRA_ENVOY=$$envoy REQUIRE_ENVOY=1 UMBRA_BATCHES=$(BATCHES) UMBRA_BIN=$(TARGET)/debug/umbra \
	    $(CARGO) test --package umbra-tests --test xds_envoy -- hosts:: --nocapture || exit 1; \
	done

scale: tools controlplane static ## Print the figures of docs/performance.md that need an API server (release build, a quiet machine); needs Go
	REQUIRE_APISERVER=1 UMBRA_BIN=$(TARGET)/static/umbra $(CARGO) test --package umbra-tests --test kubernetes scale::

# S, M or C: how large. ARGS: what else `umbra-load bench --help` knows.
SCENARIO ?= S
ARGS ?=

# What the last steps of CI need, built while tests wait for other programs.
ahead: static fuzzers
	$(BUILD_STATIC) --package umbra-load --bin umbra-load

bench: static ## Print what changes cost with many proxies (release build): SCENARIO=S (100 proxies), M (1000), C (5000), ARGS=...
	$(BUILD_STATIC) --package umbra-load --bin umbra-load
	$(TARGET)/$(HOST)/release/umbra-load bench --scenario $(SCENARIO) $(ARGS)

figures: ## Renew the tables of docs/performance.md that `make bench` gives: ten minutes on a quiet machine
	$(MAKE) bench SCENARIO=S ARGS='--renew docs/performance.md'
	$(MAKE) bench SCENARIO=M ARGS='--renew docs/performance.md'
	$(MAKE) bench SCENARIO=M ARGS='--plain --renew docs/performance.md'
	$(MAKE) bench SCENARIO=M ARGS='--sotw --only percentage,endpoint,weights,restart --renew docs/performance.md'
	$(MAKE) bench SCENARIO=C ARGS='--only cold,endpoint --renew docs/performance.md'

# What cargo-fuzz gives rustc, but for the sanitizers, which need a nightly: libFuzzer sees which code an input reaches.
COVERAGE = -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Clink-dead-code
FUZZED = documents delta sotw node
# For each of them.
SECONDS ?= 20

fuzzers:
	RUSTFLAGS='$(COVERAGE)' CARGO_TARGET_DIR=$(TARGET)/fuzz \
	  $(CARGO) build --profile fuzz --target $(HOST) --package umbra-fuzz --features libfuzzer --bins

fuzz: fuzzers ## Look for inputs that make documents, xDS requests or nodes panic: SECONDS=20 for each; needs a C++ compiler
	@for name in $(FUZZED); do \
	  mkdir -p $(TARGET)/fuzz/found/$$name; \
	  echo "fuzz $$name: $(SECONDS) s"; \
	  $(TARGET)/fuzz/$(HOST)/fuzz/fuzz-$$name -max_total_time=$(SECONDS) -timeout=30 -max_len=16384 -rss_limit_mb=4096 \
	    -verbosity=0 -print_funcs=0 -print_final_stats=1 -artifact_prefix=fuzz/corpus/$$name/ \
	    $(TARGET)/fuzz/found/$$name fuzz/corpus/$$name || { \
	    echo "The input is in fuzz/corpus/$$name: mend what it breaks and commit it; \`make test\` tries it from then on." >&2; \
	    exit 1; }; \
	done

golden: tools build ## Write the golden files anew; look at the difference before you commit it
	UPDATE_GOLDEN=1 $(CARGO) test --package umbra-server --lib
	UMBRA_BIN=$(TARGET)/debug/umbra UPDATE_GOLDEN=1 $(CARGO) test --package umbra-tests --test golden --test chart

fmt: ## Format all code
	$(CARGO) fmt --all

lint: ## Formats and lints alone, every warning an error
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- --deny warnings

deny: ## Licences, sources and advisories of the dependencies (fetches cargo-deny)
	@$(PYTHON) tests/tools/deny.py

tools: ## Fetch what tests and demo need (Envoy) into .tools/
	@$(PYTHON) tests/tools/fetch_envoy.py >/dev/null || \
	  { [ -z "$$REQUIRE_ENVOY" ] && echo "SKIPPED: no Envoy, so nothing that needs one will run" >&2; }

controlplane: ## Build what the Kubernetes tests start (etcd, kube-apiserver, helm, Flagger ...) into .tools/; needs Go
	@$(BUILD_GO)

clean: ## Remove what was built (fetched tools stay)
	$(CARGO) clean

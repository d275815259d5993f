# Two commands for a new machine: `make demo` and `make test`. Each sets up what it needs.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo demo-kea test check fast fast-core fast-rest kea kea-sim kea-lab kea-waiting kea-all tools lab-perhaps bench faults advice soak model mutants plans lock lab clean

demo: $(STAMP)
	$(BIN)/keawatch demo

demo-kea: $(STAMP) lab
	$(BIN)/python -m tests.kea_pair.demo

# What needs little of the machine goes on beside what needs much; the tests with real Kea have it for themselves.
test: $(STAMP)
	$(MAKE) --no-print-directory -j 3 --output-sync=target check lab-perhaps fast
	$(MAKE) --no-print-directory kea

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fast: fast-core fast-rest

fast-core: $(STAMP)
	$(BIN)/pytest -m "not kea" -q -p no:cacheprovider tests/core tests/leases tests/kea tests/model

fast-rest: $(STAMP) tools
	$(BIN)/pytest -m "not kea" -q -p no:cacheprovider tests --ignore tests/core --ignore tests/leases --ignore tests/kea --ignore tests/model

# First what is measured, with the machine for itself; then, side by side, what mostly waits.
kea: $(STAMP) lab-perhaps
	$(BIN)/pytest -m kea -q --ignore tests/sim --ignore tests/kea_pair/test_lab.py $(addprefix --ignore ,$(WAITING))
	$(MAKE) --no-print-directory -j 3 --output-sync=target kea-sim kea-lab kea-waiting

WAITING := $(patsubst %,tests/kea_pair/test_%.py,full_disk left_disabled prometheus)
kea-sim kea-lab kea-waiting: $(STAMP) lab-perhaps
kea-sim:
	$(BIN)/pytest -m kea -q -p no:cacheprovider tests/sim
kea-lab:
	$(BIN)/pytest -m kea -q -p no:cacheprovider tests/kea_pair/test_lab.py
kea-waiting:
	$(BIN)/pytest -m kea -q -p no:cacheprovider $(WAITING)

# As kea, with every matrix played whole.
kea-all: $(STAMP) lab-perhaps
	KEAWATCH_WHOLE=1 $(BIN)/pytest -m kea -q

# Looks for a story in which keawatch breaks a law, with new seeds; `make fast` does so briefly, and always with the same.
MINUTES ?= 10
model: $(STAMP)
	$(BIN)/python -m tests.model.search $(MINUTES)

# Takes out every guard, condition and compensation, one at a time, and names who misses it; writes docs/mutants.md.
# It takes about an hour; WORDS="--minutes 20" asks the other tests for that long, WORDS="take-over" only about those with that word in their
# name, and writes nothing.
WORDS ?=
mutants: $(STAMP)
	$(BIN)/python -m tests.mutation $(WORDS)

# Writes docs/plans.md, what each plan does to the servers; a test holds it to the code.
plans: $(STAMP)
	$(BIN)/python -m tests.plans

# The real-Kea laboratory needs root and Debian packages.
lab: $(STAMP) tools
	$(BIN)/python -m tests.kea_pair.roots

# For the tests: where it can't be had they say so themselves, loudly; where CI is set that is a failure.
lab-perhaps: $(STAMP) tools
	$(BIN)/python -m tests.kea_pair.roots || test -z "$$CI"

# promtool, which fast tests need as well; it comes first, so that they do not overtake it on a machine that has to fetch Kea.
tools: $(STAMP)
	$(BIN)/python -m tests.kea_pair.tools

bench: $(STAMP) lab
	$(BIN)/python -m tests.kea_pair.bench_leases
	$(BIN)/python -m tests.kea_pair.bench_logs
	$(BIN)/python -m tests.kea_pair.bench

# Every fault on real pairs, with Kea alone and with keawatch; writes docs/faults.md. It takes more than an hour.
faults: $(STAMP) lab
	$(BIN)/python -m tests.chaos.faults

# What lint warns of and what it advises, side by side on real pairs; writes docs/advice.md, and takes about ten minutes.
# RULE=persist-off plays one rule, the others keep their results.
RULE ?= .*
advice: $(STAMP) lab
	$(BIN)/python -m tests.kea_pair.advice --only '$(RULE)'

# Random faults for hours on real pairs under load; results are added to soak.jsonl at once, and docs/soak.md is written at the end.
SOAK_MINUTES ?= 120
soak: $(STAMP) lab
	$(BIN)/python -m tests.chaos.soak --minutes $(SOAK_MINUTES)

lock:
	$(BIN)/pip install -q pip-tools
	$(BIN)/pip-compile -q --extra dev --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links \
	  --no-emit-trusted-host -o requirements-dev.lock pyproject.toml

$(STAMP): requirements-dev.lock pyproject.toml scripts/venv
	scripts/venv $(PYTHON) $(VENV)
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Two commands for a new machine: `make demo` and `make test`. Each sets up what it needs.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo demo-kea test check fast kea kea-all bench lock lab clean

demo: $(STAMP)
	$(BIN)/keawatch demo

demo-kea: $(STAMP) lab
	$(BIN)/python -m tests.kea_pair.demo

test: $(STAMP) check lab fast kea

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fast: $(STAMP)
	$(BIN)/pytest -m "not kea" -q

kea: $(STAMP) lab
	$(BIN)/pytest -m kea -q

# As kea, with every matrix played whole.
kea-all: $(STAMP) lab
	KEAWATCH_WHOLE=1 $(BIN)/pytest -m kea -q

# The real-Kea laboratory needs root and Debian packages; where they are missing its tests say so loudly.
lab: $(STAMP)
	$(BIN)/python -m tests.kea_pair.roots
	$(BIN)/python -m tests.kea_pair.tools

bench: $(STAMP) lab
	$(BIN)/python -m tests.kea_pair.bench_leases
	$(BIN)/python -m tests.kea_pair.bench

lock:
	$(BIN)/pip install -q pip-tools
	$(BIN)/pip-compile -q --extra dev --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links \
	  --no-emit-trusted-host -o requirements-dev.lock pyproject.toml

$(STAMP): requirements-dev.lock pyproject.toml scripts/venv
	scripts/venv $(PYTHON) $(VENV)
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Two commands matter: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.set-up
# one process a core, and the tests of a file in one process, since they share their worlds; the longest files first
PYTEST := $(BIN)/python -m pytest -q -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

.PHONY: help setup demo ui test test-slow bench lint format types clean

help: ## Show this help
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	@echo "== Setting up $(VENV) (once; a few minutes)"
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Rushes needs Python 3.11 or newer: make PYTHON=python3.11"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check torch==2.13.0 -c constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -e ".[dev]" -c constraints.txt
	@touch $@

.vendor/.complete: orchestration/demo/fetch.py orchestration/demo/sources.yaml | $(STAMP)
	@echo "== Fetching sample footage and small networks (once)"
	$(BIN)/python -m orchestration.demo.fetch
	@touch $@

setup: $(STAMP) .vendor/.complete ## Virtual environment, packages, sample footage

demo: setup ## Run the whole graph on the sample world
	$(BIN)/rushes demo

ui: setup ## Dagster UI and daemon, and the MLflow UI, on loopback
	$(BIN)/rushes ui

test: setup ## Fast tests, about 6 minutes on two cores
	$(PYTEST) -m "not slow"

test-slow: setup ## The slow ones: real daemon, S3 server, kill and resume, the demo end to end
	$(PYTEST) -m slow --durations 10

bench: setup ## Benchmarks; results in tests/benchmarks/results
	$(BIN)/python -m tests.benchmarks

lint: $(STAMP) ## Lint and format check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## Type check
	$(BIN)/mypy

clean: $(STAMP) ## Remove the installation's data (not the environment, not the sample footage); asks before a ledger goes
	@$(BIN)/python -m orchestration.demo.clean
	rm -rf dbt_project/target dbt_project/logs

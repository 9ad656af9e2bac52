# From a fresh clone with Python 3.11 or newer: `make demo` shows the product, `make test` checks it.
# Both make .venv by themselves, and neither repeats what is already done. `make` alone lists the targets.

VENV := .venv
BIN := $(VENV)/bin
RUNS ?= runs
PORT ?= 5006
PYTEST_ARGS ?=
# Two at a time by files: a file's tests share what they made (servers, browsers, compiled kernels).
WORKERS ?= 2
# 20 M rows take half an hour and 5 GB; BENCH_BIG=1 adds 200 M rows (20 GB more) and what takes long.
BENCH_ROWS ?= 20000000
BENCH_ROUNDS ?= 3
BENCH_DATA ?= bench-data
SAY := printf 'workbench: %s\n'

.DEFAULT_GOAL := help
.PHONY: help demo schedule-demo test lint types unit notebooks format browser resolve pins reference gpu-check bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile

# ---- what people come for ------------------------------------------------------------------------------------------

demo: $(VENV)/.demo ## example tables, nine runs, and their pages at http://localhost:5006 (DEMO_SERVE=0: without serving)
	@$(BIN)/python -m workbench.demo --runs "$(RUNS)" --port "$(PORT)"

schedule-demo: $(VENV)/.demo ## a week of scheduled runs in a minute, by a driven clock: failures, kill -9, a short night; prints the ledger
	@$(BIN)/python -m workbench.runs.week

test: $(VENV)/.test ## every check: style, types, unit, property, docs, pages in headless Chromium, notebooks
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory browser
	@$(MAKE) --no-print-directory notebooks
	@$(MAKE) --no-print-directory unit
	@$(SAY) 'every check passed'

# ---- the parts of `make test` --------------------------------------------------------------------------------------

lint: $(VENV)/.test ## ruff on code and notebooks: rules and format
	@$(SAY) 'style (ruff, code and notebooks)'
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(VENV)/.test ## mypy on the package
	@$(SAY) 'types (mypy)'
	@$(BIN)/mypy

unit: $(VENV)/.test ## pytest: unit, property, pages, docs, layers (PYTEST_ARGS="-k drift" to choose)
	@$(SAY) 'tests: unit, property, pages, docs, layers'
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

notebooks: $(VENV)/.test ## run every notebook top to bottom (nbval)
	@$(SAY) 'notebooks, top to bottom'
	@$(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout 120 -n $(WORKERS) --dist loadfile notebooks/

browser: $(VENV)/.test ## find Chromium, or install one
	@$(BIN)/python scripts/chromium.py --install

# ---- for maintainers -----------------------------------------------------------------------------------------------

format: $(VENV)/.test ## let ruff mend style and format
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

reference: $(VENV)/.test ## write docs/reference.md from the docstrings and the command line's help
	@$(BIN)/python scripts/reference.py

resolve: $(VENV)/.test ## do the pins still serve [gpu] and [test] together? (a dry run; no GPU needed)
	@$(BIN)/python scripts/pins.py --check

pins: $(VENV)/.test ## write constraints.txt and the environment files anew from pyproject.toml
	@$(BIN)/python scripts/pins.py

gpu-check: ## on a GPU host: install [gpu] and run the tests marked gpu (GPU_PYTHON=...: an interpreter that has it all)
	@command -v nvidia-smi >/dev/null || { $(SAY) 'no NVIDIA driver here (nvidia-smi is not found): run this on a host with a GPU.'; exit 1; }
	@nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
	@if [ -z "$(GPU_PYTHON)" ]; then $(MAKE) --no-print-directory $(VENV)/.gpu; fi
	@$${GPU_PYTHON:-$(BIN)/python} -m pytest -m gpu --gpu $(PYTEST_ARGS)

bench: $(VENV)/.demo ## ours and the peers on the same files, into benchmarks/RESULTS.md (BENCH="profile drift" to choose)
	@$(BIN)/python -m benchmarks.run $(BENCH) --rows $(BENCH_ROWS) --rounds $(BENCH_ROUNDS) --data $(BENCH_DATA) $(if $(filter 1,$(BENCH_BIG)),--big)

clean: ## remove .venv, caches, the demo's tables and the peers' environments; runs and bench-data stay
	rm -rf $(VENV) .demo .bench .pytest_cache .mypy_cache .ruff_cache .hypothesis

# ---- set-up: each stamp is made once, and again when the versions change -------------------------------------------

$(BIN)/uv:
	@sh scripts/setup.sh $(VENV)

$(VENV)/.demo: $(BIN)/uv pyproject.toml constraints.txt
	@$(SAY) 'installing the package with its pinned versions into .venv (once, a minute or so)'
	@$(BIN)/uv pip install --compile-bytecode --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[demo]'
	@touch $@

$(VENV)/.test: $(BIN)/uv pyproject.toml constraints.txt
	@$(SAY) 'installing the package and its test tools with pinned versions into .venv (once, a minute or so)'
	@$(BIN)/uv pip install --compile-bytecode --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[test]'
	@touch $@ $(VENV)/.demo

$(VENV)/.gpu: $(BIN)/uv pyproject.toml constraints.txt
	@$(SAY) 'installing the package with RAPIDS into .venv (once, 3.5 GB)'
	@$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[gpu,test]'
	@touch $@ $(VENV)/.test $(VENV)/.demo

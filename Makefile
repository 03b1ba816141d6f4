# Everything runs in .venv, which each target fills with what it needs.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check

.PHONY: help demo test check bench clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

demo: .venv/run.done  ## install what the run needs (no torch), follow people through four cameras, write film and pictures
	$(BIN)/mspf-pipeline run --cams configs/demo.yaml --out runs/demo --video --pictures
	$(BIN)/mspf-pipeline people runs/demo

test: .venv/develop.done  ## install everything and run the tests
	$(BIN)/pytest

check: .venv/develop.done  ## format, lint, types, and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/develop.done  ## speed, side by side in one run
	$(BIN)/python scripts/benchmark.py

clean:  ## remove the environment and the runs
	rm -rf .venv runs

.venv/bin/pip:
	$(PYTHON) -m venv .venv

.venv/run.done: pyproject.toml | .venv/bin/pip
	$(PIP) install --quiet --editable '.[evaluate]'
	@touch $@

.venv/develop.done: pyproject.toml | .venv/bin/pip
	$(PIP) install --quiet --editable '.[evaluate,simulate,train,ultralytics,tensorrt-rtx,dev]'
	@touch $@ .venv/run.done

# Targets are the same by hand and in CI. `make help` lists them.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEVICE ?= cpu

.PHONY: help demo test lint bench clean
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(VENV)/installed-base: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/installed-base

demo: $(VENV)/installed-base ## explain the embedded pictures with the embedded network
	$(BIN)/l2caf demo --output out/demo --overwrite

lint: $(VENV)/installed-dev ## linters, import contracts and type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

test: lint ## lint, then every test
	$(BIN)/python -m pytest

bench: $(VENV)/installed-dev ## time L2-CAF against the peers and the paper's descent
	$(BIN)/python benchmarks/speed.py --device $(DEVICE) --output out/bench

clean: ## remove what the other targets made
	rm -rf $(VENV) out

# Targets are the same by hand and in CI. `make help` lists them.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install demo bench coverage test lint clean
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(VENV)/installed-base: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[digits,timm]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/installed-base

install: $(VENV)/installed-base ## make .venv with l2caf, timm and what DigitScenes need

demo: $(VENV)/installed-base ## explain the embedded pictures with the embedded network: out/demo/index.html
	$(BIN)/l2caf demo --output out/demo

lint: $(VENV)/installed-dev ## linters, import contracts and type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

test: lint ## lint, then every test
	$(BIN)/python -m pytest

DEVICE ?= cpu
MOBILENET ?=  # weights of timm's mobilenetv2_100, for its rows
CLIPS ?=  # weights of l2caf.recipes.clips, for the Figure 8 network
bench: $(VENV)/installed-dev ## cost of a map beside peers, the paper's descent and a plain loop, for hours: out/bench
	$(BIN)/python -m benchmarks.speed --output out/bench --device $(DEVICE)
	$(BIN)/python -m benchmarks.inner --output out/bench --device $(DEVICE) --vanilla $(if $(MOBILENET),--mobilenet $(MOBILENET))
	$(BIN)/python -m benchmarks.evaluate --output out/bench
	$(BIN)/python -m benchmarks.video --output out/bench/video $(if $(CLIPS),--weights $(CLIPS))
	$(BIN)/python -m benchmarks.search --output out/bench
	$(BIN)/python -m benchmarks.scale --output out/bench --device $(DEVICE)

coverage: $(VENV)/installed-dev ## networks of six libraries, for hours (more with '.[coverage]'): docs/results/coverage
	$(BIN)/python -m benchmarks.coverage --output docs/results/coverage

clean: ## remove what the other targets made
	rm -rf $(VENV) out

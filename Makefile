# Every target sets up what it needs. The first run builds .venv, later runs reuse it.
#
#   make demo               the whole path on made-up videos (OUT=demo-run)
#   make test               the tests; make test-all adds the slow ones (WORKERS=2, PYTEST_ARGS=...)
#   make check              lint, format, types, import arrows, docs
#   make venv TORCH=...     another torch than the pinned one, as pip would take it: a version or a wheel file

PYTHON ?= python3
OUT ?= demo-run
WORKERS ?= 2
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CHOSEN_TORCH := $(VENV)/.torch

# The torch asked for now (TORCH= goes back to the pinned one), else the one this environment was
# built with. Empty means the pinned one.
ifeq ($(origin TORCH),undefined)
TORCH := $(shell cat $(CHOSEN_TORCH) 2>/dev/null)
endif
TORCH_TO_INSTALL := $(or $(TORCH),$(shell grep '^torch==' constraints.txt))

# One thread for each worker: two workers fill two cores, and sums keep one order.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest
# The theme announces its own future on every build otherwise.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-all check docs format dist FORCE

help:
	@sed -n '2,/^$$/s/^# \{0,1\}//p' Makefile

venv: $(READY)

# torch goes first and stays as it is: the versions of all others are pinned beside the torch found.
$(READY): pyproject.toml constraints.txt $(CHOSEN_TORCH) | $(BIN)/python
	$(BIN)/python -m pip install --quiet '$(TORCH_TO_INSTALL)'
	@grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt
	@$(BIN)/python -c 'from importlib.metadata import version; print("torch==" + version("torch"))' \
	  >> $(VENV)/constraints.txt
	$(BIN)/python -m pip install --quiet -c $(VENV)/constraints.txt -e '.[dev]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "vsalt needs Python 3.11 or newer; PYTHON=$(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Written only when the choice changes, so that the environment follows it and nothing else is redone.
$(CHOSEN_TORCH): FORCE | $(BIN)/python
	@[ -f $@ ] && [ "$$(cat $@)" = '$(TORCH)' ] || printf '%s\n' '$(TORCH)' > $@

FORCE:

demo: $(READY)
	$(BIN)/vsalt demo --out '$(OUT)'

test: $(READY)
	$(PYTEST) -n $(WORKERS) -m 'not slow' $(PYTEST_ARGS)

test-all: $(READY)
	$(PYTEST) -n $(WORKERS) $(PYTEST_ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) -q tests/unit/test_import_arrows.py
	$(MKDOCS) build --strict  # --quiet would hide the warnings from --strict

docs: $(READY)
	$(MKDOCS) build --strict

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dist: $(READY)
	$(BIN)/python -m build --no-isolation

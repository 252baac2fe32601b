# Every target works on a fresh machine with Python 3.11+ and a network for the package installs.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
.DEFAULT_GOAL := help
.PHONY: help install demo test check format bench lock clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: .venv/installed ## make .venv with the locked dependencies

.venv/installed: requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: install ## start everything with seeded data, summarize a recorded trace, count recorded logs (ARGS=--once to end then)
	$(BIN)/tracegist up --data-dir data $(ARGS)

test: install ## all tests, against real services
	$(BIN)/python -m pytest $(ARGS)

check: install ## format, lint, types, import rule, lock freshness
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_lock.py

format: install ## let the formatter have its way
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install ## speed, as ratios side by side; writes docs/benchmarks.md
	$(BIN)/python -m benchmarks $(ARGS)

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --custom-compile-command "make lock"

lock: install ## pin the dependencies of pyproject.toml again
	$(COMPILE) --extra embedded pyproject.toml --output-file requirements/runtime.txt
	$(COMPILE) --constraint requirements/runtime.txt pyproject.toml --output-file requirements/base.txt
	$(COMPILE) --constraint requirements/runtime.txt --extra embedded --group dev pyproject.toml \
	  --output-file requirements/dev.txt
	echo 'setuptools>=80' | $(COMPILE) --constraint requirements/dev.txt - --output-file requirements/build.txt
	$(COMPILE) --constraint requirements/base.txt deploy/flower/requirements.in \
	  --output-file deploy/flower/requirements.txt

clean: ## remove what the targets made
	rm -rf .venv build data *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

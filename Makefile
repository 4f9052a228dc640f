# Needs Python 3.11+ and make; everything else is put into .venv on the first run.
MAKEFLAGS += --no-print-directory
SHELL := /bin/sh
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -q

# A virtual environment of the caller, or settings that change what is installed and where, are not ours.
unexport PIP_CONSTRAINT PIP_NO_BINARY PIP_PREFIX PIP_REQUIRE_VIRTUALENV PIP_TARGET PIP_USER PYTHONDONTWRITEBYTECODE \
    PYTHONHOME PYTHONPATH PYTHONSTARTUP PYTHONWARNINGS UV_CONSTRAINT UV_EXCLUDE_NEWER UV_NO_BINARY UV_NO_BUILD \
    UV_OVERRIDE UV_PROJECT_ENVIRONMENT UV_PYTHON UV_REQUIRE_HASHES UV_SYSTEM_PYTHON VIRTUAL_ENV
export PYTHON

# A stamp written in another folder, or whose Python has gone, is no stamp.
$(shell [ "$$(cat .venv/.stamp 2>/dev/null)" = "$$(pwd -P)" ] && [ -x $(BIN)/python ] || rm -f .venv/.stamp)

.PHONY: help demo test check lint format frameworks frameworks-floor bench soak soak-load pins clean

help:
	@echo 'make demo    the governed loop on a real database, in one screen; STORE=postgres: on PostgreSQL, by two workers'
	@echo 'make test    every test, and the guard with the agent frameworks that fit one environment'
	@echo 'make check   lint, types and the fast tests, under a minute'
	@echo 'make lint    ruff and mypy --strict'
	@echo 'make format  let ruff rewrite what it can'
	@echo 'make frameworks  the guard with every agent framework, each in an environment of its own (NAMES="agno langgraph")'
	@echo 'make frameworks-floor  the same with the oldest versions it supports'
	@echo 'make bench   ratios beside the floors of this machine and other packages, about six minutes'
	@echo 'make soak    load, faults and the fuzz tests at large sizes'
	@echo 'make soak-load  an hour of load over HTTP, on PostgreSQL (KIFF_SOAK_MINUTES)'
	@echo 'make pins    resolve requirements/*.txt again'
	@echo 'make clean   remove .venv, caches and what the demo left'

demo: .venv/.stamp
ifeq ($(STORE),postgres)
	@$(BIN)/python tests/demo/on_postgres.py
else
	@$(BIN)/kiff demo $(if $(STORE),--store '$(STORE)')
endif

test: .venv/.stamp
	@$(PYTEST) -n 2 --dist loadfile
	@$(BIN)/python tests/frameworks together

check: lint
	@$(PYTEST) -n 3 --dist loadfile -m 'not slow and not soak'

lint: .venv/.stamp
	@$(BIN)/python -m ruff check --quiet --output-format concise .
	@$(BIN)/python -m ruff format --check --quiet .
	@$(BIN)/python -m mypy --no-error-summary

format: .venv/.stamp
	@$(BIN)/python -m ruff check --fix --quiet .
	@$(BIN)/python -m ruff format --quiet .

frameworks: .venv/.stamp
	@$(BIN)/python tests/frameworks latest $(NAMES)

frameworks-floor: .venv/.stamp
	@$(BIN)/python tests/frameworks floor $(NAMES)

bench: .venv/.stamp
	@$(BIN)/python -m benchmarks

soak-load: .venv/.stamp
	@$(BIN)/python -m benchmarks.soak

soak: .venv/.stamp
	@KIFF_SOAK=1 $(PYTEST) -n 2 --dist loadfile -m 'soak or hypothesis'
	@$(BIN)/python tests/faults/reliability.py

COMPILE := -m uv --quiet pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
EACH := -m uv --quiet pip compile --upgrade --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version
pins: .venv/.stamp
	$(BIN)/python $(COMPILE) requirements/setup.in -o requirements/setup.txt
	$(BIN)/python $(COMPILE) --all-extras -c requirements/setup.txt packages/kiff/pyproject.toml requirements/setup.in requirements/dev.in -o requirements/dev.txt
	$(BIN)/python $(COMPILE) -c requirements/dev.txt packages/kiff/pyproject.toml -o requirements/runtime.txt
	$(BIN)/python $(COMPILE) requirements/bench.in -o requirements/bench.txt
	for each in requirements/frameworks/*.in; do $(BIN)/python $(EACH) 3.11 "$$each" -o "$${each%.in}.txt" || exit 1; done
	$(BIN)/python $(EACH) 3.10 --universal requirements/frameworks/core.in -o requirements/frameworks/core.txt

clean:
	@rm -rf .venv .frameworks .demo examples/*/.run .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.stamp: .ci/setup requirements/setup.txt requirements/dev.txt $(wildcard packages/*/pyproject.toml)
	@sh .ci/setup

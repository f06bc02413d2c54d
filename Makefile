# Needs a Python from 3.11 on, and make. Everything else is put into .venv, which may be removed at any time.
#
#   make demo                   a tour of what vimmon does, on real parts, in less than 90 seconds
#   make demo AUTH_URLS="URL …" the same, and a look at clouds of your own
#   make tacker-demo            the same beside a real Tacker server; needs RabbitMQ and MariaDB
#   make test                   the checks, and all tests for which this machine has what they need
#   make chaos                  the fault matrix in full, on real processes; an hour, with the times of production
#   make fuzz                   odd bytes for everything that is parsed, FUZZ_ARGS="--seconds 600 [TARGET …]"
#   make audit                  known weaknesses of what is installed; needs PyPI
#   make bench-rpc              what a call of update_vim costs, beside a message bus; five minutes
#   make bench-leases           what the minute check of leases costs an executor; a minute
#   make bench-probes           what a probe costs in CPU, beside ping, fping and blackbox_exporter; a minute
#   make soak                   10,000 monitors in one executor, by icmp and by tcp: CPU, memory, lag; twelve minutes
#   make bench-start            VIMs started a second on a real Mistral, beside what it does alone; ten minutes
#   make bench-reconcile        what a pass of the reconciler takes with 100,000 VIMs, and how databases find things
#   make bench-fleet            100,000 VIMs on one machine, by tcp and by icmp; half an hour, as root
#   make bench-loading          what an executor pays to load vimmon; seconds
#   make docs                   writes anew the documents that are made from the code
#   make check                  formatting, types, and who may import whom

VENV := .venv
BIN := $(VENV)/bin
PYTHONS := $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11
AUTH_URLS :=
PYTEST_ARGS :=
# Most of a test's time is waiting. Which go together, and which begin first: tests/support/distribution.py
PARALLEL := --numprocesses 3 --dist loadscope --no-loadscope-reorder
CHAOS_ARGS :=
FUZZ_ARGS :=
BENCH_ARGS :=

.PHONY: help demo tacker-demo test check docs chaos fuzz audit bench-rpc bench-leases bench-probes bench-start bench-reconcile \
    bench-fleet bench-loading soak
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.installed-demo
	@$(BIN)/vimmon demo $(AUTH_URLS)

tacker-demo: $(VENV)/.installed-tacker
	@$(BIN)/python -m tests.tacker

test: $(VENV)/.installed-tacker check
	$(BIN)/pytest -rs $(PARALLEL) $(PYTEST_ARGS)

chaos: $(VENV)/.installed-dev
	$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

# atheris has no wheel for every Python: without it Hypothesis does the work, less well.
fuzz: $(VENV)/.installed-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris || echo "no atheris here; going on without"
	$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

# Strict: pip-audit alone says "no known vulnerabilities" even where the index could tell it nothing.
audit: $(VENV)/.installed-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	@$(BIN)/python -m pip freeze --exclude-editable --quiet > $(VENV)/audited.txt
	$(BIN)/pip-audit --strict --disable-pip --no-deps --progress-spinner off --requirement $(VENV)/audited.txt

bench-rpc bench-leases bench-probes bench-start bench-reconcile bench-fleet bench-loading: bench-%: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.$* $(BENCH_ARGS)

soak: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.soak $(BENCH_ARGS)

docs: $(VENV)/.installed-dev
	$(BIN)/python -m tests.documents.configuration

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Each of tacker, dev and demo contains what the next one needs.
$(VENV)/.installed-demo: pyproject.toml | $(BIN)/python
	@if [ "$(VENV)/.installed-dev" -nt pyproject.toml ]; then touch $@; else $(MAKE) --no-print-directory install EXTRA=demo; fi

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@if [ "$(VENV)/.installed-tacker" -nt pyproject.toml ]; then touch $@; else $(MAKE) --no-print-directory install EXTRA=dev; fi

$(VENV)/.installed-tacker: pyproject.toml | $(BIN)/python
	@$(MAKE) --no-print-directory install EXTRA=tacker

.PHONY: install
install:
	@echo "installing vimmon[$(EXTRA)] into $(VENV): a minute or two, the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$(EXTRA)]"
	@touch $(VENV)/.installed-$(EXTRA)

$(BIN)/python:
	@for python in $(PYTHONS); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        "$$python" -m venv $(VENV) && exit 0; \
	        rm -rf $(VENV); \
	        echo "error: $$python cannot make a virtual environment" >&2; \
	        echo "  Install its module venv (Debian, Ubuntu: apt install python3-venv)" >&2; \
	        exit 1; \
	    fi; \
	done; \
	echo "error: there is no Python from 3.11 on in PATH" >&2; \
	echo "  Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; \
	exit 1

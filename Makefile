# `make demo` and `make test` need nothing but Python 3.11 or newer; everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help install demo check test bench chaos clean

help:
	@echo "make demo     count the words of Python's standard library on two workers of this machine"
	@echo "make test     run all tests, with coverage"
	@echo "make check    lint, check the format and the types"
	@echo "make bench    measure, side by side with plain Celery"
	@echo "make chaos    prove that runs end, and end right, whatever dies: N=1000 runs amid faults, SEED= to replay"
	@echo "make install  install for development into .venv"
	@echo "make clean    remove what the above made"

install: .venv/dev

demo: .venv/local
	$(BIN)/python examples/word_count.py

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: .venv/dev
	$(BIN)/pytest --cov --cov-report=term-missing:skip-covered

bench: .venv/bench
	$(BIN)/python -m bench

chaos: .venv/local
	$(BIN)/python -m dagcelery.testing.chaos --runs $(or $(N),100) $(if $(SEED),--seed $(SEED))

# One file for each set of extras that is installed: .venv/local, .venv/dev, .venv/bench.
.venv/local .venv/dev .venv/bench: .venv/%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .dagcelery .coverage .coverage.* htmlcov dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

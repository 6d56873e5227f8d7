# `make demo` and `make test` need only Python 3.11 or newer; everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin

# Other brokers and stores than the embedded server; tests/workers/end_to_end/surroundings.py starts them.
MATRIX := rabbitmq tls two-servers sentinel cluster
# In the order of tests/conftest.py, since files of few tests are the longest ones.
SPREAD := --numprocesses=logical --dist=loadfile --no-loadscope-reorder

.PHONY: help install demo check test coverage docs smoke test-matrix $(MATRIX:%=test-%) bench bench-peers chaos up down clean

help:
	@echo "make demo     count the words of Python's standard library on two workers of this machine"
	@echo "make test     run all tests"
	@echo "make coverage run all tests, and say which lines none of them reaches; takes half as long again"
	@echo "make test-matrix  the end-to-end tests on RabbitMQ, on a Redis with TLS, with broker and store apart, on Sentinels, on a cluster"
	@echo "make smoke    crash, restart, routing, chord and chain with pytest-celery; in containers with TESTS_DOCKER=1"
	@echo "make check    lint, check the format and the types"
	@echo "make docs     build the documents as a site, in docs/_build"
	@echo "make bench    measure, side by side with plain Celery and with what it costs at least"
	@echo "make bench-peers  measure, side by side with Ray, Dask and DBOS"
	@echo "make chaos    prove that runs end correctly whatever dies: N=1000 runs with faults, SEED= to replay"
	@echo "make up       run Redis, workers and Flower in containers, with the secrets that docs/howto/deploy.md names"
	@echo "make down     stop them; Redis keeps its data"
	@echo "make install  install for development into .venv"
	@echo "make clean    remove everything that the above made"

install: .venv/dev

demo: .venv/local
	$(BIN)/python examples/word_count.py

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: .venv/dev
	$(BIN)/pytest $(SPREAD)

coverage: .venv/dev
	$(BIN)/pytest $(SPREAD) --cov --cov-report=term-missing:skip-covered

docs: .venv/docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -b dirhtml docs docs/_build/site
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q -b linkcheck docs docs/_build/links

smoke: .venv/dev
	$(BIN)/pytest tests/workers/smoke

# Seven to eight minutes on two cores. Needs rabbitmq-server, redis-server and openssl on this machine; if one of them
# is missing, its tests are shown as SKIPPED, with the package to install. RabbitMQ gets the whole suite; the others
# differ from `make test` in addresses only, so tests of times, deaths and quotas are left out there.
test-matrix: $(MATRIX:%=test-%)

$(MATRIX:%=test-%): test-%: .venv/dev
	DAGCELERY_TEST_SURROUNDINGS=$* $(BIN)/pytest tests/workers/end_to_end $(LEFT_OUT)

test-tls test-two-servers test-sentinel test-cluster: LEFT_OUT := --ignore-glob='*/test_durability_*' --ignore-glob='*/test_quotas.py'
# What is about values, classes and scripts of users looks the same from any store; an error that comes at once from one
# server comes from these after the 40 s in which another could take over.
test-sentinel test-cluster: LEFT_OUT += $(foreach each,beside by_value models values_as_they_are classes_of_scripts changes logs,\
	--ignore-glob='*/test_$(each).py') \
	--deselect tests/workers/end_to_end/test_outages.py::test_a_store_that_takes_no_writes_for_a_while_is_waited_for

bench: .venv/bench
	$(BIN)/python -m bench

bench-peers: .venv/bench-peers
	$(BIN)/python -m bench --only peers --json bench-peers.json

chaos: .venv/local
	$(BIN)/python -m chaos --runs $(or $(N),100) $(if $(SEED),--seed $(SEED))

up:
	docker compose up --detach --build

down:
	docker compose down

# One file for each set of extras that is installed: .venv/local, .venv/dev, and so on.
.venv/local .venv/dev .venv/docs .venv/bench .venv/bench-peers: .venv/%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .dagcelery .coverage .coverage.* htmlcov dist build docs/_build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

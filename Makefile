SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
PORT ?= 8000
VENV ?= .venv
BIN := $(VENV)/bin
# Tests start hundreds of processes, each of which would compile our modules again without the bytecode of the first.
unexport PYTHONDONTWRITEBYTECODE
# Tests run in several processes, their files in the order of tests/conftest.py. This one compares times, so it is alone.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder
ALONE := tests/providers/test_cost.py
UNMEASURED := $(addprefix --ignore=,$(ALONE) tests/alerts tests/faults tests/failover tests/hostile tests/load \
	tests/deploy/kubernetes tests/deploy/monitoring tests/deploy/nginx tests/deploy/systemd tests/production \
	tests/release tests/test_on_each_server.py)

.PHONY: help setup run test test-fast coverage faults failover hostile bench capacity production release-check docs lint format audit lock clean

help: ## show what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/ready ## make .venv with the locked versions (run and test do it by themselves)

run: $(VENV)/ready ## run everything on this machine and show a few callbacks (PORT=8000)
	@$(BIN)/callbox demo --port $(PORT)

test: $(VENV)/ready ## run the tests, on real embedded servers (ARGS="-n 0 tests/shared": some of them, one by one)
	@$(if $(ARGS),,env -u CALLBOX_TEST_REDIS -u CALLBOX_TEST_POSTGRES $(BIN)/pytest -q $(ALONE))
	@tests/on_each_server.sh $(BIN)/pytest $(PARALLEL) $(or $(ARGS),--ignore=$(ALONE) --ignore=tests/production)

test-fast: $(VENV)/ready ## the quick tests that need no servers
	@$(BIN)/pytest -q -m "not servers and not thorough" $(ARGS)

coverage: $(VENV)/ready ## measure what the unit and pipeline tests cover
	@rm -f .coverage*
	@PYTHONPATH=$(CURDIR)/tests/coverage $(BIN)/pytest $(PARALLEL) $(UNMEASURED) $(ARGS)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report

faults: $(VENV)/ready ## break everything under load and count what arrived (ARGS="--seed 1"); writes docs/faults.md
	@$(BIN)/python -m tests.faults $(ARGS)

failover: $(VENV)/ready ## have Sentinels, a Cluster and a standby fail over under load (ARGS="--runs 20"); writes docs/failover.md
	@$(BIN)/python -m tests.failover $(ARGS)

hostile: $(VENV)/ready ## attack it beside honest traffic and count what arrived (ARGS="--seed 1"); writes docs/hostile.md
	@$(BIN)/python -m tests.hostile $(ARGS)

bench: $(VENV)/ready ## measure it beside what people would use instead; writes docs/benchmarks.md
	@$(BIN)/python -m tests.load $(ARGS)

capacity: $(VENV)/ready ## measure the bytes of a callback; writes docs/capacity.md
	@$(BIN)/python -m tests.capacity

production: $(VENV)/ready ## type each command of docs/production.md on two hosts made of namespaces (needs root)
	@$(BIN)/pytest -q tests/production

release-check: $(VENV)/ready ## build the wheel and run it in an empty environment; leaves it in dist/
	@$(BIN)/python -m tests.release

docs: $(VENV)/ready ## write what is generated: docs/configuration.md and metrics.md, the dashboards, the example sources
	@$(BIN)/python -m deploy.reference

lint: $(VENV)/ready ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/ready ## put the sources in order
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

audit: $(VENV)/ready ## look for known vulnerabilities of the locked versions (needs a network)
	@$(BIN)/python deploy/locks/audit.py deploy/locks/runtime.txt deploy/locks/dev.txt

lock: $(VENV)/ready ## lock the newest versions that pyproject.toml allows (needs uv), and images by digest (needs docker)
	@uv pip compile -q --universal --upgrade --generate-hashes --no-annotate --no-header --no-emit-index-url \
		--python-version 3.11 pyproject.toml -o deploy/locks/runtime.txt
	@uv pip compile -q --universal --upgrade --generate-hashes --no-annotate --no-header --no-emit-index-url \
		--python-version 3.11 --all-extras -c deploy/locks/runtime.txt pyproject.toml -o deploy/locks/dev.txt
	@$(BIN)/python deploy/locks/pin.py deploy/docker/Dockerfile deploy/docker/compose.yaml

clean: ## forget .venv, and what `make run` and `callbox up` kept in demo and var
	@rm -rf .venv* demo var build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

$(VENV)/ready: deploy/locks/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Callbox needs Python 3.11 or newer; name one with: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		echo "Python cannot make a virtual environment here (Debian and Ubuntu: install python3-venv)" >&2; exit 1; }
	@echo "installing the locked versions into $(VENV) (a minute or two, the first time)"
	@PYTHONUNBUFFERED=1 $(BIN)/python -m pip install --require-hashes --disable-pip-version-check -r $< \
		| awk '/^Collecting / {printf "."; fflush()} END {print ""}'
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# `make` alone prints help: it is read from the ## comments below.
# Every target makes what it needs; a stamp in the environment keeps a second run from installing.

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?=
SEEDS ?= 0:100
SERVER ?=
SECONDS ?= 600

VENV := .venv
PY := $(VENV)/bin/python
CODE := $(wildcard src tests examples bench)
# -qq leaves errors. --no-compile saves the demo a second: Python compiles what is imported.
PIP := $(PY) -m pip --disable-pip-version-check install -qq --no-compile

# Two installs into one environment would run into each other under `make -j`.
.NOTPARALLEL:
.PHONY: help demo test test-long docs bench bench-cluster bench-worker simulate soak lint types pytest format hooks dist release install-daemon install-engines clean

help: ## this text
	@echo "Usage: make TARGET   (make and Python 3.11 or newer are all it needs)"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo-installed ## see it work: 2,000 pages fetched by 4 workers (SERVER=host:port: on that server)
	@$(PY) -m examples.demo $(if $(SERVER),--server $(SERVER))

test: lint types pytest ## lint, mypy --strict and the tests, under 5 minutes

test-long: $(VENV)/.test-installed $(VENV)/.test-long-installed try-install-daemon try-install-browser ## the tests that take minutes: long loops and histories
	@$(MAKE) --no-print-directory install-php || true
	$(PY) -m pytest -n 3 --dist worksteal -m long --timeout 1800

bench: $(VENV)/.bench-installed install-daemon install-compiler install-engines ## client and server side by side with others, and gateways
	$(PY) -m bench

bench-worker: $(VENV)/.bench-worker-installed install-daemon ## our worker beside RQ, Celery, Dramatiq, Huey, Taskiq on Redis
	@tools/apt_install.sh redis-server redis-server
	$(PY) -m bench.worker

bench-cluster: $(VENV)/.bench-installed install-daemon install-engines ## gateways over Redis: CPU a transition, ack=1, wake-up, memory
	@tools/apt_install.sh redis-server redis-server
	$(PY) -m bench cluster

simulate: $(VENV)/.test-installed install-daemon ## random histories against a model, then against the daemon (SEEDS=0:100)
	$(PY) -m tests.simulation --seeds $(SEEDS)
	$(PY) -m tests.differential --seeds $(SEEDS)

soak: $(VENV)/.test-installed ## a loaded server for long, killed now and then; nothing may grow (SECONDS=600)
	$(PY) -m tests.soak --seconds $(SECONDS)

lint: $(VENV)/.test-installed ## ruff: rules and format
	$(PY) -m ruff check --quiet .
	$(PY) -m ruff format --check --quiet .

types: $(VENV)/.test-installed ## mypy --strict
	$(PY) -m mypy --strict $(CODE)

pytest: $(VENV)/.test-installed try-install-daemon try-install-tmux ## the tests alone
	$(PY) -m pytest -n 4 --dist worksteal -m "not long"

format: $(VENV)/.test-installed ## put the code into the one format
	$(PY) -m ruff check --fix --quiet . || true
	$(PY) -m ruff format .

hooks: $(VENV)/.test-installed $(VENV)/.hooks-installed ## have git check before each commit what is fast to check
	$(PY) -m pre_commit install

docs: $(VENV)/.docs-installed ## the site of documentation, in site/
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet --strict && echo "site/index.html; with search: python3 -m http.server --directory site"

dist: $(VENV)/.release-installed ## wheel and source archive, built twice and compared, SBOM and hashes, in dist/
	@$(PY) tools/dist.py

release: ## the checklist of a release: what a machine can check, then what is left to you
	@python3 tools/release.py before
	@$(MAKE) --no-print-directory test test-long dist
	@$(PY) tools/release.py after

install-daemon: ## the real beanstalkd, by apt when root
	@tools/apt_install.sh beanstalkd beanstalkd

install-engines: $(VENV)/.test-installed ## Redis, by apt when root, and Valkey, for the gateway's tests
	@tools/apt_install.sh redis-server redis-server

.PHONY: install-php
install-php: # Laravel's queue and Symfony Messenger themselves, for the tests of their formats
	@[ -e /usr/share/php/Symfony/Component/PropertyAccess/autoload.php ] || \
		tools/apt_install.sh "PHP with Laravel's queue" php-cli php-xml php-illuminate-queue \
		php-pda-pheanstalk php-symfony-beanstalkd-messenger php-symfony-serializer php-symfony-property-access

# Without the daemon or Redis the tests still run; those that need it say that they were skipped, and why.
.PHONY: try-install-daemon
try-install-daemon:
	@tools/apt_install.sh beanstalkd beanstalkd || true
	@tools/apt_install.sh redis-server redis-server || true

.PHONY: try-install-tmux
try-install-tmux: # a real terminal, for the tests of beanrow top
	@tools/apt_install.sh tmux tmux || true

.PHONY: try-install-browser
try-install-browser: # for the tests of the dashboard
	@tools/apt_install.sh chromium chromium fonts-dejavu-core || true

.PHONY: install-compiler
install-compiler: # for the load generator of the benchmarks
	@tools/apt_install.sh gcc gcc libc6-dev

clean: ## remove what make made
	rm -rf $(VENV) build dist site bench/build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@tools/setup_venv.sh $(VENV) $(PYTHON)
	@touch $@

# The extra `test` holds `demo` and `bench` too.
$(VENV)/.test-installed: pyproject.toml | $(VENV)/.created
	$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/.demo-installed $(VENV)/.bench-installed

$(VENV)/.%-installed: pyproject.toml | $(VENV)/.created
	$(PIP) --editable '.[$*]'
	@touch $@

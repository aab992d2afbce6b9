# Everything starts here: `make run` for a running server, `make test` for what keeps it right.

PYTHON ?= python3
INSTANCE ?= instance
FIRST_DOMAIN ?= example.test
FIRST_ACCOUNT ?= you@$(FIRST_DOMAIN)
# The shell reads them from its environment, where a space in them is only a space.
export INSTANCE FIRST_DOMAIN FIRST_ACCOUNT

BIN := .venv/bin
NO_PACKAGES = "The packages could not be installed (the first error above says which): is the network reachable? Then say make again."
# Directories too: a module that was deleted here must go there.
SOURCES := setup.py setup.cfg pyproject.toml $(shell find mailserver -not -name __pycache__ -not -name '*.pyc') \
	$(wildcard twisted/plugins/*.py)

.PHONY: help run test lint peers bench fuzz simulate clean
.DELETE_ON_ERROR:

help:
	@echo "make run     a server on loopback ports, with everything it needs in $$INSTANCE"
	@echo "make test    style, types and tests"
	@echo "make lint    style and types only"
	@echo "make peers   other mail programs for the tests and the benchmark, from Debian packages (as root)"
	@echo "make bench   how fast and how large it is, beside plain Twisted (minutes; BENCH='idle --quick': one part, less"
	@echo "             of it; BENCH=--help: the parts); needs make peers"
	@echo "make fuzz    the parsers and both protocol cores against made-up input, a minute each (FUZZ=\"--seconds 600 server\")"
	@echo "make simulate  the queue through 10,000 random weeks of trouble, minutes (SIMULATE=\"--seed 42\": the story of one)"
	@echo "make clean   forget the virtual environment and what tools left; the instance stays"

# The password exists in the account store as a hash only: it is shown here and never again.
run: .venv/installed
	@test -e "$$INSTANCE/mailserver.toml" || { \
	password=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(12))') && \
	printf '%s\n' "$$password" | $(BIN)/mailserverctl --instance "$$INSTANCE" init \
		--domain "$$FIRST_DOMAIN" --account "$$FIRST_ACCOUNT" --password-stdin && \
	printf '\nThe first account is %s, its password is %s (shown only this once).\n' \
		"$$FIRST_ACCOUNT" "$$password"; }
	@$(BIN)/python -m mailserver.admin.welcome --instance "$$INSTANCE"
	@exec $(BIN)/twistd -n --pidfile= mailserver --config "$$INSTANCE/mailserver.toml"

# The tests run even where style or types fail, so that one run says everything; pytest has the last word.
test: .venv/installed .venv/developing
	@status=0; $(MAKE) --no-print-directory lint || status=1; \
	$(BIN)/python -m pytest -n 2 || status=1; exit $$status

lint: .venv/developing
	@status=0; $(BIN)/ruff check --quiet || status=1; $(BIN)/ruff format --check --quiet || status=1; \
	$(BIN)/mypy || status=1; exit $$status

peers:
	@tests/peers.sh

bench: .venv/installed .venv/developing
	@$(BIN)/python -m benchmarks $(BENCH)

# FUZZ="--seconds 600 server" for longer, and for one target. What is found goes into tests/fuzz/corpus.
fuzz: .venv/installed .venv/developing
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
		$(BIN)/pip install --quiet --disable-pip-version-check 'atheris>=3' || { echo $(NO_PACKAGES) >&2; exit 1; }
	@$(BIN)/python -m tests.fuzz $(FUZZ)

# SIMULATE="--start 10000 --seeds 100000" for others; a seed that fails prints its story, and --seed N plays it again.
simulate: .venv/installed
	@$(BIN)/python -m tests.simulation $(SIMULATE)

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/made:
	@test -w . || \
		{ echo "$(CURDIR) cannot be written, and .venv is made here: copy the checkout to a place of your own." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "mailserver needs Python 3.11 or later as $(PYTHON): install the Debian package python3, or say make run PYTHON=/path/to/python3." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make a virtual environment: install the Debian package python3-venv (apt-get install python3-venv)." >&2; exit 1; }
	@echo "making a virtual environment in .venv"
	@$(PYTHON) -m venv .venv
	@touch $@

# Not editable: the server runs what was installed. build/ would bring modules back that were deleted here.
.venv/installed: .venv/made $(SOURCES)
	@echo "installing mailserver into .venv"
	@rm -rf build *.egg-info
	@$(BIN)/pip install --quiet --disable-pip-version-check . || { echo $(NO_PACKAGES) >&2; exit 1; }
	@rm -rf build *.egg-info
	@touch $@

.venv/developing: setup.cfg | .venv/installed
	@echo "installing the tools of development into .venv"
	@rm -rf build *.egg-info
	@$(BIN)/pip install --quiet --disable-pip-version-check '.[dev]' || { echo $(NO_PACKAGES) >&2; exit 1; }
	@rm -rf build *.egg-info
	@touch $@

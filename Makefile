# The README's two set-up commands, and what contributors run.
.PHONY: demo test lint bench

demo:
	python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/cvtool stylize assets/photos/cat.jpg assets/styles/marbling.jpg -o painted.png

test:
	.venv/bin/pip install '.[test]' && .venv/bin/python -m pytest

lint:
	.venv/bin/pip install '.[dev]' && .venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy

bench:
	.venv/bin/pip install '.[bench]' && .venv/bin/python benchmarks/stylize.py

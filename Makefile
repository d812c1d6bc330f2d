# Each target makes its own .venv with nothing but python3 (3.11 or newer) and pip on the machine.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test lint bench clean

quickstart: .venv/installed
	rm -rf quickstart
	$(BIN)/tfllm quickstart --out quickstart

test: .venv/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: .venv/installed-dev
	$(BIN)/python benchmarks/pretraining_is_worth_it.py --data $(or $(DATA),../shared/data)
	$(BIN)/python benchmarks/write_results.py

clean:
	rm -rf .venv quickstart runs build *.egg-info

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/installed-dev: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch .venv/installed $@

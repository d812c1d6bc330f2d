# Each target makes its own .venv with nothing but python3 (3.11 or newer) and pip on the machine.

PYTHON ?= python3
BIN := .venv/bin
# Some systems ship python3 without the part of venv that brings pip.
VENV := $(PYTHON) -m venv .venv || ($(PYTHON) -m pip install --user virtualenv && $(PYTHON) -m virtualenv .venv)

.PHONY: quickstart test torture lint bench clean

quickstart: .venv/installed
	$(BIN)/tfllm quickstart --out quickstart

test: .venv/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

torture: .venv/installed-dev
	TFLLM_TORTURE=1 $(BIN)/python -m pytest tests/training/test_kills.py tests/training/test_loop.py tests/data/test_records_dataset.py

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: .venv/installed-dev
	$(BIN)/python benchmarks/pretraining_is_worth_it.py --language en --data $(or $(DATA),../shared/data)
	$(BIN)/python benchmarks/pretraining_is_worth_it.py --language zh --data $(or $(DATA),../shared/data)
	$(BIN)/python benchmarks/write_results.py

clean:
	rm -rf .venv build *.egg-info

.venv/installed: pyproject.toml
	$(VENV)
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/installed-dev: pyproject.toml
	$(VENV)
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch .venv/installed $@

# Each target makes its own .venv with nothing but python3 (3.11 or newer) and pip on the machine.

PYTHON ?= python3
BIN := .venv/bin
# Some systems ship python3 without the part of venv that brings pip.
VENV := $(PYTHON) -m venv .venv || ($(PYTHON) -m pip install --user virtualenv && $(PYTHON) -m virtualenv .venv)

# What `make bench` reads and compares with.
DATA ?= ../shared/data
VOCABULARY ?= ../shared/models/bert-base-uncased/vocab.txt
READS := --data $(DATA) --vocabulary $(VOCABULARY)
PEERS := benchmarks/.venv-peers

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

# On a quiet machine. `make bench QUICK=--quick` tries everything in minutes and keeps no result.
bench: .venv/installed-dev $(PEERS)/installed
	$(BIN)/python benchmarks/finetuning.py $(READS) $(QUICK)
	$(BIN)/python benchmarks/finetuning.py $(READS) $(QUICK) --threads 1
	$(BIN)/python benchmarks/pretraining_speed.py $(READS) $(QUICK)
	$(BIN)/python benchmarks/pretraining_speed.py $(READS) $(QUICK) --threads 1
	$(BIN)/python benchmarks/step.py tfllm:bfloat16 keras_hub:float32 $(PEERS)/bin/python=torch:bfloat16 $(if $(QUICK),--rounds 2,--save)
	$(BIN)/python benchmarks/tokenizing.py $(READS) $(QUICK)
	$(BIN)/python benchmarks/memory.py $(READS) $(QUICK)
	$(BIN)/python benchmarks/scaling.py $(READS) $(QUICK)
	$(BIN)/python benchmarks/same_curve.py $(READS) $(QUICK)
ifndef QUICK
	$(BIN)/python benchmarks/pretraining_is_worth_it.py --language en --data $(DATA)
	$(BIN)/python benchmarks/pretraining_is_worth_it.py --language zh --data $(DATA)
endif
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

$(PEERS)/installed: benchmarks/requirements-peers.txt
	$(PYTHON) -m venv $(PEERS) || $(PYTHON) -m virtualenv $(PEERS)
	$(PEERS)/bin/pip install --quiet --requirement $<
	touch $@

# Each target makes its own .venv with nothing but python3 (3.11 or newer) and pip on the machine.

PYTHON ?= python3
BIN := .venv/bin
# Some systems ship python3 without the part of venv that brings pip.
VENV := $(PYTHON) -m venv .venv || ($(PYTHON) -m pip install --user virtualenv && $(PYTHON) -m virtualenv .venv)

# What `make bench` reads and compares with.
DATA ?= ../shared/data
MODELS ?= ../shared/models
VOCABULARY ?= ../shared/models/bert-base-uncased/vocab.txt
READS := --data $(DATA) --vocabulary $(VOCABULARY)
PEERS := benchmarks/.venv-peers

.PHONY: quickstart test test-slow torture lint bench serving-proof parity clean

quickstart: .venv/installed
	$(BIN)/tfllm quickstart --out quickstart

test: .venv/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Further cases of what `make test` shows, and more whole trainings and exports: before a release.
test-slow: .venv/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow

torture: .venv/installed-dev
	TFLLM_TORTURE=1 XLA_FLAGS= $(BIN)/python -m pytest -m "" tests/training/test_kills.py tests/training/test_loop.py tests/data/test_records_dataset.py tests/serving/test_load.py

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
	$(BIN)/python benchmarks/serving_latency.py $(READS) $(QUICK)
	$(BIN)/python benchmarks/serving_http.py $(READS) $(QUICK)
	$(BIN)/python benchmarks/memory.py $(READS) $(QUICK)
	$(BIN)/python benchmarks/scaling.py $(READS) $(QUICK)
	$(BIN)/python benchmarks/same_curve.py $(READS) $(QUICK)
ifndef QUICK
	$(BIN)/python benchmarks/pretraining_is_worth_it.py --language en --data $(DATA)
	$(BIN)/python benchmarks/pretraining_is_worth_it.py --language zh --data $(DATA)
endif
	$(BIN)/python benchmarks/write_results.py

# Do exported models run under the TensorFlow that TF Serving 2.20 embeds? A few minutes; needs the network once.
serving-proof: .venv/installed-dev benchmarks/.venv-tensorflow-2.20/installed
	$(BIN)/python benchmarks/serving_proof.py benchmarks/.venv-tensorflow-2.20/bin/python
	$(BIN)/python benchmarks/write_results.py

# The tokenizers of published checkpoints beside the libraries they were published for, 50,000 texts each.
parity: .venv/installed-dev
	$(BIN)/python benchmarks/tokenizer_parity.py --data $(DATA) --models $(MODELS)
	$(BIN)/python benchmarks/write_results.py

clean:
	rm -rf .venv build *.egg-info

# Without --no-compile pip compiles all that TensorFlow ships, of which little is ever imported.
.venv/installed: pyproject.toml
	@echo "Installing tfllm and TensorFlow into .venv, which takes a few minutes."
	$(VENV)
	$(BIN)/pip install --quiet --no-compile --editable ".[serving]"
	touch $@

.venv/installed-dev: pyproject.toml
	$(VENV)
	$(BIN)/pip install --quiet --no-compile --editable ".[dev]"
	touch .venv/installed $@

$(PEERS)/installed: benchmarks/requirements-peers.txt
	$(PYTHON) -m venv $(PEERS) || $(PYTHON) -m virtualenv $(PEERS)
	$(PEERS)/bin/pip install --quiet --requirement $<
	touch $@

benchmarks/.venv-tensorflow-2.20/installed:
	$(PYTHON) -m venv $(@D) || $(PYTHON) -m virtualenv $(@D)
	$(@D)/bin/pip install --quiet "tensorflow==2.20.*" "tensorflow-text==2.20.*"
	touch $@

# Every command sets up what it needs, in .venv. `make demo` and `make test` are all that a newcomer has to know.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test check fuzz bench adding-problem clean

help:
	@echo "make demo            train on real handwritten digits, show what happens, save, load, predict"
	@echo "make test            the whole test suite"
	@echo "make check           format, lint and types"
	@echo "make fuzz            random cells against the definition, then natively, each for SECONDS=60, from SEED=1"
	@echo "make bench           ostinato against PyTorch, ONNX Runtime, OpenVINO and JAX; BENCH=\"--grid forward --quick\""
	@echo "make adding-problem  the IRNN of Le, Jaitly and Hinton learns to add over 100 steps"
	@echo "make clean           remove .venv and caches"

.venv/created:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Ostinato needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	touch $@

.venv/learn: .venv/created pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[all]"
	touch $@

.venv/test: .venv/created pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	touch $@

.venv/bench: .venv/created pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[bench]"
	touch $@

.venv/check: .venv/created pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test,check]"
	touch $@

demo: .venv/learn
	$(BIN)/ostinato demo

test: .venv/test
	$(BIN)/python -m pytest -n auto

check: .venv/check
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

SECONDS ?= 60
SEED ?= 1
fuzz: .venv/test
	$(BIN)/python -m tests.random_cells --seconds $(SECONDS) --seed $(SEED)
	$(BIN)/python -m tests.random_cells --seconds $(SECONDS) --seed $(SEED) --backend native

BENCH ?=
bench: .venv/bench
	$(BIN)/python -m benchmarks $(BENCH)

adding-problem: .venv/learn
	$(BIN)/python examples/adding_problem.py

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist src/*.egg-info

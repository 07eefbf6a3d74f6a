# Every command sets up what it needs, in .venv. `make demo` and `make test` are all that a newcomer has to know.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test test-sweeps test-torch test-sklearn test-versions test-pythons package check fuzz bench adding-problem clean

help:
	@echo "make demo            train on real handwritten digits, show what happens, save, load, predict"
	@echo "make test            the test suite, but for what has a command of its own:"
	@echo "make test-sweeps     more of what the suite shows for fewer cases: every cell natively, in float64, ..."
	@echo "make test-torch      the door to PyTorch: drop-ins for torch.nn, any cell as a module"
	@echo "make test-sklearn    scikit-learn's own checks of estimators"
	@echo "make test-versions   native code and estimators with the oldest packages that are allowed, and with some in the middle"
	@echo "make test-pythons    the fast part of the suite with Python 3.11, 3.12 and 3.13, as far as they are on this machine"
	@echo "make package         build wheel and sdist, install each in an empty environment, and try it"
	@echo "make check           format, lint and types"
	@echo "make fuzz            random cells against the definition, then natively, then random use, each for SECONDS=60, from SEED=1"
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

# the oldest versions that pyproject.toml names, and some in the middle; each in an environment of its own
OLDEST := llvmlite==0.44.0 numpy==2.0.0 safetensors==0.5.0 scikit-learn==1.6.0 rich==13.9.1
MIDDLE := llvmlite==0.47.0 numpy==2.2.0 safetensors==0.6.1 scikit-learn==1.7.0 rich==14.0.0
NATIVE := tests/test_jit.py tests/test_native.py tests/test_native_calls.py tests/test_native_compile.py \
	tests/test_native_rerun.py tests/test_native_cache.py tests/test_vector_math.py tests/test_saving.py tests/test_estimators.py

test-torch: .venv/test
	$(BIN)/python -m pytest -n auto tests/doors/torch

test-sweeps: .venv/test
	$(BIN)/python -m pytest -n auto -m sweep

test-sklearn: .venv/test
	$(BIN)/python -m pytest -n auto tests/doors/sklearn

test-versions: .venv-oldest/test .venv-middle/test
	.venv-oldest/bin/python -m pytest -n auto $(NATIVE)
	.venv-middle/bin/python -m pytest -n auto $(NATIVE)

.venv-oldest/test .venv-middle/test: pyproject.toml Makefile
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --editable . $(if $(findstring oldest,$@),$(OLDEST),$(MIDDLE)) \
		"hypothesis>=6.120,<7" "pytest>=8.3,<10" "pytest-xdist>=3.6,<4"
	touch $@

test-pythons:
	$(PYTHON) tests/pythons.py

package:
	$(PYTHON) tests/package.py

check: .venv/check
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

SECONDS ?= 60
SEED ?= 1
fuzz: .venv/test
	$(BIN)/python -m tests.random_cells --seconds $(SECONDS) --seed $(SEED)
	$(BIN)/python -m tests.random_cells --seconds $(SECONDS) --seed $(SEED) --backend native
	$(BIN)/python -m tests.random_use --seconds $(SECONDS) --seed $(SEED)

BENCH ?=
bench: .venv/bench
	$(BIN)/python -m benchmarks $(BENCH)

adding-problem: .venv/learn
	$(BIN)/python examples/adding_problem.py

clean:
	rm -rf .venv .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist src/*.egg-info

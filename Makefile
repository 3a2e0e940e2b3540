# make demo: the tour.  make test: the suite.  make bench: the speed comparisons.  make check: what CI checks besides.
# make test-oldest, test-newest, test-python: the core of the suite with other versions.  make lock: requirements.lock.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV := .venv-uv/bin/uv

.PHONY: demo test bench check install test-oldest test-newest test-python lock

demo: install
	@$(BIN)/python -m calotype.demo

test: install
	$(BIN)/python -m pytest

bench: install
	@for file in tests/benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(STAMP)

# torch and torchvision come with the rest; on a machine without a GPU their CPU builds are far smaller:
# make a .venv with those first, and this installs only what is missing.
$(STAMP): pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[dev]'
	@touch $(STAMP)

# What depends on other packages: the parts, a run of every task that is cut off and goes on, the commands.
CORE := tests/losses tests/metrics tests/models tests/datasets tests/data tests/callbacks tests/report \
  tests/tasks/test_every_task.py tests/test_cli.py tests/test_environment.py tests/test_gallery.py tests/test_lock.py tests/test_trust.py

# The core of the suite in an environment of its own, which is made from nothing each time:
#   make test-oldest                       the lowest versions that pyproject.toml allows
#   make test-newest                       the newest ones
#   make test-python PYTHON=python3.13     those of requirements.lock, with another Python
# UV_TORCH_BACKEND=cpu takes torch's CPU builds, which are far smaller.
ENVIRONMENT = .venv-$(notdir $(PYTHON))
test-oldest: ENVIRONMENT := .venv-oldest
test-newest: ENVIRONMENT := .venv-newest
test-oldest: VERSIONS := --resolution lowest-direct
test-newest: VERSIONS := --resolution highest
test-python: VERSIONS := --constraint requirements.lock
# Old releases use what their own newer dependencies have deprecated since.
test-oldest: WARNINGS := -W ignore::DeprecationWarning

test-oldest test-newest test-python: $(UV)
	$(UV) venv --quiet --clear --seed --python $(PYTHON) $(ENVIRONMENT)
	$(UV) pip install --quiet --python $(ENVIRONMENT) $(VERSIONS) --editable '.[dev]'
	$(ENVIRONMENT)/bin/python -m pytest $(CORE) $(WARNINGS)

# Versions in the lock stay where they still fit; UPGRADE=--upgrade takes the newest that are a week old.
lock: $(UV)
	$(UV) pip compile --quiet --universal --python-version 3.11 --extra dev --exclude-newer '7 days' $(UPGRADE) \
	  --no-header --no-annotate --output-file requirements.lock pyproject.toml
	{ echo "$$LOCK_HEADER"; grep -Ev '^(#|nvidia-|cuda-|triton==)' requirements.lock; } > requirements.lock.new
	mv requirements.lock.new requirements.lock

define LOCK_HEADER
# The versions that the suite passes with, for every Python and platform: constraints for pip, as in
#   pip install --constraint requirements.lock --editable '.[dev]'
# Made by `make lock` from pyproject.toml (with its extra dev), of releases that were at least 7 days old.
# Without the packages of CUDA and triton: torch's build (CPU or CUDA) is the choice of who installs it,
# and each build asks for the exact ones that it needs.
endef
export LOCK_HEADER

$(UV):
	$(PYTHON) -m venv .venv-uv
	.venv-uv/bin/python -m pip install --quiet 'uv>=0.9.17'

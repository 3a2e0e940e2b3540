# make demo: the tour.  make test: the suite.  make bench: the speed comparisons.  make check: what CI checks besides.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test bench check install

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
$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(STAMP)

# Saiki: every command a developer or a first-time user needs. Each does its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_FLAGS ?=
PYTEST_FLAGS ?=
JOBS ?= 2
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet $(PIP_FLAGS) -c constraints.txt
SOURCES := pyproject.toml constraints.txt CMakeLists.txt $(wildcard csrc/*.* csrc/*/*.*)

# The sanitized build. Preloaded, because Python itself is not built with the sanitizers; libstdc++ too, because the
# address sanitizer looks for what throws exceptions when the process starts. Leaks are not looked for: Python's own are
# many, and the search traces the process, which sandboxes forbid. Python starts with -S, for the site module would put
# the editable install before PYTHONPATH.
CXX ?= c++
SANITIZED := build/sanitize
SANITIZER := ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
PRELOAD = LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)"

.PHONY: help setup demo test test-long sanitize check format docs clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Saiki needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

# The library alone, which is all the demo needs.
$(VENV)/.library: $(BIN)/python $(SOURCES)
	PIP_CONSTRAINT=constraints.txt $(INSTALL) -e .
	touch $@

# And what testing, checking and the handbook need besides.
$(VENV)/.everything: $(BIN)/python $(SOURCES)
	PIP_CONSTRAINT=constraints.txt $(INSTALL) -e '.[dev]'
	touch $@ $(VENV)/.library

setup: $(VENV)/.everything  ## make .venv with everything

demo: $(VENV)/.library  ## train a forecaster on the weekly CO2 record and draw its report
	$(BIN)/saiki demo -o demo --force

test: $(VENV)/.everything  ## the test suite, under 10 minutes on 2 cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal --durations=10 -m 'not long' $(PYTEST_FLAGS)

test-long: $(VENV)/.everything  ## the same with full option grids, 20 kills, 10,000 malformed calls
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal --durations=10 $(PYTEST_FLAGS)

sanitize: $(VENV)/.everything  ## the kernels' own tests, and malformed calls, under the sanitizers
	rm -rf $(SANITIZED)
	PIP_CONSTRAINT=constraints.txt $(INSTALL) --no-deps --target $(SANITIZED)/site -C build-dir=$(SANITIZED)/cmake \
		-C cmake.build-type=None -C install.strip=false -C cmake.define.SAIKI_SANITIZE=ON .
	@ls $(SANITIZED)/site/saiki/_native.* || (echo "The sanitized build failed; pip -v tells why: make sanitize PIP_FLAGS=-v"; false)
	@set -e; cd $(SANITIZED)/cmake/programs; export $(SANITIZER); \
		for program in $$(ls | grep -v '\.') $$(for set in $$(./targets); do ls *.$$set; done); do \
			echo "== $$program"; ./$$program; done
	$(SANITIZER) $(PRELOAD) OMP_NUM_THREADS=1 PYTHONPATH=$(SANITIZED)/site:$$($(BIN)/python -c 'import site; print(*site.getsitepackages())') \
		$(BIN)/python -S -m pytest tests/engine/test_malformed.py $(PYTEST_FLAGS)

check: $(VENV)/.everything  ## formatter, linter, type checker, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.everything  ## let the formatter and the linter mend what they can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.everything  ## the handbook, in docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean:  ## remove what the other targets made, but not models
	rm -rf $(VENV) build docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

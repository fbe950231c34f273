# make demo [INPUT=DIR]   from nothing to annotated radiographs in demo-output/
# make test [JOBS=N]      the whole test suite
# make check              formatting, lint, types, generated code
# make bench              the benchmarks of benchmarks/README.md
# make parity             every network against its reference at full size (slow)
# make networks           the README's table of networks, measured anew (hours)
# make gpu-test           the tests that need a CUDA device
# make gpu-bench          the networks on this GPU, beside PyTorch
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEPS := $(VENV)/.dependencies
BUILT := $(VENV)/.built
NATIVE := $(wildcard runtime/native/*/*)
EXPORT := $(shell find export -name '*.py')
WEIGHTS := $(wildcard examples/reference/*)
JOBS := $(shell nproc)
DEMO_BUNDLE := demo-bundle
BENCH_BUNDLE := bench-bundle
PIP := $(BIN)/python -m pip --disable-pip-version-check

# On a terminal pip shows its progress bars; in a log only what it installs.
BRIEFLY := $(if $(shell test -t 1 && echo tty),,--quiet)

.PHONY: demo test check bench parity networks gpu-test gpu-bench install clean

demo: $(BUILT) $(DEMO_BUNDLE)/bundle.json
	$(BIN)/python examples/demo.py --bundle $(DEMO_BUNDLE) $(if $(INPUT),--input "$(INPUT)")

test: $(BUILT)
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal $(TESTS)

check: $(BUILT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	git ls-files '*.cpp' '*.hpp' | xargs $(BIN)/clang-format --dry-run -Werror
	PYTHON=$(BIN)/python scripts/proto --check

bench: $(BUILT) $(BENCH_BUNDLE)/bundle.json
	$(BIN)/python benchmarks/run.py --bundle $(BENCH_BUNDLE)

parity: $(BUILT)
	$(BIN)/python -m pytest -m parity --timeout 3600 $(TESTS)

networks: $(BUILT)
	$(BIN)/python benchmarks/networks.py --output benchmarks/results/networks.json
	$(BIN)/python benchmarks/networks_table.py

gpu-test: $(BUILT)
	$(BIN)/python -m pytest -m gpu tests/gpu

gpu-bench: $(BUILT) $(BENCH_BUNDLE)/bundle.json
	$(BIN)/python benchmarks/gpu_bench.py --bundle $(BENCH_BUNDLE) --recipe examples/recipes/untrained.toml

install: $(BUILT)

$(DEMO_BUNDLE)/bundle.json: examples/recipes/reference.toml $(WEIGHTS)
$(BENCH_BUNDLE)/bundle.json: examples/recipes/untrained.toml
%-bundle/bundle.json: $(EXPORT) proto/bundle.proto | $(BUILT)
	$(BIN)/spinert export $(filter %.toml,$^) --replace --output $(@D)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "SpineRT needs Python 3.11 or newer: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "needs the packages python3-venv and python3-dev"; exit 1; }

# Three steps, so that the hashes of the runtime lock are enforced.
$(DEPS): locks/runtime.txt locks/export.txt locks/dev.txt | $(BIN)/python
	$(PIP) install --require-hashes --requirement locks/runtime.txt $(BRIEFLY)
	$(PIP) install --requirement locks/export.txt $(BRIEFLY)
	$(PIP) install --requirement locks/dev.txt $(BRIEFLY)
	touch $@

$(BUILT): $(DEPS) pyproject.toml CMakeLists.txt $(NATIVE)
	@echo "building the native core and installing spinert"
	$(PIP) install --no-build-isolation --no-deps --editable . $(BRIEFLY)
	touch $@

clean:
	rm -rf $(VENV) .venv-proto build dist $(DEMO_BUNDLE) $(BENCH_BUNDLE) demo-output

# make demo [INPUT=DIR]   from nothing to annotated radiographs in demo-output/
# make test [JOBS=N]      the whole test suite
# make check              formatting, lint, types, generated code
# make sanitize           the native core under ASan, UBSan and TSan
# make bench              the benchmarks of benchmarks/README.md
# make parity             every network against its reference at full size (slow)
# make networks           the README's table of networks, measured anew (hours)
# make gpu-test           the tests that need an NVIDIA GPU, its driver and nvcc
# make gpu-bench          networks and whole frames on that GPU, beside PyTorch
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
BENCH_RECIPE := examples/recipes/untrained.toml
PIP = $(BIN)/python -m pip --disable-pip-version-check

# On a terminal pip shows its progress bars; in a log only what it installs.
BRIEFLY := $(if $(shell test -t 1 && echo tty),,--quiet)

# ONNX Runtime for the CPU and for CUDA are one module, hence two environments.
GPU_VENV := .venv-gpu
GPU_BUILT := $(GPU_VENV)/.built
gpu-test gpu-bench $(GPU_BUILT): BIN := $(GPU_VENV)/bin
gpu-test gpu-bench $(GPU_BUILT): export PATH := $(or $(CUDA_HOME),/usr/local/cuda)/bin:$(PATH)

.PHONY: demo test check sanitize bench parity networks gpu-test gpu-bench gpu install clean

demo: $(BUILT) $(DEMO_BUNDLE)/bundle.json
	$(BIN)/python examples/demo.py --bundle $(DEMO_BUNDLE) $(if $(INPUT),--input "$(INPUT)")

test: $(BUILT)
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal $(TESTS)

check: $(BUILT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	git ls-files '*.cpp' '*.hpp' '*.cu' | xargs $(BIN)/clang-format --dry-run -Werror
	PYTHON=$(BIN)/python scripts/proto --check

sanitize:
	scripts/sanitize

bench: $(BUILT) $(DEMO_BUNDLE)/bundle.json
	$(BIN)/python benchmarks/run.py --bundle $(DEMO_BUNDLE)

parity: $(BUILT)
	SPINERT_PARITY_RESULTS=benchmarks/results/full-size-parity.json \
	  $(BIN)/python -m pytest -m parity --timeout 3600 -o faulthandler_timeout=3590 $(TESTS)
	$(BIN)/python benchmarks/networks_table.py

networks: $(BUILT)
	$(BIN)/python benchmarks/networks.py --output benchmarks/results/networks.json
	$(BIN)/python benchmarks/networks_table.py

gpu-test: $(GPU_BUILT)
	SPINERT_REQUIRE_GPU=1 $(BIN)/python -m pytest -m gpu tests/gpu

gpu-bench: $(GPU_BUILT)
	$(BIN)/spinert export $(BENCH_RECIPE) --replace --output $(BENCH_BUNDLE)
	$(BIN)/python benchmarks/gpu_bench.py --bundle $(BENCH_BUNDLE) --recipe $(BENCH_RECIPE)

gpu:
	@$(PYTHON) -c 'import ctypes, sys; sys.exit(ctypes.CDLL("libcuda.so.1").cuInit(0))' 2>/dev/null || \
	  { echo "no NVIDIA GPU with a driver on this machine (nvidia-smi shows them): nothing was run"; exit 1; }
	@command -v nvcc >/dev/null || \
	  { echo "no nvcc: PyCUDA and the kernels need the CUDA toolkit (CUDA_HOME, or on the PATH)"; exit 1; }

install: $(BUILT)

$(DEMO_BUNDLE)/bundle.json: examples/recipes/reference.toml $(WEIGHTS) $(EXPORT) proto/bundle.proto | $(BUILT)
	$(BIN)/spinert export $< --replace --output $(@D)

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "SpineRT needs Python 3.11 or newer: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv $* || \
	  { rm -rf $*; echo "needs the packages python3-venv and python3-dev"; exit 1; }

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

# PyCUDA is compiled here, and told by a file in its builder's home to leave out cuRAND,
# which nothing needs and small toolkits lack. TensorRT's libraries come from NVIDIA's
# own index, which not every machine reaches.
$(GPU_BUILT): locks/gpu.txt locks/tensorrt.txt pyproject.toml CMakeLists.txt $(NATIVE) | gpu $(GPU_VENV)/bin/python
	echo 'CUDA_ENABLE_CURAND = False' >$(GPU_VENV)/.aksetup-defaults.py
	HOME=$(CURDIR)/$(GPU_VENV) $(PIP) install --no-deps $$(grep -o '^pycuda==[^ ]*' locks/gpu.txt) $(BRIEFLY)
	$(PIP) install --requirement locks/gpu.txt $(BRIEFLY)
	grep -o '^tensorrt[^ ]*' locks/tensorrt.txt | xargs $(PIP) install --no-deps $(BRIEFLY) || \
	  echo "TensorRT cannot be installed here: TensorRT-RTX and ONNX Runtime's CUDA provider run without it (make clean, and again, to try once more)"
	$(PIP) install --no-build-isolation --no-deps --config-settings build-dir=build/gpu --editable . $(BRIEFLY)
	touch $@

clean:
	rm -rf $(VENV) $(GPU_VENV) .venv-proto build dist $(DEMO_BUNDLE) $(BENCH_BUNDLE) demo-output

# Everything below sets itself up: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Formulas against their references, configuration and parsing: what takes no training.
FAST := $(addprefix tests/test_,config.py arguments.py losses.py schedules.py sampling.py road_network.py \
	dataset.py grid_mapper.py student.py student_incremental.py teacher.py evaluation_metrics.py)

.PHONY: venv demo demo-city test fast lint bench bench-gpu clean
venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt "torch>=2.8,<2.14"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $(STAMP)

demo: venv
	$(BIN)/python -m tools.demo

demo-city: venv
	$(BIN)/python -m tools.own_city --demo --out demo_city_results

test: venv
	$(BIN)/python -m pytest

fast: lint
	$(BIN)/python -m pytest -x -m "not slow" --durations=0 --durations-min=5 $(FAST)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: venv
	$(BIN)/python -m bench

# What only a GPU can tell: its figures, in docs/benchmarks/<gpu>.json, and the tests of tests/cuda.
bench-gpu: venv
	$(BIN)/python -m bench.gpu
	$(BIN)/python -m pytest -n 0 -m "not slow" tests/cuda

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache

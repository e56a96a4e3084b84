# The two commands of the README are `make demo` and `make test`; each does all that it needs, and a second call installs
# nothing. Another Python has an environment of its own: `make test PYTHON=python3.13`. `make test PINS=no` takes the newest
# libraries instead of those that are pinned (torch excepted: without its pin, a machine without a GPU is given CUDA).
PYTHON ?= python3
PINS ?= yes
KILLS ?= 1000
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))$(if $(filter no,$(PINS)),-newest)
BIN := $(VENV)/bin
TORCH := $(shell grep '^torch==' constraints.txt)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(filter no,$(PINS)),$(TORCH),--constraint constraints.txt)

.PHONY: demo test test-slow soak mutants check format bench clean

demo: $(VENV)/train.done
	$(BIN)/notus demo

# A process for each core, each with one thread: two threads on the tests' tiny models would wait for each other.
test: $(VENV)/test.done
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test-slow: $(VENV)/test.done
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n auto --dist loadfile

# Kills are counted in soak.jsonl: Ctrl-C stops, and the next call goes on until there are so many of this source.
soak: $(VENV)/test.done
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.helpers.soak --kills $(KILLS)
	$(BIN)/python -m pytest -m soak

# Small changes of the source, each against the tests of its room; what it found is in build/mutants.jsonl, and it goes on.
mutants: $(VENV)/test.done
	nice -n 15 $(BIN)/python -m tests.mutants

check: $(VENV)/test.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/test.done
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/bench.done
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.table

clean:
	rm -rf .venv .venv-* build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/%.done: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[$*]'
	touch $@

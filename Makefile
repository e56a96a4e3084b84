# The two commands of the README are `make demo` and `make test`; each does all that it needs, and a second call installs nothing.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-slow soak check format bench clean

demo: .venv/train.done
	$(BIN)/notus demo

# A process for each core, each with one thread: two threads on the tests' tiny models would wait for each other.
test: .venv/test.done
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test-slow: .venv/test.done
	$(BIN)/python -m pytest -m slow

soak: .venv/test.done
	$(BIN)/python -m pytest -m soak

check: .venv/test.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/test.done
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/bench.done
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.table

clean:
	rm -rf .venv build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/%.done: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable '.[$*]'
	touch $@

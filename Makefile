# Two commands matter: `make demo` (the main job on bundled data and model) and `make test`. Both set up everything.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# A process per processor, at most four. Each begins with a row of files whole, for tests of a file share what is
# costly to make; who is done first takes from the others' ends.
PARALLEL ?= -n auto --maxprocesses 4 --dist worksteal

.PHONY: demo real test test-long test-oldest test-fast lint types check docs notebooks bench fuzz wheel clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

demo: $(READY)            ## facts -> instance -> methods -> table, plot and where everything lies
	$(BIN)/ravel demo --out demo-run

real: $(READY)            ## the same on a real language model, SmolLM2-135M; fetches 93 MB once
	$(BIN)/ravel model fetch smollm2-135m
	$(BIN)/ravel run --preset smollm2-135m-bundled --out real-run

test: $(READY) lint types ## everything but the few long tests, the slow ones included
	$(BIN)/python -m pytest $(PARALLEL)

test-long: $(READY)       ## an hour: what methods reach on the bundled model, planted truth, every combination, whole benchmarks
	$(BIN)/python -m pytest -m long $(PARALLEL)

test-oldest: $(READY)     ## the laws of engines and models with the oldest transformers that is allowed, beside $(VENV)
	$(PYTHON) -m venv --clear .venv-oldest
	$(BIN)/python -c "import site; print(site.getsitepackages()[0])" > .venv-oldest/beside.txt
	cp .venv-oldest/beside.txt "$$(.venv-oldest/bin/python -c 'import site; print(site.getsitepackages()[0])')/beside.pth"
	.venv-oldest/bin/python -m pip install --quiet --no-deps "transformers==$$(sed -n 's/.*"transformers>=\(.*\)",/\1/p' pyproject.toml)"
	.venv-oldest/bin/python -m pytest tests/contracts/test_engines_contract.py tests/das/models tests/das/engine/selftest

test-fast: $(READY)       ## without the slow tests
	$(BIN)/python -m pytest -m "not slow and not long" $(PARALLEL)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

check: lint types test-fast

docs: $(READY)            ## the documentation as a site, in site/; a broken link or reference fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

notebooks: $(READY)       ## the tutorials run again, as notebooks in docs/tutorials/
	$(BIN)/python scripts/make_notebooks.py

bench: $(READY)           ## speed, both sides in one run
	$(BIN)/python benchmarks/engine.py --quick
	$(BIN)/python benchmarks/scaling.py --quick
	$(BIN)/python benchmarks/build.py --quick
	$(BIN)/python benchmarks/executions.py --quick --runs 1
	$(BIN)/python benchmarks/durability.py --quick --runs 1

fuzz: $(READY)            ## every reader of outside files on thousands of damaged ones
	RAVEL_FUZZ_INPUTS=10000 $(BIN)/python -m pytest tests/fuzz -m long

wheel: $(READY)
	$(BIN)/python -m build --wheel --no-isolation

clean:
	rm -rf $(VENV) .venv-oldest demo-run real-run dist build .mypy_cache .ruff_cache .pytest_cache

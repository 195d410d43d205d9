# Everything from nothing: each target makes .venv and installs into it what it needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
WORKERS ?= 2
# Threads of torch per test worker: more than cores in all, and they wait for each other (5 times as slow here).
THREADS ?= 1

.PHONY: demo quick test test-gpu faults bench lint docs wheel clean
.DELETE_ON_ERROR:

$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev,docs]'
	touch $@

demo: $(VENV)/installed          ## the main job, on digits, without network
	$(BIN)/zoo demo

quick: $(VENV)/installed         ## what one runs per edit: a minute, on the tiny set alone
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest --quick -q -n $(WORKERS) --dist loadscope $(TESTS)

test: $(VENV)/installed          ## every test; make test WORKERS=1 runs them one after the other
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope $(TESTS)

faults: $(VENV)/installed        ## a line per fault that the project survives; make test runs the same tests
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope -q -m fault --faults

test-gpu: $(VENV)/installed      ## the tests of GPUs; each that needs more than there is here says so
	$(BIN)/python -m pytest -q -rs -m gpu $$(grep -rlE 'mark\.gpu\b' tests --include='test_*.py')

bench: $(VENV)/installed         ## benchmarks of speed beside their peers; make bench BENCH="--small words"
	$(BIN)/python benchmarks/peers.py
	$(BIN)/python benchmarks/run.py $(BENCH)

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/installed          ## the documentation in docs/_build/html, offline; a warning is an error
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet docs docs/_build/html

wheel: $(VENV)/installed         ## wheel and sdist in dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .

clean:
	rm -rf $(VENV) .venv-wheel .venv-peers bench dist docs/_build .pytest_cache .mypy_cache .ruff_cache

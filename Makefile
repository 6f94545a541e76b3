# Two commands on a fresh machine: `make demo` and `make test`. Each makes its own virtual environment in .venv first.
PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
PYTEST_ARGS ?=
# A folder for what tests write; without one it is pytest's own.
PYTEST_TMP ?=
DEMO_ARGS ?=
# Which benchmarks; RECORD=folder keeps their numbers.
BENCH ?= sandbox code generate agents clinical tabular
BIN := $(VENV)/bin
PYTEST = $(BIN)/python -m pytest $(if $(PYTEST_TMP),--basetemp=$(PYTEST_TMP)/$@)
# A Python without ensurepip (Debian's) makes a bare environment; its own pip then installs into that.
PIP = $(if $(wildcard $(BIN)/pip),$(BIN)/python -m pip,$(PYTHON) -m pip --python $(BIN)/python)

.PHONY: demo tour test test-models test-box test-long bench lint pages image clean

demo: $(VENV)/.agents
	OMP_NUM_THREADS=1 $(BIN)/python examples/selfplay_demo.py $(DEMO_ARGS)

tour: $(VENV)/.core
	$(BIN)/python examples/sandbox_tour.py

# Two halves side by side: the learner and the clinic use one core, the box the other.
test: $(VENV)/.dev
	$(MAKE) --no-print-directory --jobs=2 --output-sync=line test-models test-box

test-models:
	$(PYTEST) -m "not long" $(PYTEST_ARGS) tests/agents tests/clinical

test-box:
	$(PYTEST) -m "not long" $(PYTEST_ARGS) --ignore=tests/agents --ignore=tests/clinical

test-long: $(VENV)/.dev
	HYPOTHESIS_PROFILE=long $(PYTEST) -m long $(PYTEST_ARGS)

bench: $(VENV)/.dev
	for name in $(BENCH); do \
	    $(BIN)/python tests/bench/$$name.py $(BENCH_ARGS) $(if $(RECORD),--json $(RECORD)/$${name}_bench.json) || exit 1; \
	done

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

pages: $(VENV)/.dev
	$(BIN)/python -m azr_gym.pages

image: $(VENV)/.core
	$(BIN)/azr image --from-host

clean:
	rm -rf $(VENV)

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV) || $(PYTHON) -m venv --without-pip --clear $(VENV)
	touch $@

$(VENV)/.core: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS) -e .
	touch $@

$(VENV)/.agents: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS) -e ".[agents]"
	touch $@ $(VENV)/.core

$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS) -e ".[all]"
	touch $@ $(VENV)/.core $(VENV)/.agents

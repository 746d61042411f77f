# Where the virtual environment lives; set it to share one between checkouts: make test VENV=~/venvs/course
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
READY  := build/.ready
# The same for the packages of a Colab machine, which `make colab` installs once: about 5 GB
COLAB_VENV ?= .venv-colab
LESSONS = $(sort $(wildcard notebooks/*.ipynb))

.DEFAULT_GOAL := help
.PHONY: help course lab test test-full test-browser test-cuda colab solved notebooks link links site bench lint clean

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

test-browser: $(READY) build/.browser  ## the website, and every lesson in JupyterLab, in a browser (needs chromium: apt-get install chromium)
	$(BY_LESSON) tests/browser tests/test_site.py

test-cuda: $(READY)  ## every lesson on a machine with a CUDA device
	$(BIN)/python -c "import torch; assert torch.cuda.is_available(), 'torch finds no CUDA device here'"
	COURSEKIT_SOURCE=sample $(PYTEST) notebooks

colab: $(READY) $(COLAB_VENV)/ready  ## every lesson on a machine like Colab's, where its setup cell has to install the course
	COLAB_VENV=$(COLAB_VENV) $(BY_LESSON) tests/colab

# One thread a worker: two workers with two threads each are three times slower on two cores.
# loadscope keeps the cells of a notebook together on one worker, by_lesson all that is done with one lesson.
TWO_WORKERS = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2
PYTEST = $(TWO_WORKERS) -p tests.nbval_repairs --dist loadscope --nbval-lax --nbval-current-env --nbval-cell-timeout=600
BY_LESSON = $(TWO_WORKERS) -p tests.by_lesson --dist loadscope

solved: $(READY)  ## write the lessons with their exercises solved, for teachers, to build/solved/
	rm -rf build/solved
	$(BIN)/python -m coursekit.solve $(LESSONS) -o build/solved

notebooks: $(READY)  ## re-run the lessons on sample and full data and store their outputs, stamped
	$(BIN)/python -m coursekit.lessons record $(LESSONS)

link: $(READY)  ## point badges and setup cells at a fork: make link REPO=owner/name
	$(BIN)/python -m coursekit.lessons link $(REPO)

site: build/.docs  ## build the website, offline, to build/site/html/index.html
	$(BIN)/python docs/build.py

links: $(READY)  ## list the links that lead elsewhere; with TRY=1 open them and list those out of reach
	$(BIN)/python -m tests.links $(if $(TRY),--try)

bench: $(READY) build/.bench  ## time the training loop beside its alternatives, what it takes, how it grows, how long verdicts take
	for script in training_loops time_to_accuracy scaling overheads run_all exercises; do $(BIN)/python benchmarks/$$script.py || exit; done

lint: $(READY)  ## format and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what was built, not the virtual environments
	rm -rf build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(READY): pyproject.toml requirements.txt $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e ".[test]"
	@mkdir -p build && touch $@

build/.docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]"
	@touch $@

build/.browser: build/.docs
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[browser]"
	@touch $@

build/.bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[bench]"
	@touch $@

$(COLAB_VENV)/ready: tests/colab/requirements.txt | $(READY)
	$(BIN)/python -m tests.colab.environment $(COLAB_VENV)
	@touch $@

# Where the virtual environment lives; set it to share one between checkouts: make test VENV=~/venvs/course
VENV   ?= .venv
PYTHON ?= python3
# A virtual environment on Windows has Scripts for bin
BIN    := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
READY  := build/.ready
# The same for the packages of a Colab machine, which its tests install once: about 5 GB
COLAB_VENV ?= .venv-colab
# How they are tested, and which: by number, such as LESSONS="03 09"; all where it is empty, TODAY for those whose turn it is
LESSONS ?=
FORMS   ?= full browser colab

.DEFAULT_GOAL := help
.PHONY: help course lab test test-lessons test-site test-cuda rules solved notebooks link links site slides paper bench lint clean

help:  ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

course: $(READY)  ## run every lesson; executed notebooks, pages and index.html under build/
	$(BIN)/python -m coursekit.teaching.run_all -o build

lab: $(READY)  ## open the lessons in JupyterLab
	$(BIN)/python -m jupyterlab notebooks

test: $(READY)  ## lint, unit and structure tests, every lesson once on the sample, as a student gets it
	$(BIN)/python -m tests

test-lessons: $(READY) $(if $(filter browser,$(FORMS)),build/.browser) $(if $(filter colab,$(FORMS)),$(COLAB_VENV)/ready)  ## LESSONS="03 09" solved on the full data, in JupyterLab (needs chromium), as on Colab
	COLAB_VENV=$(COLAB_VENV) $(BIN)/python -m tests lessons $(if $(filter TODAY,$(LESSONS)),--today,$(LESSONS)) --form $(FORMS)

test-site: $(READY) build/.browser  ## the website, built and read in a browser (needs chromium: apt-get install chromium)
	$(BIN)/python -m tests site

test-cuda: $(READY)  ## every lesson on a machine with a CUDA device
	$(BIN)/python -c "import torch; assert torch.cuda.is_available(), 'torch finds no CUDA device here'"
	$(BIN)/python -m tests lessons $(LESSONS) --form student

rules: $(READY)  ## say which rules of a lesson are broken, in which cell, and what to do: make rules LESSONS=03
	$(BIN)/python -m coursekit.teaching.rules $(LESSONS)

solved: $(READY)  ## write the lessons with their exercises solved, for teachers, to build/solved/
	$(BIN)/python -m coursekit.teaching.solve $(sort $(wildcard notebooks/*.ipynb)) -o build/solved

notebooks: $(READY)  ## re-run the stale lessons on sample and full data and store their outputs, stamped
	$(BIN)/python -m coursekit.teaching.record $(LESSONS)

link: $(READY)  ## point badges and setup cells at a fork: make link REPO=owner/name
	$(BIN)/python -m coursekit.teaching.link $(REPO)

site: build/.docs  ## build the website, offline, to build/site/html/index.html
	$(BIN)/python docs/build.py

slides: build/.docs  ## Part 1 of every lesson as slides, offline, to build/slides/index.html; LESSONS="03 09" for some
	$(BIN)/python docs/slides.py $(LESSONS)

paper: site build/.browser  ## each lesson as a PDF, printed from the website, to build/paper/ (needs chromium); LESSONS="03 09"
	$(BIN)/python docs/paper.py $(LESSONS)

links: $(READY)  ## list the links that lead elsewhere; with TRY=1 open them and list those out of reach
	$(BIN)/python -m tests.dead_links $(if $(TRY),--try)

bench: $(READY) build/.bench  ## time the training loop beside its alternatives, what it takes, how it grows, what a second process brings, how long verdicts take
	for script in training_loops time_to_accuracy scaling overheads busy_machine processes run_all exercises; do $(BIN)/python benchmarks/$$script.py || exit; done

lint: $(READY)  ## format and fix what ruff can fix
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

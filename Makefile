# The Mixer Book.   make book · make test · make lab · make serve   (the first one sets everything up in .venv)
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help book test lab serve clean

# The book is built on Python 3.11 or 3.12: the first one found here that can make a virtual environment.
FIND := for p in python3.11 python3.12 python3; do \
  $$p -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] not in {(3, 11), (3, 12)})' 2>/dev/null && echo $$p && break; done
PYTHON ?= $(shell $(FIND))
EXTRAS := book,count,test,lab
BIN := .venv/bin
READY := .venv/ready
export JUPYTER_PREFER_ENV_PATH := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

CODE := $(shell find mixerlib -type f -not -name '*.pyc')
NOTEBOOKS := $(wildcard notebooks/*.md)
TESTED := $(NOTEBOOKS:notebooks/%.md=.tested/%.passed)

help:
	@echo "make book    set up, run the notebooks, build the pages"
	@echo "make test    set up, check the code, the tests and every notebook"
	@echo "make lab     open the notebooks in JupyterLab"
	@echo "make serve   show the built pages at http://localhost:8000"
	@echo "make clean   remove what was built (.venv stays)"

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 with venv is needed (found neither). Set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "== Setting up .venv with $(PYTHON): exact versions from constraints.txt"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --progress-bar off -c constraints.txt -e ".[$(EXTRAS)]" | grep -v 'already satisfied'
	@touch $@

book: $(READY)
	@echo "== Running the notebooks that changed and building the pages"
	$(BIN)/jupyter-book build . -W -n --keep-going
	@echo "== The book is at file://$(CURDIR)/_build/html/index.html"

test: $(READY)
	@echo "== ruff"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "== pytest"
	$(BIN)/python -m pytest
	@echo "== notebooks (those that changed, or all when the library did)"
	@$(MAKE) --no-print-directory notebooks-tested

.PHONY: notebooks-tested
notebooks-tested: $(TESTED)
	@echo "$(words $(NOTEBOOKS)) notebooks pass"

.tested/%.passed: notebooks/%.md $(CODE) $(READY)
	@mkdir -p $(@D)
	@$(BIN)/jupytext --quiet --to ipynb --output .tested/$*.ipynb $<
	$(BIN)/python -m pytest -o filterwarnings=default --nbmake --nbmake-timeout=300 .tested/$*.ipynb
	@touch $@

lab: $(READY)
	@JUPYTER_CONFIG_DIR=.venv/etc/jupyter $(BIN)/jupytext-config set-default-viewer markdown
	$(BIN)/jupyter lab notebooks

serve:
	@test -f _build/html/index.html || { echo "There are no pages yet: make book"; exit 1; }
	$(BIN)/python -m http.server --directory _build/html 8000

clean:
	rm -rf _build .tested

# The Mixer Book.   make book · make test · make lab · make serve   (the first one sets everything up in .venv)
# The path of this folder may hold any character, so no recipe names it but as "$$PWD".
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help book test lab serve notebooks reproduce release clean colab-branch colab-run colab-report

# The book is built on Python 3.11 or 3.12: the first one found here that can make a virtual environment.
FIND := for p in python3.11 python3.12 python3; do \
  $$p -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] not in {(3, 11), (3, 12)})' 2>/dev/null && echo $$p && break; done
# PYTHON=python3.13 asks for another one, and a .venv of any other version is then made anew.
ASKED := $(if $(filter environment command,$(firstword $(origin PYTHON))),$(PYTHON))
PYTHON ?= $(shell $(FIND))
EXTRAS := book,count,test,lab
BIN := .venv/bin
# TORCH_INDEX=URL, as the workflows have it, takes torch from there, and all by the hashes of their files.
TORCH_INDEX ?=
READY := .venv/ready
ifneq ($(ASKED),)
ITS_FOLDER := $(shell "$(ASKED)" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
$(if $(ITS_FOLDER),,$(error PYTHON=$(ASKED) does not run))
ifeq ($(wildcard .venv/lib/$(ITS_FOLDER)),)
CLEAR := --clear
$(READY): another-python
endif
endif
.PHONY: another-python
export JUPYTER_PREFER_ENV_PATH := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# An extra that a target needs; hashes.txt has all of them.
MORE = $(if $(TORCH_INDEX),@: installed:,$(BIN)/python -m pip install --quiet -c constraints.txt -e)

NOTEBOOKS := $(wildcard notebooks/*.md)
TESTED := $(NOTEBOOKS:notebooks/%.md=.tested/%.passed)
# One thread a process (tests/conftest.py), so a process for every core; more than four gain little.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile
LIKE_COLAB := $(BIN:%/bin=%)/like-colab/ready
# Playwright and axe, which drive a Chromium: for tests alone, so whoever only reads does not fetch them.
DRIVER := $(BIN:%/bin=%)/driver-ready

help:
	@echo "make book    set up, run the notebooks, build the pages"
	@echo "make test    set up, check the code, run the tests and the notebooks that a change touches"
	@echo "make lab     open the notebooks in JupyterLab"
	@echo "make serve   show the built pages at http://localhost:8000"
	@echo "make reproduce  test the device and train what the book still lacks, for as long as MINUTES=… says"
	@echo "make release pack site, notebooks, package and PDF for this commit's tag (or VERSION=dev)"
	@echo "make book SOLUTIONS=no    leave the solutions out, for a class; so does make notebooks SOLUTIONS=no"
	@echo "make clean   remove what was built (.venv stays)"

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 with venv is needed (found neither). Set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "== Setting up .venv with $(PYTHON): exact versions from constraints.txt"
	"$(PYTHON)" -m venv $(CLEAR) .venv
ifeq ($(TORCH_INDEX),)
	$(BIN)/python -m pip install --progress-bar off -c constraints.txt -e ".[$(EXTRAS)]" | grep -v 'already satisfied'
else
	$(BIN)/python -m pip install --progress-bar off --no-deps --require-hashes -r hashes.txt
	$(BIN)/python -m pip install --progress-bar off --no-deps --require-hashes --index-url "$(TORCH_INDEX)" -r hashes-torch.txt
	$(BIN)/python -m pip install --progress-bar off --no-deps --no-build-isolation -e .
	$(BIN)/python -m pip check
endif
	@touch $@

# SOLUTIONS=no leaves the solutions out of the pages, and of the notebooks of `make notebooks`.
SOLUTIONS ?= yes
export SOLUTIONS

book: $(READY)
	@echo "== Running the notebooks that changed and building the pages"
	$(BIN)/jupyter-book build . -W -n --keep-going
	@echo "== The book is at file://$$PWD/_build/html/index.html"

# What passed and has not changed since is not run again; tests/stamps.py says what, and why. In a
# clean clone everything runs.
test: $(READY) $(DRIVER)
	@echo "== ruff"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "== mypy"
	$(BIN)/mypy
	@echo "== pytest: the book"
	$(PYTEST) -m prose
	@echo "== pytest: the library"
	@$(MAKE) --no-print-directory library-tested
	@echo "== notebooks"
	@$(MAKE) --no-print-directory notebooks-tested

.PHONY: library-tested notebooks-tested
library-tested: $(READY) $(DRIVER)
	@$(BIN)/python tests/stamps.py library
	@$(MAKE) --no-print-directory .tested/library.passed

.tested/library.passed: .tested/library.inputs | $(LIKE_COLAB)
	$(PYTEST) -m "not prose"
	@touch $@

notebooks-tested: $(READY) $(LIKE_COLAB)
	@$(BIN)/python tests/stamps.py notebooks
	@$(MAKE) --no-print-directory -j2 --output-sync=target $(TESTED)
	@echo "$(words $(NOTEBOOKS)) notebooks pass"

# So that a part can be asked for by itself: make .tested/01-patches.passed
.PRECIOUS: .tested/%.inputs
.tested/%.inputs: | $(READY)
	@$(BIN)/python tests/stamps.py $(if $(filter library,$*),library,notebooks)

# A notebook is run as its readers run it: the Colab form, in a fresh environment like Colab's, into
# which its first cell installs mixerlib. What it fetches is this working tree; nothing is downloaded.
.tested/%.passed: .tested/%.inputs | $(LIKE_COLAB)
	@rm -rf .tested/$* && mkdir -p .tested/$*
	@$(BIN)/python -m book.tools.colab trial $* .tested/$*
	@$(BIN)/python tests/like_colab.py .tested/$*/environment
	JUPYTER_PATH="$$PWD/.tested/$*/environment/share/jupyter" MIXERBOOK_SOURCE="$$PWD/.tested/$*/source.git" \
	  PIP_NO_BUILD_ISOLATION=0 PIP_NO_INDEX=1 $(BIN)/python -m pytest -o filterwarnings=default \
	  -o addopts=-q --nbmake --nbmake-timeout=300 --nbmake-kernel=like-colab .tested/$*/$*.ipynb
	@rm -rf .tested/$*
	@touch $@

$(LIKE_COLAB): tests/like_colab.txt $(READY)
	@$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(@D) -r $<
	@touch $@

$(DRIVER): $(READY)
	$(MORE) ".[site]"
	@touch $@

# Hostile inputs, and runs killed at random moments, for as long as one likes: beyond the few of each
# in every `make test`.
MINUTES ?= 10
.PHONY: fuzz kills
fuzz: $(READY)
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

kills: $(READY)
	$(BIN)/python -m tests.kills --minutes $(MINUTES)

# The last commit, in a folder whose name has what shells and programs stumble over: the notebooks for
# Colab are made there, and one of them is run.
.PHONY: place-tested
place-tested: export ELSEWHERE := .tested/elsewhere/it's "my" Drive; (é)
place-tested: $(READY) $(LIKE_COLAB)
	@rm -rf .tested/elsewhere && mkdir -p "$$ELSEWHERE" && git clone --quiet . "$$ELSEWHERE"
	@ln -s "$$PWD/.venv" "$$ELSEWHERE/.venv"
	@cd "$$ELSEWHERE" && $(MAKE) --no-print-directory -o $(READY) -o $(LIKE_COLAB) notebooks .tested/01-patches.passed
	@rm -rf .tested/elsewhere

# By hand, after a change of constraints.txt: the hashes of all files of each package in it, as PyPI has
# them. torch comes from an index of its own, and is in hashes-torch.txt.
.PHONY: hashes
hashes: $(READY)
	$(MORE) ".[release]"
	@{ sed -n '/^#/p' hashes.txt; grep -vE '^(#|torch==|torchvision==)' constraints.txt | \
	  $(BIN)/uv pip compile - --quiet --no-deps --generate-hashes --no-header --no-annotate \
	  --python-version 3.13 --default-index https://pypi.org/simple; } > hashes.new
	@mv hashes.new hashes.txt

notebooks: $(READY)
	$(BIN)/python -m book.tools.colab

# By hand, on a quiet machine: how long each notebook runs here, into book/records/notebooks.
.PHONY: notebooks-timed
notebooks-timed: notebooks
	$(BIN)/python -m book.tools.colab time _build/colab

# By hand, on a quiet machine, about an hour and a quarter on two cores: every speed of Part V anew,
# into book/records/bench. It can be stopped and given once more; what has a record is left out.
.PHONY: speeds
speeds: $(READY)
	$(BIN)/python -m book.tools.speeds

# By hand, on a quiet machine: what the pages time, into book/records/pages, from which `make book`
# prints it; `make book MIXERBOOK_TIMES=live` times it anew. What has a record is left out.
.PHONY: page-times
page-times: $(READY)
	$(BIN)/python -m book.tools.page_times

# What has no record yet, the most wanted first. It can be stopped and given once more.
reproduce: $(READY)
	$(BIN)/python -m mixerlib reproduce --download $(if $(filter command environment,$(firstword $(origin MINUTES))),--minutes "$(MINUTES)")

lab: $(READY)
	@JUPYTER_CONFIG_DIR=.venv/etc/jupyter $(BIN)/jupytext-config set-default-viewer markdown
	$(BIN)/jupyter lab notebooks

serve:
	@test -f _build/html/index.html || { echo "There are no pages yet: make book"; exit 1; }
	$(BIN)/python -m http.server --directory _build/html 8000

# Looks at the built pages as a reader would; without a Chromium it says so and reads only the HTML, but
# in CI it fails. The interactives were driven before, page or no page, by `make test`.
.PHONY: site-tested
site-tested: $(READY) $(DRIVER)
	@test -f _build/html/index.html || { echo "There are no pages yet: make book"; exit 1; }
	SITE=_build/html $(PYTEST) --dist loadgroup -rs tests/book/test_site.py tests/book/test_search.py tests/book/test_weight.py \
	  tests/book/test_where_interactives_stand.py

release: $(READY)
	$(MORE) ".[release]"
	$(BIN)/python -m book.tools.release --check
	@$(MAKE) --no-print-directory book
	@$(MAKE) --no-print-directory notebooks
	$(BIN)/python -m book.tools.release

# What the workflows call, after `make notebooks`. The first pushes to origin, with git and one package
# and nothing else of the book's environment; the last needs GitHub's `gh`.
PUBLISHER := _build/ghp-import
colab-branch:
	@mkdir -p _build
	awk '/^(ghp-import|python-dateutil|six)==/ {take = 1} take; !/\\$$/ {take = 0}' hashes.txt > $(PUBLISHER).txt
	python3 -m pip install --quiet --upgrade --no-deps --require-hashes --target $(PUBLISHER) -r $(PUBLISHER).txt
	PYTHONPATH=$(PUBLISHER) python3 -m book.tools.branch

COLAB_IMAGE := us-docker.pkg.dev/colab-images/public/runtime:latest
COLAB_RUN := _build/colab-run
colab-run:
	@mkdir -p $(COLAB_RUN)
	docker run --rm --pull always --entrypoint python3 -v "$$PWD/_build/colab:/book/colab:ro" \
	  -v "$$PWD/book/tools/run_notebooks.py:/book/run_notebooks.py:ro" -v "$$PWD/$(COLAB_RUN):/book/out" \
	  $(COLAB_IMAGE) /book/run_notebooks.py /book/colab /book/out

# What broke, as a comment on the issue that is open for it, or as a new one. GitHub takes 65,536 characters.
colab-report:
	@mkdir -p $(COLAB_RUN)
	@echo "The weekly run in Colab's newest runtime broke:" \
	  "$$GITHUB_SERVER_URL/$$GITHUB_REPOSITORY/actions/runs/$$GITHUB_RUN_ID" > $(COLAB_RUN)/issue.md
	@echo >> $(COLAB_RUN)/issue.md
	@head -c 60000 $(COLAB_RUN)/report.md >> $(COLAB_RUN)/issue.md || \
	  echo "It broke before the first notebook ended." >> $(COLAB_RUN)/issue.md
	@export GH_REPO="$$GITHUB_REPOSITORY" LABEL=colab-weekly; \
	gh label create $$LABEL --force --description "The weekly run of the notebooks in Colab's image"; \
	open=$$(gh issue list --label $$LABEL --state open --json number --jq 'map(.number) | min // empty'); \
	if [ -n "$$open" ]; then gh issue comment "$$open" --body-file $(COLAB_RUN)/issue.md; \
	else gh issue create --label $$LABEL --body-file $(COLAB_RUN)/issue.md \
	  --title "A notebook breaks in the newest Colab runtime"; fi

clean:
	rm -rf _build .tested

# One entry for every command. `make help` lists the targets.
#
# The environment is `.venv`, made by the targets that need it, and again when pyproject.toml or constraints.txt
# change. With `make test PYTHON=/some/env/bin/python` that environment is used as it is, and no .venv is made.

BASE_PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
EXTRAS ?= dev,diffusers,docs,hub,ray,report,vlm
WORKERS ?= 2
DATA ?= runs/demo/videos
SETS ?=
SECONDS ?= 60
TARGETS ?=
KILLS ?= 12
MODULE ?=
NUMBER ?= 100
LOSSLESS := lip_words fluent16 fights basketball5
SHARE ?= 1
VPC ?= 1,6,15,30,60
RIVALS ?= full,typical-clips,videocompressa,random-real,herding-real,real-h264,real-av1,real-webp
PROTOCOL := --labels hard --vpc $(VPC) --keyframes 4 --seeds 5 --students minic3d,framenet2d --scale small --size 48 \
  --train steps=1600

ifndef PYTHON
PYTHON := .venv/bin/python
ENVIRONMENT := .venv/.stamp
endif

# The folder of the console scripts that belong to PYTHON; looked up when used, because .venv may not exist before.
BIN = $(dir $(shell command -v $(PYTHON)))

# Tests run in several processes, one thread each; the demo and benchmarks take all cores.
test quick coverage: export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test quick lint types layers format docs site wheel-test fuzz kills coverage mutants bench soak bench-lossless clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 18

setup: $(ENVIRONMENT) ## make .venv with the versions of constraints.txt

.venv/.stamp: pyproject.toml constraints.txt
	test -x .venv/bin/python || $(BASE_PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet -c constraints.txt -e ".[$(EXTRAS)]"
	touch $@

demo: $(ENVIRONMENT) ## render a set, compress it, train on it, compare (under 5 minutes on two cores)
	$(BIN)videocompressa demo -o runs/demo --force

test: lint types layers ## everything: lint, types, layers and all tests
	$(PYTHON) -m pytest -n $(WORKERS) --dist loadfile

quick: $(ENVIRONMENT) ## the tests that are not marked slow (under 2 minutes)
	$(PYTHON) -m pytest -n $(WORKERS) --dist loadfile -m "not slow"

lint: $(ENVIRONMENT) ## ruff: rules and format
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: $(ENVIRONMENT) ## mypy --strict
	$(PYTHON) -m mypy

layers: $(ENVIRONMENT) ## import-linter: imports go down only
	$(BIN)lint-imports

format: $(ENVIRONMENT) ## fix what ruff can fix
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

docs: $(ENVIRONMENT) ## serve the documentation at http://127.0.0.1:8000, and again when a page changes
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs serve --strict

site: $(ENVIRONMENT) ## build the documentation into runs/site: index.html opens without a server
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet

wheel-test: $(ENVIRONMENT) ## build source archive and wheel, and run a small job by the wheel in a clean environment
	$(PYTHON) tools/wheel_test.py runs/dist

bench: $(ENVIRONMENT) ## tables of docs/benchmarks.md on speed, memory and cost; DATA=folder of videos, else the demo's
	$(PYTHON) tools/bench_encode_pass.py $(DATA) --codec ycbcr --size 48 --workers 2 --copies 1 2 4 8
	$(PYTHON) tools/bench_encode_pass.py $(DATA) --codec tiny --size 112 --workers 2
	$(PYTHON) tools/bench_encode_pass.py $(DATA) --codec ycbcr --size 48 --workers 2 --engines local ray
	$(PYTHON) tools/bench_encode_pass.py --like-kinetics --codec ycbcr --size 48 --copies 8
	$(PYTHON) tools/bench_encode_pass.py --long-video --codec ycbcr --size 48
	$(PYTHON) tools/bench_readers.py $(DATA) --size 112 --workers 2
	$(BIN)videocompressa compress $(DATA) -o runs/bench/set.safetensors --force
	$(PYTHON) tools/bench_training.py $(DATA) runs/bench/set.safetensors
	$(PYTHON) tools/bench_cost.py --ucf101 --threads 1

soak: $(ENVIRONMENT) ## load: many clips, classes, items and runs (SHARE=0.01 for a hundredth), and what they leave behind
	$(PYTHON) tools/soak.py --share $(SHARE)

fuzz: $(ENVIRONMENT) ## every reader of foreign bytes for SECONDS= each, or those of TARGETS=; the corpus stays in .fuzz
	$(PYTHON) -c "import atheris" 2>/dev/null || $(PYTHON) -m pip install --quiet -c constraints.txt -e ".[fuzz]"
	$(PYTHON) tools/fuzz.py --seconds $(SECONDS) $(TARGETS)

kills: $(ENVIRONMENT) ## kill commands at random points, KILLS= times each, and compare what they end with
	KILLS=$(KILLS) $(PYTHON) -m pytest -q tests/test_kills.py

coverage: $(ENVIRONMENT) ## lines and branches that all tests run, in the processes that they start too
	rm -rf runs/coverage && mkdir -p runs/coverage
	$(PYTHON) -m coverage run -m pytest -q -n $(WORKERS) --dist loadfile
	$(PYTHON) -m coverage combine --quiet
	$(PYTHON) -m coverage report --show-missing

mutants: $(ENVIRONMENT) ## change one thing at a time, NUMBER= times in each MODULE= (0: all), and count what tests notice
	$(PYTHON) -c "import mutmut" 2>/dev/null || $(PYTHON) -m pip install --quiet -c constraints.txt -e ".[mutants]"
	$(PYTHON) tools/mutants.py --number $(NUMBER) $(MODULE)

bench-lossless: $(ENVIRONMENT) ## table and curve from 4 to 240 keyframes a class; SETS=folder of the four sets, VPC=, RIVALS= for less
	@test -n "$(SETS)" || { echo "give SETS=folder that holds $(LOSSLESS)"; exit 2; }
	for name in $(LOSSLESS); do \
	  $(BIN)videocompressa bench $(SETS)/$$name -o runs/lossless/$$name --methods $(RIVALS) $(PROTOCOL) || exit; \
	  $(BIN)videocompressa bench $(SETS)/$$name -o runs/lossless/$$name-background --methods full,typical-clips \
	    $(PROTOCOL) --train views.scenes=0.5 || exit; \
	done
	$(PYTHON) tools/lossless.py runs/lossless/*/results.json -o runs/lossless

clean: ## remove .venv and caches, keep runs/
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .fuzz .mutants

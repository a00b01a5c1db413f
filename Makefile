# One menu for everything. Set-up is automatic: the first target that needs .venv or a data set makes it, once.
# Options: PRESET=smoke|default|full  SEED=1  ARGS="--threads 1"  PYTHON=python3.12 (3.11 or newer, to create .venv)

PYTHON ?= python3
PRESET ?= default
SEED   ?=
ARGS   ?=
PY     := .venv/bin/python

WEEKS     := week01-02 week03-04 week05 week06 week07-08 week09 week10 week11 week12 week13 week14
DATA_SETS := $(shell sed -n 's/^\[\([A-Za-z0-9_-]*\)\]$$/\1/p' tools/data.toml 2>/dev/null)
TEST_DATA := shakespeare bible recipes code gpt2 cl100k smollm2-135m names
TASK_DATA := reuters-r8 trec-6 sms-spam sarcasm

define newline


endef

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help assistant assistant-tasks ablations ingredients sample story forgetting tier0 torture results start check watch hint solution reset today progress day \
        check-course plan-check check-commands test test-week bench data vendor vendor-check notebooks docs-sync docs-check site lint \
        format doctor clean FORCE

help: ## this list
	@echo "usage: make TARGET [PRESET=smoke|default|full] [SEED=n] [ARGS=...]"
	@awk 'BEGIN { FS = ":.*## " } /^[a-zA-Z0-9_\/<>.-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile
	@for w in $(WEEKS); do [ -f weeks/$$w/train.py ] && built="$$built $$w" || missing="$$missing $$w"; done; \
	 echo "weeks built:  $$built"; echo "still to come:$$missing"

# --- set-up: .venv, with a stamp for each of its layers -----------------------------------------------------------
# A stamp holds the folder that it was made in: a copied or moved checkout installs again, instead of running the
# code of the place that it was copied from.

ifneq ($(shell [ -x $(PY) ] && cat .venv/.core 2>/dev/null),$(CURDIR))
.venv/.core: FORCE
endif

PIP := $(PY) -m pip install -qq --disable-pip-version-check --constraint constraints.txt

.venv/.core: pyproject.toml constraints.txt $(wildcard weeks/week14/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: '$(PYTHON)' is not Python 3.11 or newer; name one that is: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
	  exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || { echo "creating .venv"; $(PYTHON) -m venv --clear .venv; }
	@echo "installing the libraries into .venv (once; torch is the large one: 0.2 GB for CPU builds, up to 3 GB)"
	@$(PIP) --editable . $(patsubst %/pyproject.toml,--editable ./%,$(filter weeks/%,$^))
	@printf '%s' '$(CURDIR)' > $@

.venv/.test: .venv/.core
	@echo "installing the tests' libraries into .venv (once)"
	@$(PIP) --editable '.[test]'
	@touch $@

.venv/.site: .venv/.core
	@echo "installing the site's libraries into .venv (once)"
	@$(PIP) --editable '.[site]'
	@touch $@

# --- data: `make data/NAME` for every [NAME] of tools/data.toml ---------------------------------------------------
# ORIGIN.json is written last, so a folder that has it is whole. When tools/data.toml changes, each set is looked at
# again; where nothing changed for it, the tool only makes its ORIGIN.json young again.

data: .venv/.core ## list the data sets: size, licence, state
	@$(PY) tools/data list

data/<name>: ## make one data set, as in: make data/shakespeare
	@$(PY) tools/data list

.PHONY: $(DATA_SETS:%=data/%)
$(DATA_SETS:%=data/%): %: %/ORIGIN.json

$(DATA_SETS:%=data/%/ORIGIN.json): data/%/ORIGIN.json: tools/data.toml | .venv/.core
	@$(PY) tools/data make $*

data/%: .venv/.core
	@$(PY) tools/data make $*

# --- weeks --------------------------------------------------------------------------------------------------------
# A user's own run writes below runs/<week>, which git ignores. `make results` sets COMMITTED: then the same recipes
# write the results and figures that the pages quote. A smoke run draws nothing: its numbers mean nothing.

# $(call run,WEEK,SCRIPT AND JOB) and $(call draw,WEEK)
run  = $(strip $(PY) weeks/$(1)/$(2) --preset $(PRESET) $(if $(SEED),--seed $(SEED)) $(ARGS) $(call to,$(1)))
to   = $(if $(COMMITTED),--out weeks/$(1)/results)
draw = $(if $(filter-out smoke,$(PRESET)),$(if $(wildcard weeks/$(1)/figures.py),$(strip $(PY) weeks/$(1)/figures.py $(own))))
own  = $(if $(COMMITTED),,--preset $(PRESET) --results runs/$(1)/results --out runs/$(1)/figures)

# $(call week,FOLDER,OTHER NAMES,DATA SETS): the data first, then the week's train script, then its figures.
define week
.PHONY: $(1) $(2)
$(if $(2),$(2): $(1))
ifneq ($(wildcard weeks/$(1)/train.py),)
$(1): .venv/.core $(3:%=data/%/ORIGIN.json)
	$(call run,$(1),train.py)
	@$(call draw,$(1))
else
$(1):
	@echo "$(1) is not built yet; PLAN.md says what it will hold, and 'make help' which weeks are built" >&2; exit 2
endif
endef

# Two weeks in one room, each with a job of its own.
.PHONY: week01-02 week01 week02
week01-02: week01 week02
week01: .venv/.core
	$(call run,week01-02,train.py moons)
	@$(call draw,week01-02)
week02: .venv/.core data/mnist/ORIGIN.json
	$(call run,week01-02,train.py mnist)
	@$(call draw,week01-02)

$(eval $(call week,week03-04,week03 week04,names))
$(eval $(call week,week05,,names))
$(eval $(call week,week06,,names))
$(eval $(call week,week07-08,week07 week08,shakespeare names))
$(eval $(call week,week09,,shakespeare gpt2 cl100k $(if $(filter full,$(PRESET)),bible recipes code)))
$(eval $(call week,week10,,shakespeare fables bible web-bible wiki-leads recipes))
$(eval $(call week,week11,,shakespeare fables bible web-bible wiki-leads recipes smollm2-135m))
$(eval $(call week,week12,,shakespeare bible))
$(eval $(call week,week13,,shakespeare bible recipes code wiki-leads))
$(eval $(call week,week14,,shakespeare bible recipes code))

ifneq ($(words $(PRESET))$(filter smoke default full,$(PRESET)),1$(PRESET))
$(error PRESET='$(PRESET)' is not a preset; use PRESET=smoke (seconds), PRESET=default (minutes) or PRESET=full)
endif

week01: ## ... week14: run a week's train script; it writes below runs/; double weeks also as week01-02
week14: ## the main job: train, then learn three more domains without forgetting

assistant: .venv/.core data/smollm2-135m/ORIGIN.json ## chat with SmolLM2-135M in the terminal: ARGS='--system "Be brief."'
	@.venv/bin/nanogpt chat --model smollm2-135m $(ARGS)

assistant-tasks: .venv/.core $(patsubst %,data/%/ORIGIN.json,smollm2-135m $(TASK_DATA)) ## it learns four tasks, naively and with replay
	$(call run,week14,assistant.py)
	@$(call draw,week14)

tier0: .venv/.core data/mnist/ORIGIN.json ## split MNIST: every method of week 13 beside the published values
	$(call run,week13,tier0.py)

ablations: .venv/.core data/shakespeare/ORIGIN.json ## week 7's GPT with each ingredient taken out: what does each buy?
	$(call run,week07-08,ablations.py)
	$(if $(COMMITTED),@$(call draw,week07-08))

sample: .venv/.core ## a story by the small model that ships: ARGS='--prompt "Lily had a red kite." --seed 7'
	@.venv/bin/nanogpt sample --model story $(ARGS)

story: .venv/.core data/stories/ORIGIN.json data/smollm2-135m/ORIGIN.json ## judge the story model; PRESET=full trains it anew (hours)
	$(call run,week14,story.py)
	@$(call draw,week14)

forgetting: .venv/.core $(patsubst %,data/%/ORIGIN.json,shakespeare recipes code) ## a story before and after three other domains, naively and with replay
	$(call run,week14,forgetting.py)
	@$(call draw,week14)

ingredients: .venv/.core data/bible/ORIGIN.json ## week 14's GPT with each ingredient switched: loss at equal tokens and seconds
	$(call run,week14,ingredients.py)
	@$(call draw,week14)

torture: .venv/.core ## kill -9 a training at 50 random moments; are the weights those of an undisturbed one?
	$(call run,week11,torture.py)

# The targets above once more, with COMMITTED set; then what the pages quote. Other results of a week, such as the
# doctor's of week 5, are written by their own command with --out weeks/week05/results.
JOBS := ablations ingredients story forgetting bench tier0 torture assistant-tasks check-course check-commands site

results: .venv/.core ## change what the pages quote: WEEK=05 PRESET=full, or JOB=NAME; without either, it lists the names
	@[ -n "$(or $(filter $(JOBS),$(JOB)),$(if $(JOB),,$(week_folder)))" ] || { \
	  echo "error: WEEK='$(WEEK)' JOB='$(JOB)' name no results; type: make results WEEK=05 PRESET=full, or" \
	    "make results JOB=NAME with one of: $(JOBS)" >&2; exit 2; }
	@$(MAKE) --no-print-directory $(or $(JOB),$(week_folder)) COMMITTED=yes
	@$(PY) tools/docs.py sync

# --- the learner's workbench: tools/course/commands.py ------------------------------------------------------------

course = @$(strip $(PY) tools/course $@ $(WEEK) $(if $(DAY),--day $(DAY)) $(if $(FUNCTION),--function $(FUNCTION)) \
         $(if $(FORCE),--force) $(ARGS))

start: .venv/.test ## build a week yourself, in projects/: WEEK=01; DAY=3 has the days before 3 solved
	$(course)
check: .venv/.test ## grade your code: WEEK=01 DAY=3
	$(course)
watch: .venv/.test ## grade it whenever you save: WEEK=01 DAY=3
	$(course)
hint: .venv/.test ## the next hint: WEEK=01 DAY=3
	$(course)
solution: .venv/.test ## how the reference does it, once your day passes: WEEK=01 DAY=3
	$(course)
reset: .venv/.test ## your day back to its TODO; a copy is kept: WEEK=01 DAY=3
	$(course)
today: .venv/.test ## where you are, and what comes next
	$(course)
progress: .venv/.test ## which days pass
	$(course)
day: .venv/.test ## the page of a day, then its check: DAY=17; FORCE=1 shows the answers
	$(course)

# --- checks -------------------------------------------------------------------------------------------------------

# Two processes share the tests. A learner's code (CHASE_IMPL) is graded in one, which alone can refuse in a sentence.
test: .venv/.test $(TEST_DATA:%=data/%/ORIGIN.json) ## every test, offline, in two processes; in four: ARGS="-n 4"
	$(strip $(PY) -m pytest $(if $(CHASE_IMPL),,-n 2 --dist worksteal) $(ARGS))

# 9, 09, week09, 7, 07, 07-08 and week07-08 are all names of a week.
number      := $(patsubst week%,%,$(WEEK))
padded      := $(if $(filter 1 2 3 4 5 6 7 8 9,$(number)),0)$(number)
week_folder := $(if $(number),$(filter week$(padded) week$(padded)-% %-$(padded),$(WEEKS)))

test-week: .venv/.test ## one week's tests: WEEK=09; CHASE_IMPL=projects grades your own projects/week09
	@[ -n "$(week_folder)" ] && [ -d "weeks/$(week_folder)/tests" ] || { \
	  echo "error: WEEK='$(WEEK)' has no tests; weeks that have:" $(patsubst weeks/week%/tests,%,$(wildcard weeks/*/tests)) >&2; \
	  exit 2; }
	$(PY) -m pytest weeks/$(week_folder)/tests $(ARGS)

check-course: .venv/.test plan-check ## do starters fail, references pass, wrong answers die? all weeks, WEEK=05, or those that changed: ARGS=--recorded
	$(strip $(PY) tools/course audit $(if $(WEEK),$(or $(week_folder),$(WEEK))) $(ARGS) $(if $(COMMITTED),--out tools/results))

plan-check: .venv/.test ## has every day of a built week its page, exercises, tests and artefact?
	@$(PY) tools/course plan-check

benches := $(patsubst weeks/%/bench.py,%,$(wildcard weeks/$(if $(WEEK),$(or $(week_folder),$(WEEK)),*)/bench.py))
# what each of them reads; the others make their own
bench-week01-02 := mnist
bench-week03-04 := names
bench-week07-08 := names
bench-week09    := shakespeare gpt2 bible recipes code
bench-week11    := fables bible shakespeare wiki-leads recipes
bench-week12    := reuters-r8 sms-spam smollm2-135m
bench-week14    := sms-spam smollm2-135m
BENCH_DATA      := $(sort $(foreach week,$(benches),$(bench-$(week))))

bench: .venv/.test $(BENCH_DATA:%=data/%/ORIGIN.json) ## measure every week that has a bench.py, or WEEK=09
	@[ -n "$(benches)" ] || echo "no week has a bench.py yet"
	$(foreach week,$(benches),$(strip $(PY) weeks/$(week)/bench.py $(ARGS) $(call to,$(week)))$(newline))

vendor: .venv/.core ## copy the pieces that a week takes from another (vendor.toml)
	@$(PY) tools/vendor.py sync

vendor-check: .venv/.core ## do all copies still equal their sources?
	@$(PY) tools/vendor.py check

notebooks: .venv/.test ## execute each weeks/*/*.ipynb whose script changed; one of them: ARGS=weeks/week05/play.py
	@$(PY) tools/notebooks.py sync $(ARGS)

docs-sync: .venv/.core ## fill the numbers, the papers' verdicts and the maps of days in Markdown
	@$(PY) tools/course plan-sync
	@$(PY) tools/papers.py sync
	@$(PY) tools/docs.py sync

docs-check: .venv/.core ## do all numbers and links in Markdown hold? is the glossary complete?
	@$(PY) tools/docs.py check
	@$(PY) tools/papers.py check
	@$(PY) tools/glossary.py check

check-commands: .venv/.test $(TEST_DATA:%=data/%/ORIGIN.json) ## do the pages' commands work in a fresh clone? ARGS=--list lists them
	$(strip $(PY) tools/commands.py $(ARGS) $(if $(COMMITTED),--out tools/results))

site: .venv/.site ## all pages as a web site, with search, for a browser without network: build/site/index.html
	@$(strip $(PY) tools/website build $(if $(COMMITTED),--out tools/results))

lint: .venv/.test ## ruff
	@$(PY) -m ruff check .

format: .venv/.test ## sort imports and mend what ruff can mend
	@$(PY) -m ruff check --fix .

doctor: ## can this machine run it, and how fast?
	@if [ -x $(PY) ]; then $(PY) tools/doctor.py; else $(PYTHON) tools/doctor.py; fi

clean: ## delete caches and what your runs wrote below runs/; keeps .venv, data and checkpoints
	rm -rf .pytest_cache .ruff_cache .hypothesis build *.egg-info weeks/*/build weeks/*/*.egg-info runs
	find weeks tools projects -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "kept: .venv, data, and checkpoints with what you taught (delete these yourself to start from nothing)"

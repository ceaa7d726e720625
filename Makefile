# Two commands are all a newcomer needs: `make table1` and `make test`. Each makes the environment first.
PYTHON ?= python3
STAMP := .venv/.stamp-$(shell cat requirements.lock pyproject.toml | sha256sum | cut -c1-16)
PY := .venv/bin/python
# Two OpenMP threads on shared cores are slower than one: one thread a process, more cores by more processes.
export OMP_NUM_THREADS ?= 1
# make passes what it is given to the make of a command too: there the flags of another command would be wrong.
unexport ARGS

# What each target takes beside ARGS, which is any flag of its command.
RUNS = SUITE SPLIT FULL DATA WEIGHTS STRICT ENGINE WORKERS DATASETS CLIP
TAKES_table1 = $(RUNS) MODELS SEEDS WITH METRICS VERBOSE
TAKES_table2 = $(TAKES_table1)
TAKES_table3 = $(TAKES_table1)
TAKES_plan = $(TAKES_table1)
TAKES_table4 = WEIGHTS MODELS AGAIN
TAKES_rewrite = $(RUNS) MODELS SEEDS METRICS REWRITERS
TAKES_clip-score = $(RUNS) WITH
TAKES_tradeoff = $(RUNS) MODELS SEEDS WITH
TAKES_gallery = $(RUNS) MODELS WITH
TAKES_figures = $(TAKES_tradeoff)
TAKES_controls = $(RUNS) METRICS
TAKES_agreement = $(RUNS) MODELS METRICS
TAKES_standings = WITH
TAKES_report = SUITE SPLIT FULL WITH
TAKES_human = $(RUNS) SAMPLE VOTES
TAKES_human-report = SUITE VOTES
TAKES_check = SUITE DATA WEIGHTS
TAKES_accept = SUITE DATA WEIGHTS NAMES YES
TAKES_data = WHAT DATA WEIGHTS MIRROR FROM
TAKES_weights = $(TAKES_data)
TAKES_demo = WEIGHTS
TAKES_rehearse = AGAIN
TAKES_mini = AGAIN
TAKES_fuzz = COUNT SEED
TAKES_clean-all = CONFIRM
NO_ARGS = help setup lint clean clean-all

# The flag of a variable; an empty variable passes none. WHAT, COUNT, SEED and CONFIRM stand in their recipes.
FLAG_SUITE = --suite $(SUITE)
FLAG_SPLIT = --split $(SPLIT)
FLAG_FULL = --full
FLAG_DATA = --data-root $(DATA)
FLAG_WEIGHTS = --weights $(WEIGHTS)
FLAG_STRICT = --strict
FLAG_ENGINE = --engine $(ENGINE)
FLAG_WORKERS = --workers $(WORKERS)
FLAG_MODELS = $(if $(filter table4,$@),--model,--models) $(MODELS)
FLAG_DATASETS = --datasets $(DATASETS)
FLAG_METRICS = --metrics $(METRICS)
FLAG_SEEDS = --seeds $(SEEDS)
FLAG_CLIP = --clip $(CLIP)
COMMA := ,
FLAG_WITH = $(foreach run,$(subst $(COMMA), ,$(WITH)),--with $(run))
FLAG_VERBOSE = --verbose
FLAG_REWRITERS = --rewriters $(REWRITERS)
FLAG_SAMPLE = --sample $(SAMPLE)
FLAG_VOTES = --votes $(VOTES)
FLAG_NAMES = --names $(NAMES)
FLAG_YES = --yes
FLAG_MIRROR = --mirror $(MIRROR)
FLAG_FROM = --from $(FROM)
FLAG_AGAIN = --again
FLAGS = $(foreach v,$(TAKES_$@),$(if $($v),$(FLAG_$v))) $(ARGS)

TARGETS = help setup data weights plan rehearse test test-slow test-world fuzz audit test-faults determinism check table1 table2 table3 table4 \
          rewrite figures clip-score tradeoff gallery controls agreement standings report demo human human-report mini claims \
          ablations check-training world lint accept clean clean-all
.PHONY: $(TARGETS)

# Anything else on the command line is a slip of the finger and stops, as does what no target asked for takes.
SET = SUITE DATA WEIGHTS MODELS DATASETS METRICS SEEDS SPLIT WITH VERBOSE FULL STRICT ENGINE WORKERS CLIP
KNOWN = $(SET) $(filter-out $(SET),$(sort $(foreach target,$(TARGETS),$(TAKES_$(target))))) ARGS PYTHON
GIVEN := $(foreach v,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(v)))),$(v)))
GOALS = $(or $(MAKECMDGOALS),help)
TAKEN = $(sort PYTHON $(foreach goal,$(GOALS),$(TAKES_$(goal)) $(if $(filter $(NO_ARGS),$(goal)),,ARGS)))
STRANGE := $(if $(filter-out $(TARGETS),$(GOALS)),,$(firstword $(filter-out $(TAKEN),$(GIVEN))))
# A variable of another target may be meant as it is: one letter more or less is a slip there too, and no more.
CLOSEST = import difflib, sys; least, word, *taken = sys.argv[1:]; \
          close = difflib.get_close_matches(word.upper(), taken, 1, float(least)); \
          print("".join("did you mean %s? " % one for one in close) + "it takes: " + " ".join(taken))
ifneq ($(STRANGE),)
$(error make $(GOALS) takes no $(STRANGE); $(shell $(PYTHON) -c '$(CLOSEST)' $(if $(filter $(STRANGE),$(KNOWN)),0.8,0.5) $(STRANGE) $(TAKEN)))
endif

.DEFAULT_GOAL := help

##@ Start
help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	      /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "Variables: $(KNOWN)"
	@echo "A target stops at a variable that it does not take, and says which it does."
	@echo "ARGS=\"...\" passes any flag of the command on, as in make table1 ARGS=\"--batch-size 4\"."

.DEFAULT:
	@$(PYTHON) -c '$(CLOSEST)' $@ $$(sed -nE 's/^([a-z0-9-]+):.*## .*/\1/p' Makefile) | sed 's/^/make: no target $@; /' >&2; exit 2

setup: $(STAMP) ## the environment: .venv, pinned by requirements.lock (about 7 GB); other targets make it when it is missing

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make setup needs Python 3.11 or newer, this is %s; try: make setup PYTHON=python3.11" % sys.version.split()[0])'
	@echo "making .venv from requirements.lock: about 7 GB, 2 to 6 minutes"
	@rm -f .venv/.stamp-*
	@$(PYTHON) -m venv .venv
	@.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

table1: $(STAMP) ## Table 1: zero-shot editing, all models and datasets of the suite (default: the built-in miniature)
	@$(PY) -m bench.tables 1 $(FLAGS)

plan: $(STAMP) ## what Table 1 would take: edits, what is missing, disk, memory, time (default: SUITE=paper); ARGS="--for a100-40gb"
	@$(PY) -m bench.tables 1 --plan $(if $(SUITE),,--suite paper) $(FLAGS)

demo: $(STAMP) ## a web page on loopback that edits a photo: the miniature, or WEIGHTS=folder
	@$(PY) -m mgie.demo $(FLAGS)

test: $(STAMP) ## all tests but the slow ones: CPU, offline, one process a core
	@$(PY) -m pytest -q -n auto --dist loadfile $(FLAGS)

##@ Data and weights of suite paper
data: $(STAMP) ## fetch, check and lay out the four datasets; WHAT="evr ma5k" MIRROR=address or folder FROM=your downloads
	@$(PY) -m bench.fetch $(or $(WHAT),evr gier ma5k magicbrush:test) $(FLAGS)

weights: $(STAMP) ## InsPix2Pix, MGIE (then converted) and the metrics' networks; the same variables
	@$(PY) -m bench.fetch $(or $(WHAT),inspix2pix mgie networks) $(FLAGS)

rehearse: $(STAMP) ## the whole reproduction in small, random weights of true size (38 GB of disk; on a GPU at most 12 minutes); ARGS=--small: a minute or two
	@$(PY) -m bench.rehearse $(FLAGS)

##@ Tables (each runs what is missing)
table2: $(STAMP) ## Table 2: the same after fine-tuning on each dataset
	@$(PY) -m bench.tables 2 $(FLAGS)

table3: $(STAMP) ## Table 3: FZ, FT and E2E forms of LGIE and MGIE
	@$(PY) -m bench.tables 3 $(FLAGS)

table4: $(STAMP) ## Table 4: seconds a call by stage; the true sizes on a GPU (no download), else the miniature
	@$(PY) -m bench.timing $(FLAGS)

rewrite: $(STAMP) ## editors with and without a rewriter before them, tested in pairs; REWRITERS=none,lgie,mgie MODELS=inspix2pix
	@$(PY) -m bench.tables rewrite $(FLAGS)

##@ Figures and pages
clip-score: $(STAMP) ## Figure 4: CLIP-Score of input and goal images against three texts; CLIP=folder names another CLIP
	@$(PY) -m bench.clip_score $(FLAGS)

tradeoff: $(STAMP) ## Figure 3: the sweep of image_guidance_scale on MagicBrush
	@$(PY) -m bench.tradeoff $(FLAGS)

gallery: $(STAMP) ## Figures 7 and 8: a page to look through every edit, from file://
	@$(PY) -m bench.gallery $(FLAGS)

figures: clip-score tradeoff gallery ## all of them, running what is missing

controls: $(STAMP) ## what each metric rewards: goal image, input copy, black image and mixed-up outputs ranked; ARGS=--check
	@$(PY) -m bench.controls $(FLAGS)

agreement: $(STAMP) ## rank agreement between metrics, and with the miniature's right answers (people's: make human-report)
	@$(PY) -m bench.agreement $(FLAGS)

standings: $(STAMP) ## published rows by protocol, your own runs among those they compare with; ARGS="--turns multi"
	@$(PY) -m bench.standings $(FLAGS)

report: $(STAMP) ## tables, figures, protocols, environment and deviations on one page: results/<suite>/report.html
	@$(PY) -m bench.report $(FLAGS)

##@ People judge
human: $(STAMP) ## Figures 5 and 6: a web page on which people judge texts and edits, blind; SAMPLE=25 as the paper, VOTES=FILE
	@$(PY) -m bench.human serve $(FLAGS)

human-report: $(STAMP) ## what they said: plots beside the paper's, intervals, agreement; results/<suite>/human/
	@$(PY) -m bench.human report $(FLAGS)

##@ The miniature
claims: $(STAMP) ## the paper's three claims tested on the miniature, with pictures: results/mini/claims.md
	@$(PY) -m mgie.mini.claims $(FLAGS)

ablations: $(STAMP) ## the miniature without L_ins and with fewer visual tokens, trained on demand: results/mini/ablations.md
	@$(PY) -m mgie.mini.ablate $(FLAGS)

mini: $(STAMP) ## train the miniature's networks, all stages, resumable (hours); AGAIN=1: also those that are up to date
	@$(PY) -m mgie.mini.make $(FLAGS)

check-training: $(STAMP) ## the first 200 steps of one stage of the miniature again, compared with the accepted train.csv (a minute)
	@$(PY) -m mgie.mini.make --stage lpips --check --steps 200 $(FLAGS)

world: $(STAMP) ## draw the miniature's datasets and the contact sheets of every family
	@$(PY) -m mgie.mini.sheets $(FLAGS)

##@ Before a commit
lint: $(STAMP) ## ruff, format, who may import whom, types
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@.venv/bin/lint-imports --no-cache
	@$(PY) -m mypy

check: $(STAMP) ## the gate: fresh scores against the accepted ones (results/reference), example by example
	@$(PY) -m bench.check $(FLAGS)

accept: $(STAMP) ## run everything that is accepted anew, print what would move; YES=1 writes results/reference; NAMES=table1,...
	@$(PY) -m bench.check --update $(FLAGS)

test-slow: $(STAMP) ## the tests of seconds to minutes each: whole commands, kills at every write, the world from nothing, a clean clone
	@$(PY) -m pytest -q -n auto --dist loadfile -m slow $(FLAGS)

test-faults: $(STAMP) ## kills at every write, full disk, read-only folder: also the slow ones
	@$(PY) -m pytest -q -n auto --dist loadfile -m "slow or not slow" tests/faults tests/bench/runs/test_resume.py tests/bench/runs/test_damaged_runs.py tests/mgie/train/test_training_resume.py $(FLAGS)

test-world: $(STAMP) ## from an empty folder to all tables, figures and the report, on a small world served on loopback
	@$(PY) -m pytest -q -m "slow or not slow" tests/bench/test_from_nothing.py $(FLAGS)

fuzz: $(STAMP) ## damaged inputs of every format: COUNT=10000 SEED=0
	@$(PY) tests/fuzz/fuzz.py --count $(or $(COUNT),10000) --seed $(or $(SEED),0) $(FLAGS)

determinism: $(STAMP) ## what is bit-equal and what within which tolerance: results/mini/speed/determinism.csv
	@$(PY) -m bench.speed.determinism --ray --compiled $(FLAGS)

audit: $(STAMP) ## pip-audit on the lock file (needs its database: a network)
	@.venv/bin/pip-audit --disable-pip --require-hashes -r requirements.lock $(FLAGS)

CACHES = build .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
clean: ## remove what is made again in minutes: the miniature's runs and drawn data, caches
	rm -rf runs/mini runs/features runs/check data/mini-* $(CACHES)

# Never data/ and weights/ of the user's own, never votes: nobody can make those again. A name may hold a blank.
clean-all: ## remove all that was made here but votes: all runs (GPU hours!), trainings, results; wants CONFIRM=yes
	@set --; \
	for path in runs/* data/mini-* results/mini results/published results/paper/* $(CACHES); do \
	  case "$$path" in runs/human|runs/*.sqlite*|results/paper/reported.csv|results/paper/published.csv) continue;; esac; \
	  if [ -e "$$path" ] || [ -L "$$path" ]; then set -- "$$@" "$$path"; fi; \
	done; \
	if [ $$# = 0 ]; then echo "nothing is left to remove"; exit 0; fi; \
	du -shc -- "$$@"; \
	if [ "$(CONFIRM)" = yes ]; then rm -rf -- "$$@"; else echo "make clean-all CONFIRM=yes removes these"; exit 2; fi

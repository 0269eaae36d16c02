# Everything a person does with Kedge. Needs Python >= 3.11 and make; `make PYTHON=python3.12 ...` picks another one.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed-from-lock
SUPERVISED := $(BIN)/supervisorctl -c supervisor.conf

.PHONY: help setup demo demo-sim run stop test lint test-ledger test-node bench worlds soak mutants lock clean

help:            ## This list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

setup: $(READY)  ## .venv with exactly what requirements.lock names

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Kedge needs Python >= 3.11, $(PYTHON) is older: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup      ## The supervised pair on 1,200 recorded ledgers until the guard trips, then the report (also as HTML)
	@$(MAKE) --no-print-directory pair KEDGE_CONFIG=config/demo.yaml PAIR_DATA=data/demo

demo-sim: setup  ## The same on the simulated market of config/paper.yaml
	@$(MAKE) --no-print-directory pair KEDGE_CONFIG=config/paper.yaml PAIR_DATA=data/demo-sim KEDGE_SET="\
	  market.pace_per_s=40 market.ticks_max=1200 telemetry.database=data/demo-sim/kedge.db \
	  telemetry.journal_dir=data/demo-sim/journal telemetry.endpoint=ipc://data/demo-sim/telemetry.sock"

.PHONY: pair
export KEDGE_CONFIG KEDGE_SET
pair:
	@if $(SUPERVISED) pid >/dev/null 2>&1; then \
	  echo "a supervised pair is already running in this directory; stop it first: make stop" >&2; exit 1; fi
	@rm -rf $(PAIR_DATA) && mkdir -p data && mkdir -p -m 700 data/run
	@$(BIN)/supervisord -c supervisor.conf
	@$(BIN)/kedge-telemetry watch --until-closed --timeout-s 80; status=$$?; \
	  $(SUPERVISED) shutdown >/dev/null; \
	  if [ $$status -ne 0 ]; then tail -n 20 data/run/engine.log data/run/telemetry.log >&2; exit $$status; fi
	@$(BIN)/kedge-telemetry report latest -o $(PAIR_DATA)/report.html

run: setup       ## The supervised pair on config/paper.yaml, in the foreground, until Ctrl-C
	@mkdir -p data && mkdir -p -m 700 data/run
	@echo "paper trading on the simulated market; in another terminal: $(BIN)/kedge-telemetry watch"
	@KEDGE_CONFIG=$${KEDGE_CONFIG:-config/paper.yaml} $(BIN)/supervisord -n -c supervisor.conf

stop:            ## Stop the supervised pair: orders cancelled, session closed, records stored
	@$(SUPERVISED) shutdown

test: setup      ## Everything that must hold: tests, lint, types, import contracts
	@$(BIN)/pytest -q

lint: setup      ## Format, lint, types, import contracts
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

test-ledger: setup ## The pair through LEDGERS=300 of a ledger of our own, killed and cut off: differences must be 0
	@$(BIN)/python -m tests.node --node double --ledgers $(or $(LEDGERS),300) --seed $(or $(SEED),1)

test-node: setup ## The same on a real node, go-xrpl (needs Go; without it says so and skips)
	@$(BIN)/python -m tests.node --node go-xrpl --ledgers $(or $(LEDGERS),300) --seed $(or $(SEED),1)

bench: setup     ## Tick rate, writer rate, cost of syncing, sweep and report, measured here and now
	@$(BIN)/python -m tests.bench.rates
	@$(BIN)/python -m tests.bench.fsync
	@$(BIN)/python -m tests.bench.sweep
	@$(BIN)/python -m tests.bench.sessions

worlds: setup    ## The calibration on simulated worlds of known truth: recall, false episodes, coverage, harm
	@$(BIN)/python -m tests.worlds
	@$(BIN)/python -m tests.worlds.recommendation

soak: setup      ## Kills, outages and simulated histories for MINUTES=5 (longer is better): no loss, no duplicate, no re-arm
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),5) $(SOAK)

mutants: setup   ## Break the code in named ways, one after the other: every one must be noticed by its test
	@$(BIN)/python -m tests.mutants

lock:            ## Renew requirements.lock (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --extra test pyproject.toml -o requirements.lock

clean:           ## Remove .venv and caches; data/ stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build *.egg-info

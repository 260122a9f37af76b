# VigilNet: every target makes or refreshes .venv first (quick when nothing changed).
BIN := .venv/bin
SEED ?= 0
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test check bench bench-peers bench-shaping bench-control fuzz coverage covered floors docs pictures web web-check sbom lock clean

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup:  ## make .venv with the pinned dependencies
	@requirements/setup.sh

demo: setup  ## a whole network on this machine, a page fetched through three hops; Ctrl-C ends it
	@$(BIN)/python examples/demo.py $(DEMO)

test: setup  ## all tests (as root, those in network namespaces too)
	$(BIN)/pytest -q -rs

check: setup  ## format, lint, types, import contracts, quick tests: under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	@# The types beside the tests: mypy uses one core, and starting the tests leaves the other idle.
	@# Rewriting the asserts is a sixth of the whole: only what failed runs again with it, to be explained.
	$(BIN)/mypy & typed=$$!; \
	export HYPOTHESIS_PROFILE=quick; \
	$(BIN)/pytest -q -n 2 --dist worksteal -m "not slow and not netns" --assert=plain; tested=$$?; \
	[ $$tested = 0 ] || $(BIN)/pytest -q --lf --lfnf=none -m "not slow and not netns"; \
	wait $$typed && exit $$tested

fuzz: setup  ## every decoder, a million inputs in all (SEED=n repeats a run)
	$(BIN)/python -m tests.fuzz.run --iterations 1000000 --seed $(SEED)

coverage: covered floors  ## branch coverage, with the floors of the rooms that matter most

covered: setup
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -n 2 --dist worksteal -m "not netns"

floors: setup
	$(BIN)/coverage combine -q
	$(BIN)/python -m tests.coverage_floors

bench: setup  ## our figures for 1, 3 and 10 hops: docs/benchmarks/
	@requirements/setup.sh requirements/bench-lock.txt
	$(BIN)/python -m tests.bench.run $(BENCH)

bench-peers: setup  ## the same with Tor beside it in one run (root; needs tor)
	@requirements/setup.sh requirements/bench-lock.txt
	$(BIN)/python -m tests.bench.run --peers $(BENCH)

bench-shaping: setup  ## how well classifiers tell HTX from a browser: docs/benchmarks/shaping.md (root; chromium, nginx)
	@requirements/setup.sh requirements/bench-lock.txt
	$(BIN)/python -m tests.bench.shaping.run $(BENCH)

bench-control: setup  ## 100 operations a second of the control API beside a download: docs/benchmarks/control.json
	@requirements/setup.sh requirements/bench-lock.txt
	$(BIN)/python -m tests.bench.bench_control --write $(BENCH)

web:  ## build the dashboard from web/ into src/vigilnet/surface/dashboard (needs Node 18 or newer)
	cd web && npm install --no-save --silent && npm run --silent build

web-check:  ## tests of the dashboard's sources; the committed build must equal a fresh one
	cd web && npm install --no-save --silent && npm run --silent ci

docs: setup  ## the documentation site: build/docs
	@requirements/setup.sh requirements/docs-lock.txt
	$(BIN)/python -m mkdocs build --strict

pictures: setup  ## the screenshots and recordings of the documentation anew (root; the programs of .ci/run)
	VIGILNET_PICTURES=$(CURDIR)/docs/images MINUTE_MS=60000 $(BIN)/pytest -q tests/test_dashboard_in_browsers.py \
		tests/test_desktop.py -k "accessible or window"
	$(BIN)/python -m tests.support.recording

sbom: setup  ## the parts list of a release, CycloneDX: dist/vigilnet.cdx.json
	$(BIN)/python -m tests.support.sbom dist/vigilnet.cdx.json

lock:  ## write requirements/*.txt anew from pyproject.toml
	requirements/lock.sh

clean:  ## remove what was built (state of nodes is kept elsewhere and stays)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* build dist

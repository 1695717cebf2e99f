PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PROTO_OUT ?= src
RELEASE ?= var/release
# The extras that a server may run with.
RUNTIME := server http postgres parquet otlp console

.DEFAULT_GOAL := help
.PHONY: help setup anew demo serve test again quick long test-pythons lint docs proto client lock release size screens bench queries million corruptions bindings reloads faults hostile

help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/ready ## A virtual environment with the locked dependencies and remit itself

# Whole or made anew: `venv` leaves the interpreter, and pip the packages, of what an earlier try left half made.
$(VENV)/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit("needs Python 3.11 or newer, \
	`$(PYTHON)` is %d.%d: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12" % v)'
	@echo "installing remit and what it needs into $(VENV) (one to two minutes)"
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# `make test PYTHON=python3.13` is about that Python, also where another one made the environment.
version = $(shell $(1) -c 'import sys; print(sys.version_info[:2])' 2>/dev/null)
ifneq ($(origin PYTHON),file)
ifneq ($(call version,$(PYTHON)),$(call version,$(BIN)/python))
$(VENV)/ready: anew
endif
endif

demo: setup ## Serve the example company, ask it questions, read the audit, stop
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh docs/demo.sh

serve: setup ## Serve the example company on 127.0.0.1:9090, and its console on 127.0.0.1:9095, until Ctrl-C
	@$(BIN)/remit console --graphs docs/graphs & console=$$!; trap 'kill $$console 2>/dev/null' EXIT; \
	$(BIN)/remit serve --log-format console

# The tests start some hundred processes: each would compile the source anew where the environment forbids to keep it.
test again long quick test-pythons: export PYTHONDONTWRITEBYTECODE =
# They mostly wait for a disk or for a clock: four at a time, also on two cores.
test: setup lint ## Everything that must hold: formatting, lint, types, imports, the example policies, all tests
	tests/browser/install
	$(BIN)/remit test policies
	$(BIN)/python -m pytest -n 4 --dist worksteal

again: setup ## What failed in the last run, one test at a time
	$(BIN)/python -m pytest -v --last-failed --last-failed-no-failures none

long: setup ## What is longer: the tests that `make test` leaves out, and the laws with more examples (some twenty minutes)
	LAWS=long $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal -m "" tests/laws
	$(BIN)/python -m pytest -n auto --maxprocesses 2 --dist worksteal -m long

quick: setup ## The inner loop: lint, the laws with few examples, the units that start no process
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	LAWS=quick $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal tests/laws tests/unit/core tests/unit/engine \
	  tests/unit/client tests/unit/rpc tests/unit/service tests/unit/audit

test-pythons: setup ## The wheel at its lowest and newest versions; units, laws and client tests on each other Python
	$(BIN)/python tests/installs.py
	$(BIN)/python tests/pythons.py

lint: setup
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache | tail -n 4

docs: setup ## The site, in var/site: searchable, and nothing in it is loaded from elsewhere
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The oldest that pyproject.toml allows and `make test-pythons` tries. The plugin would ask for its own version or newer.
GRPC_OLDEST := 1.66.0

proto: setup ## Generate src/remit/v1 and src/remit/envoy/v1 from protos/
	$(BIN)/protoc -I protos --plugin=$(BIN)/protoc-gen-mypy \
	  --python_out=$(PROTO_OUT) --mypy_out=quiet:$(PROTO_OUT) protos/remit/v1/*.proto protos/remit/envoy/v1/*.proto
	$(BIN)/python -m grpc_tools.protoc -I protos --plugin=$(BIN)/protoc-gen-mypy_grpc \
	  --grpc_python_out=$(PROTO_OUT) --mypy_grpc_out=quiet:$(PROTO_OUT) protos/remit/v1/*_service.proto
	sed -i.old "s/^GRPC_GENERATED_VERSION = .*/GRPC_GENERATED_VERSION = '$(GRPC_OLDEST)'/" $(PROTO_OUT)/remit/v1/*_pb2_grpc.py
	rm $(PROTO_OUT)/remit/v1/*.old

client: setup ## Generate the client for threads from the client for asyncio
	$(BIN)/python tests/sync_client.py

lock: setup ## Write requirements.lock and runtime.lock anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --group docs --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml $(addprefix --extra ,$(RUNTIME)) --universal --python-version 3.11 \
	  --constraint requirements.lock --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o runtime.lock

# From the newest commit, whatever the work tree holds: the same commit makes the same bytes.
# A lock names libraries and not what each of them needs: the bill has no graph, and is warned about.
release: NO_GRAPH := ignore::UserWarning:cyclonedx.model.bom
release: setup ## The wheel, the source archive, the bill of materials and their hashes, in var/release
	rm -rf $(RELEASE) && mkdir -p $(RELEASE)/source
	git archive HEAD | tar -x -C $(RELEASE)/source
	mkdir -p $(RELEASE)/source/protos/google/rpc
	cd $$($(BIN)/python -c 'from google.rpc import status_pb2; print(status_pb2.__file__.rpartition("/")[0])') && \
	  cp code.proto error_details.proto status.proto $(abspath $(RELEASE))/source/protos/google/rpc
	cd $(RELEASE)/source && SOURCE_DATE_EPOCH=$(shell git log -1 --format=%ct) $(abspath $(BIN))/python -m hatchling build -d ..
	cd $(RELEASE)/source && PYTHONWARNINGS=$(NO_GRAPH) $(abspath $(BIN))/cyclonedx-py requirements \
	  --pyproject pyproject.toml --mc-type application \
	  --output-reproducible --of JSON -o ../$$(basename ../*.whl -py3-none-any.whl).cdx.json runtime.lock
	cp $(RELEASE)/source/runtime.lock $(RELEASE)
	rm -rf $(RELEASE)/source
	cd $(RELEASE) && sha256sum remit-* runtime.lock > SHA256SUMS

screens: setup ## The pictures of the console in docs/images, from a real browser
	tests/browser/install
	PYTHONPATH=tests $(BIN)/python tests/browser/screens.py docs/images

size: setup ## Lines and files of each room beside its budget, and the files that a Check, an edit, a grant and a verify pass
	PYTHONPATH=tests $(BIN)/python -m bench.size

million: setup ## A million random questions to three engines, with progress (some minutes)
	$(BIN)/python tests/million.py --questions 1000000

hostile: setup ## Ten million mutated messages against a real server under load, with progress (hours)
	$(BIN)/python tests/hostile.py

corruptions: setup ## Ten thousand random corruptions of policy files, with progress (some ten minutes)
	$(BIN)/python tests/corruptions.py --corruptions 10000

bindings: setup ## A hundred thousand random grants and revokes, judged by the naive reference too (some twenty minutes)
	$(BIN)/python tests/bindings.py --changes 100000

reloads: setup ## Ten minutes of a reload every second under load, each answer checked, with progress
	$(BIN)/python tests/reloads.py --seconds 600

faults: setup ## Break real servers, alone and as a fleet: no record, no release and no grant is lost, with progress (half an hour)
	$(BIN)/python -m tests.tools.audit_faults policies
	$(BIN)/python -m tests.tools.fleet_faults --rounds 10

bench: setup ## Measure the service and the engine beside their floors and peers (some half an hour)
	-bench/install
	$(BIN)/python -m bench.engine
	$(BIN)/python -m bench.search
	$(BIN)/python -m bench.visibility
	$(BIN)/python -m bench.diff
	$(BIN)/python -m bench.delta
	$(BIN)/python -m bench.service
	$(BIN)/python -m bench.batch
	$(BIN)/python -m bench.reload
	$(BIN)/python -m bench.fleet
	$(BIN)/python -m bench.imports
	$(BIN)/python -m bench.postgresql
	$(BIN)/python -m bench.workers
	$(BIN)/python -m bench.audit_verify
	$(BIN)/python -m bench.rights
	$(BIN)/python -m bench.fairness
	$(BIN)/python -m bench.names
	$(BIN)/python -m bench.http
	$(BIN)/python -m bench.authzen
	$(BIN)/python -m bench.envoy
	$(BIN)/python -m bench.start
	$(BIN)/python -m bench.console --records 1000000

queries: setup ## Measure the queries of an auditor over ten million records (half an hour and 6 GB the first time)
	$(BIN)/python -m bench.audit_queries

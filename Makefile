# Every target sets up .venv first; a target only calls a tool.
PYTHON ?= python3
BIN := .venv/bin
# Neither DVC nor MLflow reports usage from here.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := true
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
JOBS ?= 8
PRESET ?= sample

.PHONY: help install repro snakemake test test-slurm test-server hostile check use report ui \
	mlflow-server app

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/.installed ## make .venv with the pinned dependencies

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) workflow/python_check.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

repro: install ## run the pipeline with DVC: data to table
	python -m workflow.recovery
	dvc repro

snakemake: install ## the same pipeline with Snakemake, on JOBS cores
	$(if $(filter 0,$(JOBS)),$(error JOBS is 0; wanted 1 or more))snakemake -j$(JOBS) evaluate

test: install ## the test suite, but for services and the hostile suite
	python -m pytest -n auto --dist loadfile --no-loadscope-reorder \
		--ignore tests/hostile --ignore tests/services

test-slurm: install ## the pipeline on a Slurm of one node, which is started and stopped here
	tests/services/install.sh slurm
	python -m pytest tests/services/test_slurm.py

test-server: install ## what MLflow shows, with a server on PostgreSQL
	python -m pytest tests/services/test_mlflow_server.py tests/workflow/test_tracking.py tests/test_remotes.py

hostile: install ## bad input and faults, the long form
	PCONV_HOSTILE=long python -m pytest tests/hostile
	PCONV_HOSTILE=long python -m tests.hostile.audit
	python -m tests.hostile.load fill --photos 1000
	python -m tests.hostile.load page --users 20 --minutes 5
	python -m tests.hostile.fuzz --minutes 60
	python -m tests.hostile.kills --times 200
	python -m tests.hostile.table

check: install ## format, lint, security, types, spelling and the graph
	ruff format --check .
	ruff check .
	mypy
	snakefmt --check Snakefile workflow/rules
	codespell
	python -m workflow.code

use: install ## switch params.yaml to PRESET
	python -m workflow.presets $(PRESET)

report: install ## print where the report lies, making it if need be
	dvc repro report
	@echo "$(CURDIR)/reports/index.html"

ui: install ## the MLflow pages at http://127.0.0.1:5000
	@case "$$MLFLOW_TRACKING_URI" in http*) echo "the pages are at $$MLFLOW_TRACKING_URI"; exit;; esac; \
	mlflow ui --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db} --host 127.0.0.1

mlflow-server: install ## an MLflow server on PostgreSQL (services/mlflow_server.sh stop ends it)
	services/mlflow_server.sh start

app: install ## the page on which to paint a hole and fill it
	pconv app

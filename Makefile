# The two commands: `make run` and `make test`. Both make .venv first if it is not there;
# `make test` makes .venv-img2dataset too, which `kedro run --pipelines download` needs.
SHELL := /bin/bash
export OMP_NUM_THREADS ?= 2
export DO_NOT_TRACK := true
export MLFLOW_ENABLE_ASYNC_LOGGING := false

PYTHON ?= python3
BIN := .venv/bin
LOCK := --universal --generate-hashes --no-header --no-annotate --no-emit-index-url -q

.PHONY: run test check ui dvc lock clean

run: .venv/installed  ## fabricate the embedded pool, curate, train, evaluate
	@test -d data/01_raw/fabricated || $(BIN)/kedro run --pipelines fabricate
	$(BIN)/kedro run --pipelines cit

test: check .venv-img2dataset/installed  ## everything that tests, lints and type-checks
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

check: .venv/installed  ## lint, types, layers
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/lint-imports
	$(BIN)/basedpyright

ui: .venv/installed  ## MLflow on http://127.0.0.1:5000, this machine only
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow ui --host 127.0.0.1 --port 5000 \
	  --workers 1 --backend-store-uri sqlite:///mlflow.db

dvc: .venv/installed  ## write dvc.yaml and sweeps/dvc.yaml anew from the pipelines, the catalog and the imports
	$(BIN)/python -m vl_pipeline.dvc_stages

lock: .venv/installed  ## resolve pyproject.toml into requirements.lock and its like for img2dataset
	$(BIN)/uv pip compile pyproject.toml --extra dev $(LOCK) -o requirements.lock
	$(BIN)/uv pip compile --group pyproject.toml:img2dataset $(LOCK) -o requirements-img2dataset.lock

.venv/installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q uv
	UV_COMPILE_BYTECODE=1 $(BIN)/uv pip sync -q --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --editable .
	touch $@

.venv-img2dataset/installed: requirements-img2dataset.lock | .venv/installed
	test -x $(@D)/bin/python || $(BIN)/uv venv -q --python $(BIN)/python $(@D)
	UV_COMPILE_BYTECODE=1 $(BIN)/uv pip sync -q --python $(@D)/bin/python requirements-img2dataset.lock
	touch $@

clean:  ## remove what runs made, but neither raw data nor MLflow's history nor the environment
	rm -rf data/0[2-8]_* data/scratch

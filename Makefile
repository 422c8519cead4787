# make install   sets up .venv
# make demo      runs the founding experiment on the embedded model, prints its verdict
# make test      passes the tests
# make check     lint, format, types, freshness of generated docs, known vulnerabilities of dependencies

PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: install develop browser demo test check faults fuzz docs clean

install: .venv/installed

# torch is named by its exact version: a plain torch pulls several GB of CUDA packages.
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt "torch==2.13.0"
	$(BIN)/pip install -q -c constraints.txt -e .
	touch $@

develop: .venv/developing

.venv/developing: .venv/installed
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	touch $@

# The web pages are driven in Chromium; Debian has it, other systems bring their own.
browser:
	@command -v chromium >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get update -qq && apt-get install -y -qq chromium fonts-noto-cjk >/dev/null; } \
	|| echo "no chromium here: the browser tests will be skipped"

demo: install
	$(BIN)/raglift run ml-qa-ko

test: develop browser
	$(BIN)/python -m pytest tests -n 2 --dist loadfile

check: develop
	$(BIN)/ruff check src tests scripts
	$(BIN)/ruff format --check src tests scripts
	$(BIN)/mypy
	$(BIN)/python -m raglift.documentation --check
	$(BIN)/pip check
	$(BIN)/deptry src
	$(BIN)/python scripts/audit_dependencies.py

# The whole fault suite: writes its table into docs/reliability.md. Root may mount the small disks that it fills.
faults: develop
	OMP_NUM_THREADS=1 $(BIN)/python tests/fault_suite.py --write

# Coverage-guided fuzzing, FUZZ_SECONDS for each reader: writes its table into docs/reliability.md.
FUZZ_SECONDS ?= 60
fuzz: develop
	$(BIN)/pip install -q -c constraints.txt -e ".[fuzz]"
	$(BIN)/python tests/fuzz_suite.py --seconds $(FUZZ_SECONDS) --write

docs: develop
	$(BIN)/python -m raglift.documentation

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache

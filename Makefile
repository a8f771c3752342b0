# `make demo` and `make test` are all the set-up there is; both work on a fresh clone with Python 3.11 or newer.

# The Python to use; without it one is looked for.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo ui test check coverage format bench lock clean

demo: $(READY) ui  ## run swapd with tiny real models
	$(BIN)/swapd demo

ui: $(READY)  ## build the web UI, if its sources have changed; without Node.js there is none
	@$(BIN)/python ui/build.py --if-possible

test: $(READY) ui  ## everything that is tested
	@scripts/install-test-tools
	@scripts/check-style
	@$(BIN)/python ui/build.py --test --if-possible
	SWAPD_HISTORIES=2000 $(BIN)/python -m pytest -n 2 --dist worksteal

check: $(READY)  ## the fast part of it, under a minute: before every commit
	@scripts/check-style
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/unit tests/scenarios -m "not real"

coverage: $(READY) ui  ## which lines no test reaches, those of real daemons included
	@scripts/install-test-tools
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --dist worksteal
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --skip-covered --fail-under=90

format: $(READY)  ## lay out the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)  ## the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

bench: $(READY)  ## the figures of the README
	$(BIN)/python -m bench

lock: $(READY)  ## write down what is installed, after a change of the dependencies
	$(BIN)/pip install --upgrade -e '.[demo,testing]' --group dev
	$(BIN)/pip freeze --exclude-editable > constraints.txt

clean:  ## remove what these commands made
	rm -rf $(VENV) dist build site .mypy_cache .coverage* .ruff_cache .pytest_cache .hypothesis bench/.build

$(READY): pyproject.toml constraints.txt
	@scripts/make-venv $(VENV) $(PYTHON)
	@touch $(READY)

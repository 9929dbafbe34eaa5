# Two commands matter: `make demo` and `make test`. Both need Python 3.11 to 3.13 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SCENARIO ?= seed-article

.PHONY: demo test pythons check clients mutants bench soak azurite clean .clients/oav

demo: $(VENV)/.demo
	@$(BIN)/vmss-sim compare $(SCENARIO)

test: $(VENV)/.test
	@$(BIN)/python -V
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2

# The same on each Python from 3.11 to 3.13 that is found here, in an environment of its own.
pythons:
	@for python in python3.11 python3.12 python3.13; do \
		$$python -V 2>/dev/null || { echo "$$python is not here"; continue; }; \
		$(MAKE) test PYTHON=$$python VENV=.venv-$$python || exit 1; \
	done

# What takes minutes more: the machine and the world under thousands of orders of events, `apply` of a whole rollout of 1000 VMs (each look
# is half a second of work), 60 kills of the crash test on each ground, Azure's rules broken one by one, and the benchmarks run once (they check themselves).
check: $(VENV)/.test
	HYPOTHESIS_PROFILE=check $(BIN)/python -m pytest -n 2 tests/test_machine_stateful.py tests/test_world_stateful.py
	HYPOTHESIS_PROFILE=check $(BIN)/python -m pytest tests/test_apply_every_scenario.py -k a_thousand_vms
	HYPOTHESIS_PROFILE=check $(BIN)/python -m pytest -n 2 tests/test_kills.py tests/test_azure_equivalence.py -k "again_and_again or alike and thousand"
	$(BIN)/python -m tests.azure_rules --mutants -j 2
	$(BIN)/python -m bench.rollout --replications 5
	$(BIN)/python -m bench.startup
	test ! -e ../shared/recordings || $(BIN)/python -m tests.replay --check
	test ! -e ../shared/recordings || $(BIN)/python -m tests.replay --requests --check
	$(MAKE) azurite

# Real Azure clients, each in an environment of its own below .clients/, drive the emulator; then every answer that they got is held to
# Azure's description. Needs Node.js beside Python, and the registries of both; a client is left out only where its registry is unreachable.
clients: $(VENV)/.test
	$(BIN)/python -m tests.clients.install
	rm -rf .clients/traces
	VMSS_SIM_CLIENTS=1 $(BIN)/python -m pytest tests/clients/test_sleeps.py tests/clients -n 2 --dist loadfile --durations 8
	$(BIN)/python -m tests.clients.conformance

# Break each of Azure's rules in a copy of the tree; its test must notice (docs/azure-rules.md).
mutants: $(VENV)/.test
	$(BIN)/python -m tests.azure_rules --mutants -j 2

bench: $(VENV)/.test
	$(BIN)/python -m bench.startup
	$(BIN)/python -m bench.rollout

# Ten times the examples and more, and 10,000 kills of the crash test on each of its grounds; for a night, not for CI.
soak: export VMSS_SIM_KILLS ?= 10000
soak: $(VENV)/.test
	$(BIN)/python -u -m tests.kills
	HYPOTHESIS_PROFILE=soak VMSS_SIM_KILLS=60 $(BIN)/python -m pytest -n 2

$(VENV)/.demo: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "vmss-sim needs Python 3.11 to 3.13; say make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "vmss-sim needs Python 3.11 to 3.13; say make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@ $(VENV)/.demo

# Microsoft's validator of ARM traffic, for tests/contract; kept outside git, installed once.
.clients/oav: .clients/oav/.installed
.clients/oav/.installed: tests/contract/package.json tests/contract/package-lock.json
	mkdir -p .clients/oav
	cp $^ .clients/oav/
	cd .clients/oav && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# A stand-in for Azure Blob Storage, for tests/test_store_blobs.py and the unattended story; kept outside git, installed once.
azurite: $(VENV)/.test .clients/azurite/.installed
	$(BIN)/python -m pytest tests/test_store_blobs.py tests/test_story_emulated.py

.clients/azurite/.installed: tests/azurite/package.json tests/azurite/package-lock.json
	mkdir -p .clients/azurite
	cp $^ .clients/azurite/
	cd .clients/azurite && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

clean:
	rm -rf $(VENV) .venv-python3.* .clients build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
